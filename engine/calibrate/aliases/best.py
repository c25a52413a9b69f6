"""Fits that attribute a scan to finer structure, with one alias for each frequency.

A lattice has energy at few frequencies, hardly ever at two aliases of the same one (docs/theory/calibration.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.calibrate.aberrations import BEYOND_DOUBT, CERTAIN, AberrationFit, Search, fit_aliased, least_gain
from ptylive.engine.calibrate.criteria import Criteria, lead


@dataclass(frozen=True)
class AliasFit:
    """A fit that explains more by aliases of finer structure, and its criteria."""

    fit: AberrationFit
    criteria: Criteria
    mirrored: bool
    """Whether the criteria are of the other handedness."""
    sure_of_hand: bool | None
    """Whether it explains more than any fit of the other handedness; None: not examined."""


def fit_among_aliases(criteria: Criteria, search: Search, fit: AberrationFit, *, mirrored: bool) -> AliasFit | None:
    """Return the best fit by criteria with aliases, if by these it explains significantly more than ``fit`` does.

    ``mirrored``: the detector's axes may be swapped.
    """
    present, least = criteria.unexplained(fit.low), criteria.evenly_explained(fit.low)
    handed = [criteria, criteria.transposed()] if mirrored else [criteria]
    fits = [
        (*fitted, candidate) for candidate in handed if (fitted := fit_aliased(candidate, search, least)) is not None
    ]
    if not fits:
        return None
    found, height, chosen = max(fits, key=lambda candidate: candidate[1])
    residual = chosen.unexplained(found.low)
    if height < (1 + least_gain(criteria)) * least or lead(residual, present) < BEYOND_DOUBT:
        return None
    if not mirrored:
        return AliasFit(found, chosen, mirrored=False, sure_of_hand=None)
    other = handed[0] if chosen is handed[1] else handed[1]
    rivals = [candidate[0] for candidate in fits if candidate[2] is other]
    if not rivals and (rival := fit_aliased(other, search, 0.0)) is not None:
        rivals = [rival[0]]
    sure = all(lead(residual, other.unexplained(candidate.low)) > CERTAIN for candidate in rivals)
    return AliasFit(found, chosen, mirrored=chosen is handed[1], sure_of_hand=sure)
