"""Events of the topic `calibration`: what a fit found for a scan, and what to change at the microscope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ptylive.engine.live.unestimated import in_words, why_unestimated
from ptylive.schema.advice import advise
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.wire.publisher import Publisher

TOPIC = "calibration"


def publish_calibration(
    publisher: Publisher, scan: ScanSession, *, final: bool = False, refined: Mapping[str, Any] | None = None
) -> None:
    """Publish the calibration of a scan if it differs from the one last published.

    ``final``: the fit to all frames received, which is always published; ``refined``: what a refinement has found
    since. Called where maps are published, so that it is sent at most as often as they are.
    """
    _tell_unestimated(publisher, scan, final=final)
    with scan.lock:
        calibration = scan.calibration
        entries = calibration.to_plain()
        if not entries or (entries == scan.reported_calibration and not final):
            return
        scan.reported_calibration = entries
    publisher.publish(
        TOPIC, _payload(scan, entries, advise(calibration).to_plain(), final=final) | {"refined": dict(refined or {})}
    )


def _tell_unestimated(publisher: Publisher, scan: ScanSession, *, final: bool) -> None:
    """Log what the data do not give of the quantities that a user asked to estimate, once a fit has ended."""
    with scan.lock:
        asked, calibration = scan.estimating, scan.calibration
        if asked is None:
            return
        fitted = calibration is not asked[1] and "detector_transform" in calibration.entries
        if not (fitted or final):
            return
        scan.estimating = None
        points = int(np.count_nonzero(scan.coverage))
    if line := in_words(why_unestimated(asked[0], scan.header, calibration, points)):
        publisher.log("warning", f"scan {scan.header.series}: {line}")


def _payload(scan: ScanSession, entries: dict[str, Any], advice: dict[str, Any], *, final: bool) -> dict[str, Any]:
    """Return the event (docs/protocol.md)."""
    return {
        "uid": scan.uid,
        "series": scan.header.series,
        "frames": scan.frames_seen,
        "final": final,
        "calibration": entries,
        "advice": advice,
    }
