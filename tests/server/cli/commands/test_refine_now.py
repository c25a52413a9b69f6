"""``ptylive refine-now``: its request to the server."""

import json
from typing import Any

import pytest
from running import ptylive_here

from ptylive.schema import PtyliveError
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


def test_a_queued_refinement_is_followed_and_not_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: there was no --queue, and --wait reported whichever refinement was running when another one ended."""
    told: list[dict[str, Any]] = []
    common = {"uid": "a", "series": "grain", "epoch": 9, "epochs": 9, "message": "", "warning": "", "loss": 1.0}
    first = {**common, "run": "run1", "state": "running"}
    mine = {**common, "run": "run2", "state": "running"}
    waiting = [{"run": "run2", "uid": "a", "series": "grain"}]
    ended = [{**first, "state": "done"}]
    sequence = [
        {**first, "waiting": [], "ended": []},
        {**first, "waiting": waiting, "ended": []},
        {**first, "state": "done", "waiting": waiting, "ended": ended},
        {**mine, "waiting": [], "ended": ended},
        {**mine, "run": "run3", "ended": [*ended, {**mine, "state": "done", "loss": 0.5}], "waiting": []},
    ]

    class Client(RefiningServer):
        def call(self, name: str, **values: Any) -> dict[str, Any]:
            told.append({"name": name, **values})
            if name != "status":
                return {"run": "run2", "uid": "a", "state": "waiting"}
            return {"uid": "a", "refinement": sequence.pop(0), "results": "r.h5"}

    monkeypatch.setattr(command, "ControlClient", Client)
    monkeypatch.setattr(command, "POLL_S", 0.0)
    done = ptylive_here("refine-now", "--queue", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    assert told[1]["queue"] is True
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["run"], outcome["loss"], outcome["results"]) == ("run2", 0.5, "r.h5")
    assert sequence == []


def test_a_queued_refinement_that_is_withdrawn_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"run": "run1", "uid": "a", "state": "running", "epoch": 9, "epochs": 9, "message": "", "waiting": []}
    with pytest.raises(PtyliveError, match="refinement run2 was withdrawn, or could not begin"):
        command.followed(first, {"run": "run2", "uid": "a"})
    assert command.followed(first, {"run": "run2"})["run"] == "run1", "a server that does not say which scan it is"
    queued = command.followed({**first, "waiting": [{"run": "run2", "uid": "a"}]}, {"run": "run2", "uid": "a"})
    assert command.refinement_words(queued) == "refinement queued: behind run1"


def test_one_that_waits_is_not_taken_for_an_earlier_one_of_its_name() -> None:
    """After a restart of the server a name is given again that a refinement had which came to nothing."""
    first = {"run": "run1", "uid": "b", "state": "running", "epoch": 9, "epochs": 9, "message": ""}
    mine = {"run": "run2", "uid": "a"}
    status = {**first, "waiting": [mine], "ended": [{**mine, "state": "failed"}]}
    assert command.followed(status, mine)["state"] == "queued"
