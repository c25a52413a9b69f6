"""The command ``advise``: what to change at the microscope, printed once or each time the advice changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ptylive.schema import ServerGoneError
from ptylive.schema.advice import Advice
from ptylive.schema.advice import advise as advice_on
from ptylive.schema.calibration import Calibration
from ptylive.server.cli.options import CONTROL, AsJson, Control, Keys
from ptylive.server.cli.output import answer
from ptylive.server.wire.client import ControlClient, EventStream

ASK_S = 2.0
"""A server silent for this long is queried to see whether it still exists; this also ensures that nothing is missed."""

EXAMPLES = """
ptylive advise
ptylive advise --json
ptylive advise --follow --control tcp://127.0.0.1:9998
"""

Answer = dict[str, Any]


def advise(
    control: Control = CONTROL,
    keys: Keys = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="print a line each time the advice changes, until Ctrl-C")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what to change at the microscope: defocus, astigmatism and the other fitted aberrations."""
    if not follow:
        with ControlClient(control, timeout_s=2.0, keys=keys) as client:
            _print(_from_status(client), as_json=as_json)
        return
    for advice in changes(control, keys):
        _print(advice, as_json=as_json)


def changes(control: str, keys: Path | None = None) -> Iterator[Answer]:
    """Yield the advice of a server now and each time it changes, without end. Raises ServerGoneError if it has gone."""
    with EventStream(control, ("calibration",), keys=keys) as events, ControlClient(control, 2.0, keys) as client:
        shown: Answer | None = None
        event: tuple[str, dict[str, Any]] | None = None
        while True:
            fresh = _from_status(client) if event is None else _of_event(event[1])
            if fresh is not None and fresh != shown:
                shown = fresh
                yield fresh
            event = events.next(ASK_S)


def _from_status(client: ControlClient) -> Answer:
    """Return advice on the scan being shown, from the status of a server."""
    status = client.call("status")
    try:
        advice = advice_on(Calibration.from_plain(status.get("calibration") or {}))
    except (KeyError, TypeError, ValueError) as error:
        raise ServerGoneError(
            f"the server's calibration cannot be read: {error}", "does the server have another version?"
        ) from None
    return _answer(status, advice)


def _of_event(payload: Mapping[str, Any]) -> Answer | None:
    """Return the advice from an event; None for an unreadable event, which the next status request replaces."""
    try:
        return _answer(payload, Advice.from_plain(payload["advice"]))
    except (KeyError, TypeError, ValueError):
        return None


def _answer(scan: Mapping[str, Any], advice: Advice) -> Answer:
    return {"series": scan.get("series") or "", "uid": scan.get("uid") or "", **advice.to_plain()}


def _print(advice: Answer, *, as_json: bool) -> None:
    """Print the advice as one JSON line, or as a line for people."""
    if as_json:
        answer(advice, as_json=True)
        return
    scan = f"{advice['series']}: " if advice["series"] else ""
    line = advice["line"] if advice["uid"] else "no scan yet"
    sys.stdout.write(f"{scan}{line}{'; ±: one standard deviation' if '±' in line else ''}\n")
    sys.stdout.flush()
