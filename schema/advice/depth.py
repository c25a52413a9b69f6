"""The words in which a refinement says how thick it found the specimen, and how they are read.

Who tells (the refinement, before its first epoch) and who offers to change it (the page) share these words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_SAID = re.compile(rf"(\d+) slices, {_NUMBER} Å \({_NUMBER} to {_NUMBER} Å\)")


@dataclass(frozen=True)
class FoundDepth:
    """Slices, thickness in Å, and the range in which it may be."""

    slices: int
    thickness_A: float
    thinnest_A: float
    thickest_A: float

    def __str__(self) -> str:
        """In words."""
        between = f"{self.thinnest_A:.3g} to {self.thickest_A:.3g} Å"
        return f"{self.slices} slices, {self.thickness_A:.3g} Å ({between})"

    @classmethod
    def heard(cls, text: str) -> FoundDepth | None:
        """Of the last such words in a text; None where there are none."""
        found = _SAID.findall(text)
        if not found:
            return None
        slices, *lengths = found[-1]
        return cls(int(slices), *map(float, lengths))
