"""``ptylive refine-now``: its request to the server."""

from typing import Any

import pytest
from running import ptylive_here

from ptylive.server.cli.commands import refine_now as command


class RefiningServer:
    """The connection to a server, whose answers are to be added."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> "RefiningServer":
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("words", "asked"),
    [(["--epochs", "7"], {"epoch_max": 7}), (["--set", "epoch_max=9", "--set", "num_slices=1"], None), ([], {})],
)
def test_epochs_are_said_as_for_refine(
    words: list[str], asked: dict[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    class Client(RefiningServer):
        def call(self, name: str, **values: Any) -> dict[str, Any]:
            told.append({"name": name, **values})
            return {"run": "run1", "state": "running"}

    monkeypatch.setattr(command, "ControlClient", Client)
    done = ptylive_here("refine-now", *words)
    assert done.returncode == 0, done.stderr
    assert told[-1]["name"] == "refine"
    assert told[-1]["preset"] == ({"epoch_max": 9, "num_slices": 1} if asked is None else asked)


@pytest.mark.parametrize("state", ["done", "stopped"])
def test_a_refinement_that_is_not_in_the_results_file_is_an_error(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = "/data could not be written: No space left on device; the refinement is in /tmp/r.pending: move it"
    run = {"run": "run1", "state": state, "epoch": 9, "epochs": 9, "message": problem, "warning": problem}

    class Client(RefiningServer):
        def call(self, name: str, **values: Any) -> dict[str, Any]:
            return {"refinement": run, "results": "r.h5"} if name == "status" else {"run": "run1", "state": "running"}

    monkeypatch.setattr(command, "ControlClient", Client)
    done = ptylive_here("refine-now", "--wait")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ptylive: {problem}"
    run["warning"] = ""
    assert ptylive_here("refine-now", "--wait").returncode == (0 if state == "done" else 3)
