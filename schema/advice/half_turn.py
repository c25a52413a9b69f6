"""The sentence in which a refinement reports that it found the other half turn, and how to parse it.

Half a turn of the scan together with a reversed defocus leaves the bright field of a thin specimen unchanged; bright
features of maps then become dark. The refinement, which reports it, and the page, which offers to adopt it, share these
words.
"""

from __future__ import annotations

import re

from ptylive.schema.advice.words import significant

_SAID = re.compile(r"the other half turn, rotation (-?\d+(?:\.\d+)?)°, C10 (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?) Å")


def half_turn_words(rotation_deg: float, c10_A: float) -> str:
    """Describe the half turn under which a refinement ended."""
    return f"the other half turn, rotation {rotation_deg:.1f}°, C10 {significant(c10_A, 3)} Å"


def half_turn_in(text: str) -> tuple[float, float] | None:
    """Rotation in degrees and C10 in Å of the last such words in a text; None where there are none."""
    found = _SAID.findall(text)
    return (float(found[-1][0]), float(found[-1][1])) if found else None
