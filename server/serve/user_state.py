"""What people have set in a running server and no file says: it outlives the process that it was set in.

A receiving process that died is started again by the supervisor, which has been told of every change
(:mod:`ptylive.server.serve.acquire`) and gives the last state to the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptylive.server.serve.session import Session


def told(session: Session) -> dict[str, Any]:
    """Values that are pinned or of single scans, settings of maps, virtual detectors, whether scans are recorded.

    As JSON has them.
    """
    return {
        "pinned": session.calibration.pinned,
        "own": {uid: dict(values) for uid, values in session.calibration.own.items()},
        "maps": session.maps.settings,
        "detectors": session.analysis.command_detectors()["detectors"],
        "record": session.recording_wanted,
    }


def restore(session: Session, state: Mapping[str, Any]) -> None:
    """Go on with what was told of the session whose place this one takes, before it starts; an empty map: nothing."""
    if not state:
        return
    session.calibration.restore(state["pinned"], state["own"])
    session.maps.restore(state["maps"])
    session.analysis.command_detectors(state["detectors"])
    if not state["record"]:
        session.command_record(on=False)
