"""``ptylive status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptylive.server.cli.options import CONTROL, AsJson, Control, Keys
from ptylive.server.cli.output import answer
from ptylive.server.wire.client import ControlClient

SHOWN = (
    "state",
    "series",
    "uid",
    "expected",
    "received",
    "frames",
    "lost",
    "late",
    "duplicates",
    "rejected",
    "frames_per_s",
    "lag_s",
    "ring_fill",
    "recording",
    "results",
    "computed_on",
    "refinement",
    "dashboard",
    "control",
    "events",
    "message",
)

EXAMPLES = """
ptylive status
ptylive status --json
"""


def status(control: Control = CONTROL, keys: Keys = None, as_json: AsJson = False) -> None:
    """Show the state of a running server."""
    with ControlClient(control, timeout_s=2.0, keys=keys) as client:
        state = client.call("status")
    answer(state if as_json else shown(state), as_json=as_json)


def shown(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is printed of a `status`; the refinement of another scan, such as the one before, says so."""
    run = {name: value for name, value in state["refinement"].items() if name != "ended"}
    if run.pop("uid", "") not in ("", state["uid"]):
        run["state"] = f"{run['state']} on another scan"
    return {name: state.get(name) for name in SHOWN} | {"refinement": run}
