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


def restore(session: Session, choices: Mapping[str, Any]) -> None:
    """Go on with what was told of the session whose place this one takes, before it starts; an empty map: nothing."""
    if not choices:
        return
    session.calibration.restore(choices["pinned"], choices["own"])
    session.maps.restore(choices["maps"])
    session.analysis.command_detectors(choices["detectors"])
    if not choices["record"]:
        session.command_record(on=False)
