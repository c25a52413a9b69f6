"""Fits that take what a scan shows for aliases of finer structure, one alias of each frequency.

A lattice has energy at few frequencies: hardly ever at two aliases of one (docs/theory/calibration.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.calibrate.aberrations import BEYOND_DOUBT, CERTAIN, AberrationFit, Search, fit_aliased, least_gain
from ptylive.engine.calibrate.criteria import Criteria, lead


@dataclass(frozen=True)
class AmongAliases:
    """A fit that explains more by aliases of finer structure, and the criteria that it is of."""

    fit: AberrationFit
    criteria: Criteria
    mirrored: bool
    """Whether these are of the other handedness."""
    sure_of_hand: bool | None
    """Whether it explains more than any fit of the other handedness; None: nobody asked."""


def fit_among_aliases(criteria: Criteria, search: Search, fit: AberrationFit, *, mirrored: bool) -> AmongAliases | None:
    """The best fit by criteria with aliases, where by these it explains more than ``fit`` does beyond doubt.

    ``mirrored``: the detector's axes may be swapped.
    """
    present, least = criteria.left(fit.low), criteria.evenly_explained(fit.low)
    handed = [criteria, criteria.transposed()] if mirrored else [criteria]
    fits = [(*made, one) for one in handed if (made := fit_aliased(one, search, least)) is not None]
    if not fits:
        return None
    found, height, chosen = max(fits, key=lambda one: one[1])
    left = chosen.left(found.low)
    if height < (1 + least_gain(criteria)) * least or lead(left, present) < BEYOND_DOUBT:
        return None
    if not mirrored:
        return AmongAliases(found, chosen, mirrored=False, sure_of_hand=None)
    other = handed[0] if chosen is handed[1] else handed[1]
    rivals = [one[0] for one in fits if one[2] is other]
    if not rivals and (rival := fit_aliased(other, search, 0.0)) is not None:
        rivals = [rival[0]]
    sure = all(lead(left, other.left(one.low)) > CERTAIN for one in rivals)
    return AmongAliases(found, chosen, mirrored=chosen is handed[1], sure_of_hand=sure)
