"""Estimates from trials: the best of each value and its standard deviation, or that it is undetermined.

A value is as good as the best one if the loss, minimised over everything else, is higher by less than twice the
standard deviation of that difference. If such values cover most of the range, the value is undetermined. The reported
standard deviation is half the width of the equally good values on either side, combined with how far the minimum still
moved in the second half of the sweeps (a shift that falls as 1 / sweeps would move as far again), and with the
ambiguity of the model (``Range.blur``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.application.tuning.landscape import Landscape
from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.trials import FinishedTrial, filled, losses
from ptylive.application.tuning.tunables import Kind
from ptylive.schema.model import BoolArray, DoubleArray

CERTAIN = 2.0
"""Standard deviations by which a loss must be higher to count as worse."""
MOST = 0.6
"""Share of the range that may be as good as the best; beyond it the value is undetermined."""
POINTS = 25
"""Points of a profile over the range, and again over the equally good values."""
LEAST_RISE = 1e-3
"""Least share of the loss by which a value must change it over its range to be determined: as much as the two sheets of
sulphur in one layer of MoS2 contribute, and as any model leaves unexplained.
"""
EDGE = 0.02
"""Share of the range: a minimum this close to an end may lie beyond it."""
LEAST_TRIALS = 3
"""Per varied value, plus three: with fewer trials no landscape is fitted."""


@dataclass(frozen=True)
class Profile:
    """The loss against one value, minimised over everything else."""

    values: tuple[Any, ...]
    rise: DoubleArray
    """(values,) relative excess of the loss over the best."""
    deviation: DoubleArray
    """(values,) standard deviation of that excess."""


@dataclass(frozen=True)
class Estimate:
    """Estimate of one value. ``best``: where the loss is lowest; ``deviation``: None for words, whole numbers, and
    undetermined values; ``alike``: values that are as good, in order (for numbers the two ends of their range).
    """

    range: Range
    best: Any
    deviation: float | None
    alike: tuple[Any, ...]
    told: bool
    beyond: str
    """``low`` or ``high`` if the best may lie beyond that end of the range."""
    profile: Profile

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        value_range = self.range
        if not self.told:
            return f"{value_range.title} cannot be determined ({self._alike()} predict equally well)"
        if self.beyond:
            end, side = (value_range.low, "less") if self.beyond == "low" else (value_range.high, "more")
            return f"{value_range.title} {value_range.spoken(end)} or {side}: the best lies at the end of its range"
        if self.deviation is not None:
            digits = digits_of(self.deviation)
            return (
                f"{value_range.title} {self.best:.{digits}f} ± {self.deviation:.{digits}f} {value_range.unit}".strip()
            )
        others = [value for value in self.alike if value != self.best]
        remainder = (
            f" ({', '.join(value_range.spoken(value) for value in others)} predict equally well)" if others else ""
        )
        return f"{value_range.title} {value_range.spoken(self.best)}{remainder}"

    def _alike(self) -> str:
        value_range = self.range
        if value_range.kind == Kind.CHOICE:
            return " and ".join(value_range.spoken(value) for value in self.alike)
        return f"{self.alike[0]:.4g} to {value_range.spoken(self.alike[-1])}"


@dataclass(frozen=True)
class Findings:
    """Findings of all trials of a tuning together."""

    landscape: Landscape
    estimates: tuple[Estimate, ...]
    agreement: float | None
    """Rank correlation of the losses at half the sweeps and at the end, over trials that got that far."""

    @property
    def sentence(self) -> str:
        """All estimates in words."""
        return "; ".join(estimate.sentence for estimate in self.estimates)

    @property
    def values(self) -> dict[str, Any]:
        """The best values, rounded to their certainty; undetermined ones keep their present value."""
        return {estimate.range.name: _proposed(estimate) for estimate in self.estimates}


def digits_of(deviation: float) -> int:
    """Decimals for a value with this standard deviation, which gets two significant figures, or one above 2.5."""
    if not deviation > 0 or not math.isfinite(deviation):
        return 3
    return max(
        0, (1 if deviation / 10 ** math.floor(math.log10(deviation)) < 2.5 else 0) - math.floor(math.log10(deviation))
    )


def enough(over: Sequence[Range], tried: Sequence[FinishedTrial], sweeps: int) -> bool:
    """Whether there are enough trials for findings."""
    return len(losses(tried, sweeps)[0]) >= LEAST_TRIALS * len(over) + 3


def findings(over: Sequence[Range], tried: Sequence[FinishedTrial], sweeps: int) -> Findings:
    """Findings from trials that ran to the end, or at least half of it. Raises ValueError for too few."""
    trials, groups = filled(tried, sweeps)
    landscape = Landscape.of(over, [trial.values for trial in trials], groups)
    best = landscape.lowest()
    earlier_trials, earlier_groups = losses(tried, max(1, sweeps // 2))
    shift = np.zeros(len(over))
    if sweeps > 1:
        shift = np.abs(best - Landscape.of(over, [trial.values for trial in earlier_trials], earlier_groups).lowest())
    estimates = tuple(_estimate(landscape, k, best, float(shift[k])) for k in range(len(over)))
    return Findings(landscape, estimates, _agreement(losses(tried, sweeps)[0], sweeps))


def _estimate(landscape: Landscape, k: int, best: DoubleArray, shift: float) -> Estimate:
    value_range = landscape.over[k]
    if value_range.kind == Kind.CHOICE:
        places = np.array([value_range.place(value) for value in value_range.choices])
    elif value_range.kind == Kind.WHOLE:
        values = np.unique(
            np.round(
                np.linspace(
                    value_range.low, value_range.high, min(POINTS, round(value_range.high - value_range.low) + 1)
                )
            )
        )
        places = np.array([value_range.place(int(value)) for value in values])
    else:
        places = np.linspace(0, 1, POINTS)
    rise, deviation = _profile(landscape, k, best, places)
    good = rise <= CERTAIN * deviation
    profile = Profile(tuple(value_range.value(float(place)) for place in places), *landscape.shares(rise, deviation))
    value, matters = value_range.value(float(best[k])), bool(profile.rise.max() > LEAST_RISE)
    if value_range.kind != Kind.NUMBER:
        good |= not matters
        alike = tuple(each for each, fine in zip(profile.values, good, strict=True) if fine or each == value)
        determined = len(alike) <= max(1.0, MOST * len(places))
        return Estimate(
            value_range, value, None, alike if determined else _ends(alike, value_range), determined, "", profile
        )
    low, high = _limits(landscape, k, best, places, good) if matters else (0.0, 1.0)
    determined = high - low < MOST
    alike = (value_range.value(low), value_range.value(high))
    beyond = "low" if best[k] < EDGE and low <= 0 else "high" if best[k] > 1 - EDGE and high >= 1 else ""
    half = math.hypot((high - low) / 4, shift)  # equally good values span two standard deviations on either side
    width = value_range.value(min(1.0, float(best[k]) + half / 2)) - value_range.value(
        max(0.0, float(best[k]) - half / 2)
    )
    deviation_all = math.hypot(float(width), value_range.blur, value_range.share * value)
    return Estimate(
        value_range, value, deviation_all if determined and not beyond else None, alike, determined, beyond, profile
    )


def _ends(alike: tuple[Any, ...], value_range: Range) -> tuple[Any, ...]:
    return alike if value_range.kind == Kind.CHOICE else (alike[0], alike[-1])


def _profile(landscape: Landscape, k: int, best: DoubleArray, places: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """(places,) rise of the log loss above the best, and its standard deviation."""
    rises = [landscape.rise(landscape.lowest({k: float(place)}), best) for place in places]
    rise, deviation = np.array(rises).T
    return np.maximum(rise, 0.0), deviation


def _limits(
    landscape: Landscape, k: int, best: DoubleArray, places: DoubleArray, good: BoolArray
) -> tuple[float, float]:
    """Ends of the contiguous range of values that are as good as the best."""
    ends = []
    for side in (-1, 1):
        beyond = places[(side * (places - best[k]) > 0) & ~good]
        worse = float(beyond[0 if side > 0 else -1]) if len(beyond) else None
        if worse is None:
            ends.append(0.0 if side < 0 else 1.0)
            continue
        inside = float(best[k])  # find the first place outside by bisection
        for _ in range(8):
            middle = (inside + worse) / 2
            rise, deviation = landscape.rise(landscape.lowest({k: middle}), best)
            inside, worse = (middle, worse) if rise <= CERTAIN * deviation else (inside, middle)
        ends.append(worse)
    return ends[0], ends[1]


def _proposed(estimate: Estimate) -> Any:
    start = estimate.range.start
    if not estimate.told and estimate.range.holds(start):
        return start
    if estimate.range.kind != Kind.NUMBER:
        return estimate.best
    if estimate.deviation is None:
        return float(f"{estimate.best:.4g}")
    return round(float(estimate.best), digits_of(estimate.deviation) + 1)


def _agreement(trials: Sequence[FinishedTrial], sweeps: int) -> float | None:
    """Rank correlation of half the sweeps and all of them; None for too few trials, or one sweep."""
    from scipy.stats import spearmanr

    if sweeps < 2 or len(trials) < 2 * LEAST_TRIALS:
        return None
    early, late = (np.array([np.mean(trial.groups[sweep]) for trial in trials]) for sweep in (sweeps // 2, sweeps))
    if not (np.ptp(early) > 0 and np.ptp(late) > 0):
        return None
    return float(spearmanr(early, late).statistic)
