"""What the dose of a scan achieves: of the scan alone while it arrives, of all scans of its place once it has ended."""

from __future__ import annotations

import math
from typing import Any

from ptylive.engine.repeats import Places, RepeatedScan
from ptylive.engine.repeats.place import Place
from ptylive.schema.advice.dose_curve import DoseCurve
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.wire.publisher import Publisher

TOPIC = "dose"
SHARE_OF_FIELD = 0.1
"""Drift that is reported if no bound was given, as a fraction of the shorter side of the field."""


def publish_dose_so_far(publisher: Publisher, scan: ScanSession, *, final: bool = False) -> None:
    """Publish the dose curve of a scan alone, while it arrives (where maps are published) or of an opened one."""
    with scan.lock:
        found = RepeatedScan.of(scan.header, scan.rendering.maps, scan.mean)
    if found is None or found.problem:
        return
    _publish(publisher, scan, Place([found]).curve(), final=final)


class DoseCurves:
    """Dose curves of scans as they end, one after the other; used by the finisher's thread."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher, self._places = publisher, Places()

    def take(self, scan: ScanSession) -> None:
        """Add a scan whose maps have been made to its place, and publish the curve of that place."""
        if scan.stored is not None:  # opened from its files, not a new scan
            publish_dose_so_far(self._publisher, scan, final=True)
            return
        with scan.lock:
            found = RepeatedScan.of(scan.header, scan.rendering.maps, scan.mean)
        curve = None if found is None else self._places.take(found)
        if curve is None:
            scan.dose_curve = None
            return
        _publish(self._publisher, scan, curve, final=True)
        if curve.scans > 1 or curve.apart:
            self._publisher.log("info", f"dose: {curve.line}")


def drift_since_first(scan: ScanSession | None, bound_A: float | None) -> dict[str, Any] | None:
    """Return the distance of a scan from the first scan of the same place: {A, bound_A, since}.

    None if the place was scanned only once.
    """
    curve = None if scan is None else scan.dose_curve
    if scan is None or curve is None or len(curve["series"]) < 2:
        return None
    shape, steps = scan.header.scan.require_shape(), scan.header.scan.step_A or (1.0, 1.0)
    field_A = min(n * step for n, step in zip(shape, steps, strict=True))
    bound_A = SHARE_OF_FIELD * field_A if bound_A is None else bound_A
    return {"A": math.hypot(*curve["shift_A"]), "bound_A": bound_A, "since": str(curve["series"][0])}


def _publish(publisher: Publisher, scan: ScanSession, curve: DoseCurve, *, final: bool) -> None:
    plain: dict[str, Any] = curve.to_plain()
    if plain == scan.dose_curve and not final:
        return
    scan.dose_curve = plain
    scan_fields = {"uid": scan.uid, "frames": scan.frames_seen, "final": final}
    publisher.publish(TOPIC, {**scan_fields, **plain})
