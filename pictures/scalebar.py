"""The scale bar: a round length in the unit a microscopist would use."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNITS_A = (("µm", 1e4), ("nm", 10.0), ("Å", 1.0), ("pm", 0.01))
"""Units and their lengths in Å, longest first."""


@dataclass(frozen=True)
class ScaleBarLength:
    """A length in the coordinates of the picture and its label."""

    length: float
    text: str


def nice_length(extent: float, fraction: float = 0.22, *, calibrated: bool = True) -> ScaleBarLength | None:
    """The longest 1-2-5 length that is at most ``fraction`` of ``extent`` (Å, or scan points when not calibrated).

    None when the extent is not a positive number.
    """
    most = extent * fraction
    if not math.isfinite(most) or most <= 0:
        return None
    if not calibrated:
        length = max(_round_step(most), 1.0)
        return ScaleBarLength(length, f"{length:.0f} point{'' if length == 1 else 's'}")
    length = _round_step(most)
    name, size = next(((n, s) for n, s in UNITS_A if length >= 0.9999 * s), UNITS_A[-1])
    return ScaleBarLength(length, f"{length / size:g} {name}")


def _round_step(most: float) -> float:
    decade = 10.0 ** math.floor(math.log10(most))
    step = next((s for s in (5, 2, 1) if s * decade <= most * (1 + 1e-9)), 1)
    return float(f"{step * decade:.6g}")
