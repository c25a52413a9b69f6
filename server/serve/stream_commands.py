"""The command `end_scan`, and the message about a scan that gets no more frames (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptylive.schema import CommandError
from ptylive.schema.advice.words import whole_number


class StreamCommands:
    """Commands that concern the scan being received.

    ``end_scan`` ends an open scan, given by uid, and returns whether it is open; ``received`` returns the uid of the
    scan being received, empty if there is none.
    """

    def __init__(self, end_scan: Callable[[str], bool], received: Callable[[], str]) -> None:
        self._end_scan, self._received = end_scan, received

    def command_end_scan(self, uid: str = "") -> dict[str, Any]:
        """End a scan that is being received with the frames that have arrived; by default the one that `status` names.

        Its recording and maps are made. Frames that still come continue it.
        """
        named = uid or self._received()
        if not self._end_scan(named):
            raise CommandError("no scan is being received" if not uid else f"scan {uid} is not being received")
        return {"uid": named}


def stream_warning(status: Mapping[str, Any]) -> str:
    """Return what to say of a detector that is missing, and of frames that stay away; empty where all is well."""
    return "; ".join(filter(None, (status["detector_missing"], _silence_warning(status))))


def _silence_warning(status: Mapping[str, Any]) -> str:
    """Return what to say of a scan that has been without frames for unusually long, or was closed; else empty."""
    if status["why_closed"]:
        return f"the scan was closed, because {status['why_closed']}: frames that still come continue it"
    seconds = status["silent_s"]
    if seconds is None or status["state"] != "scanning":
        return ""
    arrived = f"{whole_number(status['frames'])} of {whole_number(status['expected'])} arrived"
    waiting = "wait, or end the scan with what has arrived (ptylive call end_scan, or the button on the page)"
    return f"no frames for {seconds:.0f} s ({arrived}): {waiting}"
