"""The words in which a refinement reports the thickness it found for the specimen, and how to parse them.

The refinement, which reports it before its first epoch, and the page, which offers to change it, share these words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ptylive.schema.advice.words import significant

_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_SAID = re.compile(rf"(\d+) slices, {_NUMBER} Å \({_NUMBER} to {_NUMBER} Å\)")


@dataclass(frozen=True)
class FoundDepth:
    """Slices, thickness in Å, and the range in which the thickness may lie."""

    slices: int
    thickness_A: float
    thinnest_A: float
    thickest_A: float

    def __str__(self) -> str:
        """Format as words."""
        thickness, *between = (significant(d, 3) for d in (self.thickness_A, self.thinnest_A, self.thickest_A))
        return f"{self.slices} slices, {thickness} Å ({' to '.join(between)} Å)"

    @classmethod
    def heard(cls, text: str) -> FoundDepth | None:
        """Parse the last such words in a text; None where there are none."""
        found = _SAID.findall(text)
        if not found:
            return None
        slices, *lengths = found[-1]
        return cls(int(slices), *map(float, lengths))
