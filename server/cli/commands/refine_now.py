"""``ptylive refine-now``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ptylive.application.presets import load_preset
from ptylive.schema import PtyliveError, ServerGoneError
from ptylive.server.cli.commands.refine import split_settings
from ptylive.server.cli.options import CONTROL, AsJson, Control, Keys, Settings
from ptylive.server.cli.output import answer, bar, end_partial, say, when_interrupted
from ptylive.server.cli.values import parse_assignments
from ptylive.server.wire.client import ControlClient

POLL_S = 0.25
PATIENCE_S = 60.0
"""How long a server may be silent: one whose receiving process died is back within seconds, or longer if busy."""
ENDED = ("done", "stopped", "failed")

EXAMPLES = """
ptylive refine-now --wait
ptylive refine-now --set num_slices=4 --set total_thickness_A=80
ptylive refine-now --queue --wait --set num_slices=8      # after the refinement that is running
"""


def refine_now(
    wait: Annotated[bool, typer.Option("--wait", help="wait until the refinement has ended")] = False,
    during_scan: Annotated[
        bool,
        typer.Option(
            "--during-scan", help="start with the rows that have arrived, and continue when the scan has ended"
        ),
    ] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="if another refinement is running, queue this one behind it")
    ] = False,
    preset: Annotated[
        Path | None,
        typer.Option(
            help="settings, but no values of the scan: TOML or JSON, or a preset of PyPty, PtyRAD or phaser",
            readable=False,
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="total number of epochs")] = None,
    settings: Settings = None,
    place: Annotated[
        str, typer.Option(metavar="PLACE", help="here or cluster, if the server's configuration allows it")
    ] = "",
    control: Control = CONTROL,
    keys: Keys = None,
    as_json: AsJson = False,
) -> None:
    """Refine the current scan of a running server."""
    chosen, values = split_settings(parse_assignments(settings or ()))
    if preset is not None:
        loaded = load_preset(preset)
        for note in loaded.notes:
            say(note)
        chosen = {**loaded.settings, **chosen}
    if epochs is not None:
        chosen["epoch_max"] = epochs
    with ControlClient(control, timeout_s=2.0, keys=keys) as client:
        client.call("status")
        requested = {"preset": chosen, "values": values, "during_scan": during_scan, "queue": queue, "place": place}
        outcome = client.call("refine", **requested, timeout_s=10.0)
        if wait:
            with when_interrupted("the refinement continues in the server; ptylive status shows it"):
                outcome = wait_for_refinement(client, quiet=as_json, of=outcome)
    answer(outcome, as_json=as_json)
    if problem := outcome.get("warning"):
        raise PtyliveError(problem)
    if outcome.get("state") == "stopped":
        end_partial(f"refinement {outcome['run']} was stopped after {outcome['epochs']} epochs")


def wait_for_refinement(
    client: ControlClient,
    *,
    quiet: bool,
    check: Callable[[], None] = lambda: None,
    of: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Follow a refinement to its end. Raises PtyliveError if it failed; ``check`` may raise too.

    ``of``: reply to the command `refine`, whose refinement may be queued, and be followed by others; None: the one that
    is running.
    """
    with bar("refining", quiet=quiet) as shown:
        while True:
            status = patient_status(client, check)
            run = followed(status["refinement"], of)
            shown.update(run["epoch"], run["epochs"] or None, refinement_words(run))
            if run["state"] in ENDED:
                break
            time.sleep(POLL_S)
    if run["state"] == "failed":
        raise PtyliveError(f"refinement {run['run']} failed: {run['message']}")
    shown_now = run.get("uid", "") in ("", status.get("uid", ""))
    return {**run, "epochs": run["epoch"], "results": status["results"] if shown_now else None}


def followed(refinement: Mapping[str, Any], of: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the state of a refinement of which the server says ``refinement`` in its status. Raises PtyliveError."""
    newest = {name: value for name, value in refinement.items() if name not in ("ended", "waiting")}
    if of is None or "uid" not in of:  # servers of earlier versions do not say which scan it is
        return newest

    def is_it(other: Mapping[str, Any]) -> bool:
        return (other.get("run"), other.get("uid")) == (of["run"], of["uid"])

    if is_it(newest):
        return newest
    queued = refinement.get("waiting", ())
    place = next((place for place, each in enumerate(queued, start=1) if is_it(each)), None)
    if place is None and (found := next(filter(is_it, reversed(refinement.get("ended", ()))), None)):
        return dict(found)
    if place is None:
        raise PtyliveError(f"refinement {of['run']} was withdrawn, or could not begin", "the server's log says why")
    behind = f"behind {newest['run']}" + (f" and {place - 1} more" if place > 1 else "")
    return {**newest, "run": of["run"], "state": "queued", "epoch": 0, "epochs": 0, "message": behind}


def refinement_words(run: Mapping[str, Any]) -> str:
    """Return the state of a refinement, and what it waits for."""
    waits = run["message"] if run["state"] == "queued" else ""
    return f"refinement {run['state']}{': ' if waits else ''}{waits}"


def patient_status(client: ControlClient, check: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Return the state of a server that is known to exist. Raises ServerGoneError after a long silence.

    ``check`` is called before each request, and raises if further requests are pointless.
    """
    give_up = time.monotonic() + PATIENCE_S
    while True:
        check()
        try:
            return client.call("status", timeout_s=5.0)
        except ServerGoneError:
            if time.monotonic() > give_up:
                raise
