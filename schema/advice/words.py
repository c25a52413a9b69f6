"""Lengths, directions and doses as text: a true minus sign, no more digits than the uncertainty justifies."""

from __future__ import annotations

import math
from decimal import Decimal

_UNITS = (("mm", 1e7), ("µm", 1e4), ("nm", 1e2))
"""Unit, and the smallest length in Å expressed in it."""
_SIZES = {"mm": 1e7, "µm": 1e4, "nm": 10.0, "Å": 1.0}
MOST_DECIMALS = 4
_THIN_SPACE = "\u2009"


def unit_for(length_A: float) -> str:
    """Choose the unit that keeps a length short: Å, nm from 10 nm on, µm, mm."""
    return next((unit for unit, least in _UNITS if abs(length_A) >= least), "Å")


def plain_number(value: float, finest: float) -> str:
    """Format a number down to the first digit of ``finest``, at most four decimals, with a true minus sign."""
    if not math.isfinite(value):
        return "?"
    places = 0 if not math.isfinite(finest) or finest <= 0 else -math.floor(math.log10(finest))
    text = f"{value:.{min(MOST_DECIMALS, max(0, places))}f}"
    return "0" if not text.strip("-0.") else text.replace("-", "−")


def significant(value: float, digits: int) -> str:
    """`1020`, not `1.02e+03`: format a number with significant digits, never as a power of ten."""
    text = f"{value:.{digits}g}"
    return format(Decimal(text), "f") if "e" in text else text


def length_text(length_A: float, finest_A: float | None = None) -> str:
    """`14.5 nm`, with three digits or down to ``finest_A``."""
    unit = unit_for(length_A)
    size = _SIZES[unit]
    finest = abs(length_A) / 1e2 if finest_A is None else finest_A
    return f"{plain_number(length_A / size, finest / size)} {unit}"


def with_doubt(length_A: float, doubt_A: float | None) -> str:
    """`63 ± 4 Å`: in Å below 1 µm, otherwise in a suitable unit; with an infinite doubt it is not determined."""
    if doubt_A == math.inf:
        return f"{with_doubt(length_A, None)}, not determined"
    unit = unit_for(length_A) if abs(length_A) >= 1e4 else "Å"
    size = _SIZES[unit]
    finest = doubt_A or abs(length_A) / 1e2
    value = plain_number(length_A / size, finest / size)
    return f"{value} {unit}" if not doubt_A else f"{value} ± {plain_number(doubt_A / size, finest / size)} {unit}"


def defocus_text(defocus_A: float, doubt_A: float | None) -> str:
    """`−145 ± 11 Å`; positive is underfocus."""
    return with_doubt(defocus_A, doubt_A)


def focus_text(defocus_A: float) -> str:
    """Direction and amount of a focus change: up raises the defocus, towards underfocus (docs/advise.md)."""
    return f"focus {'up' if defocus_A < 0 else 'down'} {length_text(abs(defocus_A))}"


def angle_text(angle_deg: float) -> str:
    """`29°`."""
    return f"{round(angle_deg)}°"


def whole_number(value: int) -> str:
    """`16 384`, with thin spaces."""
    return f"{value:,}".replace(",", _THIN_SPACE)


def dose_number(dose: float) -> str:
    """`99 800`: three digits, with thin spaces between thousands; powers of ten below 0.001 and from 1e9 on."""
    if not math.isfinite(dose):
        return "?"
    rounded = float(f"{dose:.3g}")
    if 1e3 <= rounded < 1e9:
        return f"{rounded:,.0f}".replace(",", _THIN_SPACE)
    return f"{rounded:.3g}".replace("-", "−")


def dose_text(dose_per_A2: float, unit: str = "e") -> str:
    """`99 800 e/Å²`; ``unit``: `counts` if it is not known how many a detected electron makes."""
    return f"{dose_number(dose_per_A2)} {unit}/Å²"
