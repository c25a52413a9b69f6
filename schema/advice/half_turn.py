"""The sentence in which a refinement says that it found the other half turn, and how that sentence is read.

Half a turn of the scan and a reversed defocus leave the bright field of a thin specimen as it is; what maps show as
bright is then dark. Who tells (the refinement) and who offers to take it over (the page) share these words.
"""

from __future__ import annotations

import re

_SAID = re.compile(r"the other half turn, rotation (-?\d+(?:\.\d+)?)°, C10 (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?) Å")


def half_turn_words(rotation_deg: float, c10_A: float) -> str:
    """What a refinement says of the half turn under which it ended."""
    return f"the other half turn, rotation {rotation_deg:.1f}°, C10 {c10_A:.3g} Å"


def heard_half_turn(text: str) -> tuple[float, float] | None:
    """Rotation in degrees and C10 in Å of the last such words in a text; None where there are none."""
    found = _SAID.findall(text)
    return (float(found[-1][0]), float(found[-1][1])) if found else None
