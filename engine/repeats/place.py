"""Scans of one place, registered with each other, and the information in their sum."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np
from scipy import ndimage

from ptylive.engine.repeats.change import UNKNOWN, Value, change, is_change
from ptylive.engine.repeats.field import LEAST_SIDE_PX, CommonField, RingPowers, without_ramp
from ptylive.engine.repeats.registration import Registration, agreement, register, signal_share
from ptylive.engine.repeats.repeated_scan import RepeatedScan
from ptylive.schema.advice.dose_curve import DoseCurve, DosePoint, Verdict
from ptylive.schema.maps import LiveMap, RingQuality
from ptylive.schema.model import Array, DoubleArray

MOST_SCANS = 16
"""Largest number of scans of one place; beyond it the oldest are left out of the sum."""
LAST_SCANS = 4
"""Number of recent scans whose mean a new one is compared with, so that a slowly changing specimen is recognised."""
ERRORS = 1.96
"""Standard errors on either side that contain a value in 19 of 20 cases."""
BY_MEDIAN = 1.24
"""Factor for a single scan, in which the noise of a ring is its median over ln 2, known to 1.44 / sqrt(n) instead of
1 / sqrt(n) for a mean: the correlation of its halves scatters by sqrt((1 + 1.44^2) / 2) times as much."""
FURTHER = (2.0, 4.0)
"""Multiples of the dose so far for which an information limit is predicted."""
LEAST_OF_TWO = 3.0
"""Standard errors by which two scans must agree less than those of an unchanged place to count as changed."""


@dataclass(eq=False)
class Place:
    """Scans of one place and their shifts relative to the first, in pixels of its map."""

    scans: list[RepeatedScan]
    shifts_px: list[DoubleArray] = field(default_factory=lambda: [np.zeros(2)])
    last: Registration | None = None

    def compare(self, scan: RepeatedScan) -> Registration | None:
        """Register a scan with the mean of the last scans, in the frame of the first."""
        recent = list(zip(self.scans, self.shifts_px, strict=True))[-LAST_SCANS:]
        whole = np.rint(recent[-1][1])
        offsets = [shift - whole for _, shift in recent]
        low = np.max([np.ceil(np.maximum(-offset, 0)) for offset in offsets], axis=0).astype(int)
        high: Array = np.asarray(scan.live_map.data.shape) - np.max(
            [np.ceil(np.maximum(offset, 0)) for offset in offsets], axis=0
        )
        if (high - low < LEAST_SIDE_PX).any():
            return None
        common = slice(low[0], int(high[0])), slice(low[1], int(high[1]))  # field common to all of them
        pictures = [without_ramp(one.live_map.data) for one, _ in recent]
        moved = [ndimage.shift(one, -offset)[common] for one, offset in zip(pictures, offsets, strict=True)]
        mean = replace(recent[-1][0].live_map, data=np.mean(moved, axis=0, dtype=np.float32))
        registration = register(mean, replace(scan.live_map, data=scan.live_map.data[common]), len(recent))
        if registration is None:
            return None
        maps = [*(one.live_map for one, _ in recent), scan.live_map]
        together = CommonField.of(maps, [*offsets, registration.shift_px])
        if together is None:
            return None
        powers = together.powers()
        shares = [signal_share(_single(one)[0])[: len(powers.products)] for one in (*(one for one, _ in recent), scan)]
        agreed = agreement(powers, [np.sqrt(share * shares[-1]) for share in shares[:-1]])
        return Registration(registration.shift_px + whole, *agreed)

    def add(self, scan: RepeatedScan, registration: Registration) -> None:
        """Add a scan; the oldest are dropped beyond MOST_SCANS, and if they share no field with it."""
        self.scans.append(scan)
        self.shifts_px.append(registration.shift_px)
        self.last = registration
        while len(self.scans) > 1 and (len(self.scans) > MOST_SCANS or self._powers() is None):
            self.scans.pop(0)
            self.shifts_px = [shift - self.shifts_px[1] for shift in self.shifts_px[1:]]

    def drop_last(self) -> None:
        """Forget the newest scan."""
        self.scans.pop()
        self.shifts_px.pop()
        self.last = None

    def mean(self) -> LiveMap:
        """Return the mean of all maps, aligned with the first, at each point over those that saw it.

        Its ``quality`` is that of the sum, and its frames are the total.
        """
        first, powers = self.scans[0].live_map, self._powers()
        if len(self.scans) == 1 or powers is None:
            return first
        maps = [scan.live_map for scan in self.scans]
        sums = np.zeros((2, *first.data.shape))
        for one, shift in zip(maps, self.shifts_px, strict=True):
            covered = ndimage.shift(np.ones(first.data.shape), -shift, order=0)
            sums += np.stack([ndimage.shift(one.data.astype(float), -shift, mode="nearest") * covered, covered])
        settings = {**first.settings, "scans": len(maps), "shifts_px": np.round(self.shifts_px, 3).tolist()}
        method = f"{first.method}, mean of {len(maps)} scans of one place"
        data, frames = (sums[0] / sums[1]).astype(np.float32), sum(one.frames for one in maps)  # the first saw all
        mean_map = replace(first, data=data, frames=frames, method=method, settings=settings, deviation=None)
        return replace(mean_map, quality=replace(powers.quality, transfer=None))

    def _powers(self) -> RingPowers | None:
        """Return the powers of all scans on their common field; None if that is too small."""
        field_of_all = CommonField.of([scan.live_map for scan in self.scans], self.shifts_px)
        return None if field_of_all is None else field_of_all.powers()

    def curve(self) -> DoseCurve:
        """Return the information in successive sums of the scans, and what more scans would add."""
        first, count_of_scans = self.scans[0], len(self.scans)
        powers = None if count_of_scans == 1 else self._powers()
        measured = [self._point(1, 1.0, _single(first), BY_MEDIAN)]
        firsts = [] if powers is None else [powers.of_first(count) for count in range(2, count_of_scans + 1)]
        measured += [self._point(len(one.products[0]), 1.0, (one.quality, one.area_A2)) for one in firsts]
        counts = range(1, count_of_scans + 1)
        predicted = [self._point(count, self._multiple(count), _single(first), BY_MEDIAN) for count in counts]
        fading, drifting = (UNKNOWN, UNKNOWN) if powers is None else change(powers)
        verdict = self._verdict(fading, drifting)
        newest = _single(first) if powers is None else (powers.quality, powers.area_A2)
        wider = BY_MEDIAN if powers is None else 1.0
        expected = [self._point(count_of_scans * factor, factor, newest, wider) for factor in FURTHER]
        sampling = first.live_map.sampling_A or (1.0, 1.0)
        return DoseCurve(
            map=first.live_map.name,
            series=tuple(scan.series for scan in self.scans),
            unit=first.unit,
            measured=tuple(measured),
            predicted=tuple(predicted),
            expected=() if verdict is Verdict.CHANGES else tuple(expected),
            verdict=verdict,
            fading=fading,
            drifting=drifting,
            agreement=(1.0, np.inf) if self.last is None else (self.last.agreement, self.last.uncertainty),
            shift_A=(float(self.shifts_px[-1][0] * sampling[0]), float(self.shifts_px[-1][1] * sampling[1])),
        )

    def _verdict(self, fading: Value, drifting: Value) -> Verdict:
        if self.last is None:
            return Verdict.ONE_SCAN
        if isfinite(fading[1]):
            return Verdict.CHANGES if is_change(fading) or is_change(drifting) else Verdict.STEADY
        differs = 1.0 - self.last.agreement > LEAST_OF_TWO * self.last.uncertainty
        return Verdict.CHANGES if differs else Verdict.STEADY

    def _multiple(self, count: int) -> float:
        """Return the dose of the first scans relative to that of the first one."""
        doses = [scan.dose for scan in self.scans[:count]]
        known = [dose for dose in doses if dose]
        return sum(known) / known[0] if len(known) == count else float(count)

    def _dose(self, scans: float) -> float | None:
        """Return the dose of that many scans: of existing ones, and their mean for future ones."""
        doses = [scan.dose for scan in self.scans]
        known = [dose for dose in doses if dose]
        if len(known) < len(doses):
            return None
        recorded = min(int(scans), len(known))
        return sum(known[:recorded]) + (scans - recorded) * sum(known) / len(known)

    def _point(self, scans: float, factor: float, carried: tuple[RingQuality, float], wider: float = 1.0) -> DosePoint:
        """Return the limit at ``factor`` times the dose of a quality, on an area; ``wider``: factor on its bounds."""
        quality, area_A2 = carried
        best, low, high = quality.crossings(factor, area_A2, wider * ERRORS)
        dose = self._dose(scans)
        if best <= float(quality.frequency_invA[0]):  # no information
            return DosePoint(scans, dose)
        return DosePoint(scans, dose, 1 / best, 1 / high, 1 / low, low >= quality.finest_invA)


def _single(scan: RepeatedScan) -> tuple[RingQuality, float]:
    """Return the quality of a scan's map, as measured on its two halves, and its area, Å²."""
    live_map = scan.live_map
    if live_map.quality is None or live_map.sampling_A is None:
        raise ValueError(f"the quality of the map {live_map.name} was not measured")
    return live_map.quality, float(np.prod(live_map.sampling_A)) * live_map.data.size * live_map.visited
