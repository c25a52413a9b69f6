"""Scans sorted by the place they show, and the dose curve of the place of the newest one.

A scan belongs to a place if step, size and optics are the same, and its map agrees with the mean of the last scans of
that place after registration. Places are few and their scans are bounded; the oldest give way.
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


class Places:
    """The last places; the one that was scanned last comes last. For one thread."""

    def __init__(self) -> None:
        self._places: list[Place] = []

    def take(self, scan: RepeatedScan) -> DoseCurve | None:
        """Add a scan to the place it shows, or begin another one; the dose curve of that place.

        A scan that comes again takes the place of what it was if it is the newest there; of earlier ones the curve is
        given as it is. None where nothing can be told of it: ``scan.problem`` says why.
        """
        known = next((one for one in self._places if scan.uid in {each.uid for each in one.scans}), None)
        if known is not None:
            if known.scans[-1].uid != scan.uid:
                return known.curve()
            known.drop_last()
            self._places = [one for one in self._places if one.scans]
        if scan.problem:
            return None
        place, words = self._find(scan)
        if place is None:
            place = Place([scan])
            self._places.append(place)
            del self._places[:-MOST_PLACES]
        return replace(place.curve(), apart=words)

    def mean(self) -> LiveMap | None:
        """The aligned mean of the scans of the newest place; None before the first scan."""
        return self._places[-1].mean() if self._places else None

    def _find(self, scan: RepeatedScan) -> tuple[Place | None, str]:
        """The place of a scan, which it was added to; or why it shows not the one before."""
        words = ""
        for place in reversed(self._places):
            if not scan.is_like(place.scans[0]):
                words = words or "not added to the scan before: map, step, size or optics are others"
                continue
            if any(np.array_equal(one.live_map.data, scan.live_map.data) for one in place.scans):
                return place, "not added: it is a recording that is there already"
            found = place.compare(scan)
            if found is None or not found.is_same_place:
                words = words or _apart(found)
                continue
            place.add(scan, found)
            self._places.remove(place)
            self._places.append(place)
            return place, ""
        return None, words


def _apart(found: Registration | None) -> str:
    """Why a scan is not added to those before."""
    if found is None or not found.is_sure:
        return "not added to the scan before: another place, or too little signal to tell"
    agreement = f"{100 * found.agreement:.0f} ± {100 * found.uncertainty:.0f} %"
    return f"not added to the scan before, with which it agrees by {agreement} only: another place, or much changed"
