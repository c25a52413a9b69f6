"""What users have set in a running server and no file holds; it outlives the process in which it was set.

A receiving process that died is restarted by the supervisor, which has received every change
(:mod:`ptylive.server.serve.acquire`) and passes the last state to the new process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptylive.server.serve.session import Session


def collected(session: Session) -> dict[str, Any]:
    """Return pinned values, values of single scans, map settings, virtual detectors and whether scans are recorded.

    All values are JSON types.
    """
    return {
        "pinned": session.calibration.pinned,
        "own": {uid: dict(values) for uid, values in session.calibration.own.items()},
        "maps": session.maps.settings,
        "detectors": session.analysis.command_detectors()["detectors"],
        "record": session.recording_wanted,
    }


def restore(session: Session, state: Mapping[str, Any]) -> None:
    """Restore, before the session starts, the state of the session it replaces; an empty map changes nothing."""
    if not state:
        return
    session.calibration.restore(state["pinned"], state["own"])
    session.maps.restore(state["maps"])
    session.analysis.command_detectors(state["detectors"])
    if not state["record"]:
        session.command_record(on=False)
