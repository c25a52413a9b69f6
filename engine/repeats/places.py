"""Scans sorted by the place they show, and the dose curve of the newest scan's place.

A scan belongs to a place if step, size and optics are the same, and its map agrees with the mean of the last scans of
that place after registration. A scan that ended early belongs to none: the rest of its map shows nothing. The numbers
of places and of their scans are limited; the oldest are dropped.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.engine.repeats.place import Place
from ptylive.engine.repeats.registration import Registration
from ptylive.engine.repeats.repeated_scan import RepeatedScan
from ptylive.schema.advice.dose_curve import DoseCurve
from ptylive.schema.maps import LiveMap

MOST_PLACES = 4
BEFORE_IT = "not compared with the previous scan, which is incomplete: whether both show one place cannot be told"


class Places:
    """The most recent places; the one scanned last comes last. Not thread-safe."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._alone: Place | None = None
        """The last scan, if it ended too early to be compared."""

    def take(self, scan: RepeatedScan) -> DoseCurve | None:
        """Add a scan to the place it shows, or start a new one; return the dose curve of that place.

        A scan that is passed again replaces its earlier version if it is the newest of its place; for older scans the
        unchanged curve is returned. None if its place cannot be determined: ``scan.problem`` states why.
        """
        known = next((one for one in self._places if scan.uid in {each.uid for each in one.scans}), None)
        if known is not None:
            if known.scans[-1].uid != scan.uid:
                return known.curve()
            known.drop_last()
            self._places = [one for one in self._places if one.scans]
        if scan.problem:
            return None
        after, self._alone = self._alone, Place([scan]) if scan.is_incomplete else None
        if self._alone is not None:
            seen = f"{100 * scan.live_map.visited:.0f} % of its points were visited"
            return replace(self._alone.curve(), apart=f"not compared with other scans: {seen}, too few to tell")
        place, reason = self._find(scan)
        if place is None:
            place = Place([scan])
            self._places.append(place)
            reason = reason if after is None else BEFORE_IT
            del self._places[:-MOST_PLACES]
        return replace(place.curve(), apart=reason)

    def mean(self) -> LiveMap | None:
        """Return the aligned mean of the scans of the newest place; None before the first scan."""
        newest = self._alone or (self._places[-1] if self._places else None)
        return None if newest is None else newest.mean()

    def _find(self, scan: RepeatedScan) -> tuple[Place | None, str]:
        """Add a scan to its place and return that, or return why it does not show the previous place."""
        reason = ""
        for place in reversed(self._places):
            if not scan.is_like(place.scans[0]):
                reason = reason or "not added to the previous scan: map, step, size or optics differ"
                continue
            if any(np.array_equal(scan_there.live_map.data, scan.live_map.data) for scan_there in place.scans):
                return place, "not added: this recording is already included"
            registration = place.compare(scan)
            if registration is None or not registration.is_same_place:
                reason = reason or _not_added(registration)
                continue
            place.add(scan, registration)
            self._places.remove(place)
            self._places.append(place)
            return place, ""
        return None, reason


def _not_added(registration: Registration | None) -> str:
    """Return why a scan is not added to the previous ones."""
    if registration is None or not registration.is_sure:
        return "not added to the previous scan: another place, or too little signal to decide"
    agreement = f"{100 * registration.agreement:.0f} ± {100 * registration.uncertainty:.0f} %"
    return f"not added to the previous scan, with which it agrees only by {agreement}: another place, or much changed"
