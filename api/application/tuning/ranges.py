"""Range of each varied value: as typed, or around its present value according to its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.application.tuning.tunables import (
    ABERRATIONS,
    DEFOCUS,
    ROTATION,
    SCALE,
    SEMIANGLE,
    SLICES,
    THICKNESS,
    TILTS,
    Kind,
    Tunable,
    order_length_A,
    present,
    tunables,
    uncertainty,
)
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.schema import MetadataError
from ptylive.schema.errors import brief
from ptylive.schema.plausible import PLAUSIBLE, understood
from ptylive.schema.units import in_unit_of, number_and_unit

MOST = 12
"""Largest number of values varied at once."""
DEVIATIONS = 4.0
"""Standard deviations of an estimated value on either side."""
SHARE = 0.7
"""Share of a given length on either side: it may be 40 % wrong."""
DEPTHS = 2.0
"""Least range of a defocus, as phase in pi at the edge of the aperture; other aberrations get half of it."""
FACTOR = 2.0
"""Factor by which a positive number is multiplied and divided."""
SEMIANGLE_SHARE, SCALE_SHARE, ROTATION_DEG, TILT_MRAD = 0.1, 0.1, 5.0, 10.0
DEPTH_SHARE = 0.1
"""Error of a thickness, as a share: after few sweeps its minimum stays 5 to 15 % high (docs/refinement.md)."""
DECADES = 2.0
"""A range of positive numbers that spans more decades than this is treated logarithmically."""
EXAMPLE = "write NAME, NAME=LOW:HIGH or NAME=ONE|OTHER, with commas between them"


@dataclass(frozen=True)
class RequestedRange:
    """A value as typed by the user. ``low``, ``high``: in its unit, None if left open."""

    tunable: Tunable
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Range:
    """One value and its range. ``start``: its present value, None if it has none. ``blur``: ambiguity that the model
    leaves whatever the trials say, in the value's unit (half the distance between slices, for a depth);
    ``share``: the same as a share of the value.
    """

    name: str
    title: str
    unit: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()
    start: Any = None
    blur: float = 0.0
    share: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {**asdict(self), "choices": list(self.choices)}

    def holds(self, value: Any) -> bool:
        """Whether a value is in the range."""
        if self.kind == Kind.CHOICE:
            return value in self.choices
        return value is not None and self.low <= value <= self.high

    def place(self, value: Any) -> float:
        """Position of a value between the ends, from 0 to 1."""
        if self.kind == Kind.CHOICE:
            return self.choices.index(value) / max(1, len(self.choices) - 1)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    def value(self, place: float) -> Any:
        """Inverse of :meth:`place`, rounded to the nearest possible value."""
        place = min(1.0, max(0.0, place))
        if self.kind == Kind.CHOICE:
            return self.choices[round(place * (len(self.choices) - 1))]
        plain = self.low * (self.high / self.low) ** place if self.log else self.low + place * (self.high - self.low)
        return round(plain) if self.kind == Kind.WHOLE else plain

    def spoken(self, value: Any) -> str:
        """Format a value with its unit."""
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return f"{text} {self.unit}".strip()


def parse_over(texts: Iterable[str], judge: Judge = Judge.HELD_OUT) -> tuple[RequestedRange, ...]:
    """Parse ``--over``, given several times or with commas. Raises MetadataError naming the problem and the remedy."""
    asked = [
        entry for text in texts for part in text.split(",") if part.strip() for entry in _parsed(part.strip(), judge)
    ]
    names = [entry.tunable.name for entry in asked]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MetadataError(f"--over lists {twice} twice", "name each value once")
    if not 1 <= len(asked) <= MOST:
        raise MetadataError(f"--over lists {len(asked)} values to tune", f"name 1 to {MOST}: {EXAMPLE}")
    return tuple(asked)


def _parsed(text: str, judge: Judge) -> list[RequestedRange]:
    name, equals, bounds = text.partition("=")
    tunables_found = tunables(name.strip(), judge)
    return [
        _with_bounds(tunable, bounds.strip(), text) if equals else RequestedRange(tunable) for tunable in tunables_found
    ]


def _with_bounds(tunable: Tunable, bounds: str, text: str) -> RequestedRange:
    if tunable.kind is Kind.CHOICE:
        choices_by_word = {str(choice).lower(): choice for choice in tunable.choices}
        chosen = tuple(choices_by_word.get(word.strip().lower()) for word in bounds.split("|"))
        if None in chosen or len(set(chosen)) < 2:
            raise MetadataError(
                f"--over {text}: give two or more of {', '.join(choices_by_word)}", f"write {tunable.name}=ONE|OTHER"
            )
        return RequestedRange(tunable, choices=chosen)
    low, colon, high = bounds.partition(":")
    if not colon:
        raise MetadataError(f"--over {brief(text)} has no range", EXAMPLE)
    unit = number_and_unit(high.strip())
    if unit is not None and unit[1] and _is_bare(low):
        low = f"{low} {unit[1]}"
    ends = (_number(tunable, low.strip(), text), _number(tunable, high.strip(), text))
    if not ends[0] < ends[1]:
        raise MetadataError(f"--over {text}: {ends[0]:g} is not below {ends[1]:g}", "write NAME=LOW:HIGH")
    return RequestedRange(tunable, *ends)


def _is_bare(text: str) -> bool:
    read = number_and_unit(text.strip())
    return read is not None and not read[1]


def _number(tunable: Tunable, typed: str, text: str) -> float:
    name = tunable.name
    value = understood(name, typed) if name in PLAUSIBLE else in_unit_of(name, typed)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise MetadataError(
            f"--over {brief(text)}: {brief(typed)} is no {tunable.kind}", f"its unit is {tunable.unit or 'none'}"
        )
    return number


def ranges(asked: Sequence[RequestedRange], dataset: Dataset, preset: Preset) -> tuple[Range, ...]:
    """Every range, with open ones around the present value. Raises MetadataError for a value without one."""
    return tuple(_range(entry, dataset, preset) for entry in asked)


def _range(asked: RequestedRange, dataset: Dataset, preset: Preset) -> Range:
    tunable = asked.tunable
    start = present(tunable.name, dataset, preset)
    common: dict[str, Any] = {"name": tunable.name, "title": tunable.title, "unit": tunable.unit, "kind": tunable.kind}
    if tunable.kind is Kind.CHOICE:
        return Range(**common, choices=asked.choices or tunable.choices, start=start)
    if asked.low is None or asked.high is None:
        low, high = _default_bounds(tunable, start, dataset)
    else:
        low, high = asked.low, asked.high
    if tunable.kind is Kind.WHOLE:
        low, high = math.ceil(low), math.floor(high)
    log = low > 0 and high / low > 10**DECADES
    blur, share = _blur(tunable.name, preset), DEPTH_SHARE if tunable.name == THICKNESS else 0.0
    value_range = Range(**common, low=low, high=high, log=log, start=start, blur=blur, share=share)
    if not low < high:
        raise MetadataError(f"{tunable.name} has no range from {low:g} to {high:g}", f"write {tunable.name}=LOW:HIGH")
    for end in (low, high):
        _check(value_range, end, preset)
    return value_range


def _blur(name: str, preset: Preset) -> float:
    """Slices represent a specimen that is continuous between them: its ends are known to half the slice distance, and
    the plane of focus to a whole one (SrTiO3, 100 Å overfocus: 127 Å with slices of 20 Å, 109 Å with slices of 10 Å).
    """
    gaps = preset.object.spacings_A if name in (DEFOCUS, THICKNESS) and preset.object.slices > 1 else ()
    return max(gaps, default=0.0) * (1.0 if name == DEFOCUS else 0.5)


def _check(value_range: Range, end: float, preset: Preset) -> None:
    """Raise MetadataError for an end that the setting or value cannot have."""
    if value_range.name in PLAUSIBLE:
        understood(value_range.name, end, ask=False)
    elif value_range.name not in (*TILTS, SCALE):
        thick = {"total_thickness_A": preset.object.total_thickness_A or 1.0} if value_range.name == SLICES else {}
        Preset.from_mapping({**thick, value_range.name: end})


def _default_bounds(tunable: Tunable, start: Any, dataset: Dataset) -> tuple[float, float]:
    name, deviation = tunable.name, uncertainty(tunable.name, dataset)
    from_deviation = DEVIATIONS * deviation if deviation is not None else None
    if name == DEFOCUS or name in ABERRATIONS:
        pi_A = order_length_A(
            name,
            float(dataset.calibration.wavelength_A or math.nan),
            float(dataset.calibration.require(SEMIANGLE, f"a range of {tunable.title}")),
        )
        least = (DEPTHS if name == DEFOCUS else DEPTHS / 2) * pi_A
        half = max(from_deviation if from_deviation is not None else SHARE * abs(start), least)
        return start - half, start + half
    fixed = {SEMIANGLE: SEMIANGLE_SHARE * (start or 0), SCALE: SCALE_SHARE, ROTATION: ROTATION_DEG}
    fixed |= dict.fromkeys(TILTS, TILT_MRAD)
    if name in fixed:
        half = max(from_deviation or 0.0, fixed[name])
        return start - half, start + half
    if not isinstance(start, int | float) or start <= 0:
        raise MetadataError(f"{name} has no current value to vary", f"write {name}=LOW:HIGH")
    if tunable.kind is Kind.WHOLE:
        return max(1, start // FACTOR), max(start + 1, FACTOR * start)
    return start / FACTOR, FACTOR * start
