"""Units of other programs into those of the contract: Å, 1/Å, mrad, eV, µs. The only place where that happens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ptylive.schema.units import unit_factor


def length_A(value: Any, unit: Any) -> float | None:
    """A length in Å; None for what is no length (pixels, nothing at all)."""
    return _scaled(value, unit, "length")


def frequency_invA(value: Any, unit: Any) -> float | None:
    """A spatial frequency in 1/Å; None for what is none."""
    return _scaled(value, unit, "frequency")


def angle_mrad(value: Any, unit: Any) -> float | None:
    """An angle in mrad; None for what is none."""
    return _scaled(value, unit, "angle")


def energy_eV(volts: Any, factor: float = 1.0) -> float | None:
    """Beam energy in eV from a high tension in V, or in kV with a factor of 1000; None for 0 or nonsense."""
    return _positive(volts, factor)


def time_us(seconds: Any) -> float | None:
    """A time in µs from s; None for 0 or nonsense."""
    return _positive(seconds, 1e6)


def scan_metadata(scales: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """``scan_step_A`` from (scale, unit) of row and column axis, where both are lengths."""
    steps = [length_A(*scale) for scale in scales]
    known = [step for step in steps if step is not None]
    return {"scan_step_A": known} if len(known) == 2 else {}


def detector_metadata(scales: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Pixel size from (scale, unit) of the detector's row and column axis; only where both are equal."""
    for name, convert in (("detector_pixel_invA", frequency_invA), ("detector_pixel_mrad", angle_mrad)):
        sizes = [convert(*scale) for scale in scales]
        known = [size for size in sizes if size is not None]
        if len(known) == 2 and math.isclose(known[0], known[1], rel_tol=1e-3):
            return {name: known[0]}
    return {}


def _scaled(value: Any, unit: Any, kind: str) -> float | None:
    factor = unit_factor(kind, _plain(unit))
    return None if factor is None else _positive(value, factor)


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
