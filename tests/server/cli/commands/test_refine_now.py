"""``ptylive refine-now``: its request to the server."""

from typing import Any

import pytest
from running import ptylive_here

from ptylive.server.cli.commands import refine_now as command


@pytest.mark.parametrize(
    ("words", "asked"),
    [(["--epochs", "7"], {"epoch_max": 7}), (["--set", "epoch_max=9", "--set", "num_slices=1"], None), ([], {})],
)
def test_epochs_are_said_as_for_refine(
    words: list[str], asked: dict[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None: ...

        def call(self, name: str, **values: Any) -> dict[str, Any]:
            told.append({"name": name, **values})
            return {"run": "run1", "state": "running"}

    monkeypatch.setattr(command, "ControlClient", Client)
    done = ptylive_here("refine-now", *words)
    assert done.returncode == 0, done.stderr
    assert told[-1]["name"] == "refine"
    assert told[-1]["preset"] == ({"epoch_max": 9, "num_slices": 1} if asked is None else asked)
