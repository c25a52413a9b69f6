"""Sentences about the orientation of scan and detector, and how to parse them.

Command and page name orientations that the maps could not exclude in the same words. A refinement that found another
orientation reports it, and the page offers to adopt it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ptylive.schema.advice.words import significant
from ptylive.schema.calibration import RivalOrientation

_SAID = re.compile(r"detector transform ([^;:]+?), rotation (-?\d+(?:\.\d+)?) ± ")


def rival_words(rival: RivalOrientation) -> str:
    """Describe an orientation that the maps could not exclude."""
    hand = "the other handedness, " if rival.mirrored else ""
    return f"{hand}{rival.rotation_deg:.1f}° with C10 {significant(rival.c10_A, 3)} Å"


def rivals_words(rivals: Sequence[RivalOrientation]) -> str:
    """Describe orientations that the maps could not exclude, the likeliest first; empty if there are none."""
    if not rivals:
        return ""
    number = "another orientation" if len(rivals) == 1 else f"{len(rivals)} other orientations, for example"
    return (
        f"the data do not exclude {number} ({rival_words(rivals[0])}): phases may be wrong; a refinement compares "
        "them, or give rotation_deg and detector_transform if you know them"
    )


def orientation_words(transform: str, rotation_deg: float, uncertainty_deg: float, why: str) -> str:
    """Describe the orientation under which a refinement continued, and why."""
    return f"detector transform {transform}, rotation {rotation_deg:.1f} ± {significant(uncertainty_deg, 1)}°: {why}"


def orientation_in(text: str) -> tuple[str, float] | None:
    """Detector transform and rotation in degrees of the last such words in a text; None where there are none."""
    found = _SAID.findall(text)
    return (found[-1][0], float(found[-1][1])) if found else None
