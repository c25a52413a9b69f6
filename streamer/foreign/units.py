"""Conversion of other programs' units into those of the contract: Å, 1/Å, mrad, eV, µs. The only place for this."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ptylive.schema.units import unit_factor
from ptylive.streamer.storage.scan_file import CHECK_IT

EQUAL, NEARLY = 1e-3, 1.05
"""Relative difference below which pixels are square, and the ratio of sides up to which their mean stands for both: the
difference between two fits of one camera length. A disc elongated by more is an ellipse, described by a distortion.
"""
_NEARLY_EVEN, _MOST_VALUES = 0.3, 2**20
"""How far values of an axis may be off even steps, in steps, and the number of values that are read."""

_AXES = (
    ("the scan's rows", "scan_step_A", ("length",)),
    ("the scan's columns", "scan_step_A", ("length",)),
    ("the detector's rows", "detector_pixel_mrad", ("frequency", "angle")),
    ("the detector's columns", "detector_pixel_mrad", ("frequency", "angle")),
)
"""Axes of frames, with the metadata that their steps give, and the kinds of units from which these are used."""


def length_A(value: Any, unit: Any) -> float | None:
    """Convert a length to Å; None if it is not a length (pixels, nothing at all)."""
    return _scaled(value, unit, "length")


def frequency_invA(value: Any, unit: Any) -> float | None:
    """Convert a spatial frequency to 1/Å; None if it is not one."""
    return _scaled(value, unit, "frequency")


def angle_mrad(value: Any, unit: Any) -> float | None:
    """Convert an angle to mrad; None if it is not one."""
    return _scaled(value, unit, "angle")


def energy_eV(volts: Any, factor: float = 1.0) -> float | None:
    """Beam energy in eV from a high tension in V, or in kV with a factor of 1000; None for 0 or nonsense."""
    return _positive(volts, factor)


def is_energy(unit: Any) -> bool:
    """Whether a unit is one of energies, as that of a spectrum's axis."""
    return unit_factor("energy", _plain(unit)) is not None


def time_us(seconds: Any) -> float | None:
    """A time in µs from s; None for 0 or nonsense."""
    return _positive(seconds, 1e6)


def mean_step(values: Any) -> float | None:
    """Return the mean step of an axis given by its values (an HDF5 data set of numbers, or an array); None for fewer
    than two, and if they are not evenly spaced, to within 0.3 of the step (root mean square).
    """
    count = len(values)
    if count < 2:
        return None
    found = np.asarray(values[:_MOST_VALUES], dtype=np.float64)
    with np.errstate(all="ignore"):  # infinite ones are not even
        step = float((found[-1] - found[0]) / (len(found) - 1))
        off = found - found[0] - step * np.arange(len(found))
        even = bool(np.sqrt(np.mean(off**2)) <= _NEARLY_EVEN * abs(step))
    return step if even else None


def scan_metadata(scales: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """``scan_step_A`` from (scale, unit) of row and column axis, where both are lengths."""
    steps = [length_A(*scale) for scale in scales]
    known = [step for step in steps if step is not None]
    return {"scan_step_A": known} if len(known) == 2 else {}


def detector_metadata(scales: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Pixel size from (scale, unit) of the detector's row and column axis: their mean, where they are nearly equal."""
    name, sizes = _pixel_sizes(scales)
    return {name: _mean(sizes)} if sizes and max(sizes) <= NEARLY * min(sizes) else {}


def axes_metadata(scales: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Step and pixel size from (scale, unit) of the three or four axes of frames, those of the detector last. Patterns
    along a single axis with a length lie on a line, whose step is the scan's.
    """
    scan = scales[:-2]
    return scan_metadata([*scan, *scan] if len(scan) == 1 else scan) | detector_metadata(scales[-2:])


def doubtful_axes(scales: Sequence[tuple[Any, Any]]) -> tuple[str, ...]:
    """Notes on (scale, unit) of the axes of frames, those of the detector last: descending ones, a single one of the
    scan, unequal pixels.
    """
    return (*_descending(scales), *_line(scales), *unequal_pixels(scales[-2:]))


def _line(scales: Sequence[tuple[Any, Any]]) -> tuple[str, ...]:
    """A note where :func:`axes_metadata` used the step of a single axis."""
    step = length_A(*scales[0]) if len(scales) == len(_AXES) - 1 else None
    return () if step is None else (f"scan_step_A {step:.5g} is the step along the only axis of the scan{CHECK_IT}",)


def _descending(scales: Sequence[tuple[Any, Any]]) -> tuple[str, ...]:
    """A note for each axis whose step would be used if it were not negative."""
    notes = []
    for (scale, unit), (axis, name, kinds) in zip(scales, _AXES[len(_AXES) - len(scales) :], strict=True):
        if any(_scaled(scale, unit, kind, -1.0) is not None for kind in kinds):
            notes.append(
                f"the axis of {axis} descends ({float(scale):.5g} {_plain(unit)} a step) and is not used; give {name} "
                f"unless another source states it{CHECK_IT}"
            )
    return tuple(notes)


def unequal_pixels(scales: Sequence[tuple[Any, Any]]) -> tuple[str, ...]:
    """A note where :func:`detector_metadata` used a mean, or nothing."""
    _, sizes = _pixel_sizes(scales)
    if not sizes or math.isclose(*sizes, rel_tol=EQUAL):
        return ()
    unit = scales[0][1].decode(errors="replace") if isinstance(scales[0][1], bytes) else scales[0][1]
    words = f"pixels of the detector are {float(scales[0][0]):.5g} by {float(scales[1][0]):.5g} {unit}, rows by columns"
    if max(sizes) <= NEARLY * min(sizes):
        return (f"{words}: their mean is used; give the difference as a distortion",)
    return (f"{words}, and are not used: give detector_pixel_mrad, and the rest as a distortion",)


def _pixel_sizes(scales: Sequence[tuple[Any, Any]]) -> tuple[str, list[float]]:
    """Name for the sizes of both axes, and the sizes; none where they are not both frequencies or both angles."""
    for name, convert in (("detector_pixel_invA", frequency_invA), ("detector_pixel_mrad", angle_mrad)):
        known = [size for scale in scales if (size := convert(*scale)) is not None]
        if len(known) == 2:
            return name, known
    return "", []


def _mean(sizes: Sequence[float]) -> float:
    """Mean of two sizes: of equal ones the first, as in the file; otherwise the one that preserves areas."""
    return sizes[0] if math.isclose(*sizes, rel_tol=EQUAL) else math.sqrt(sizes[0] * sizes[1])


def _scaled(value: Any, unit: Any, kind: str, sign: float = 1.0) -> float | None:
    factor = unit_factor(kind, _plain(unit))
    return None if factor is None else _positive(value, sign * factor)


def _plain(unit: Any) -> str:
    text = unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit or "")
    return text.strip()


def _positive(value: Any, factor: float) -> float | None:
    """Value × factor where that is a positive number."""
    try:
        number = float(value) * factor
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
