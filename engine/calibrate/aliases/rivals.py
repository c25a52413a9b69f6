"""Orientations that explain the scan nearly as well as the one that was chosen (docs/theory/calibration.md).

A crystal shows a few dozen frequencies, and a thick one is no weak phase object: wrong optics may then explain more of
the bright field than the right ones do. The summits of J3 that most frequencies do not exclude are noted, and a
refinement decides between them with whole patterns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from ptylive.engine.calibrate.aberrations import (
    ALIASED_STEP,
    BEYOND_DOUBT,
    CERTAIN,
    IN_REACH,
    ROTATION_STEP_DEG,
    AberrationFit,
    Search,
    climb,
    trial_values,
)
from ptylive.engine.calibrate.aliases.all_aliases import UndersampledScan, summits
from ptylive.engine.calibrate.criteria import Criteria, lead
from ptylive.engine.calibrate.rotation import apart_deg
from ptylive.schema import Origin, Quantity
from ptylive.schema.calibration import RIVALS, RivalOrientation
from ptylive.schema.model import DoubleArray

MOST = 8
"""Number of summits climbed for each handedness, and of rivals noted."""
CLEAR = 0.4
"""J3 per frequency from which an orientation is not questioned, as the typical frequency is then explained by a third.

Right ones have 0.06 (thick crystals) to 1.7, five wrong ones had 0.05 to 0.34.
"""


def note_rivals(entries: dict[str, Quantity], problem: UndersampledScan, fit: AberrationFit) -> None:
    """Add the rivals of a fit to the lattice of a scan to the calibration entries: three numbers each."""
    transform = entries["detector_transform"] if "detector_transform" in entries else Quantity("none", Origin.DEFAULT)
    mirrored = transform.value != problem.transform
    hands = (mirrored,) if transform.origin is Origin.GIVEN else (False, True)
    if entries["rotation_deg"].origin is Origin.GIVEN or not problem.criteria.modulation.peaked:
        return
    found = [
        (float(rival.mirrored), rival.rotation_deg, rival.c10_A)
        for rival in islice(_rivals(problem, fit, mirrored, hands), MOST)
    ]
    if found:
        entries[RIVALS] = Quantity(tuple(value for rival in found for value in rival), Origin.ESTIMATED)


def _rivals(
    problem: UndersampledScan, fit: AberrationFit, mirrored: bool, hands: tuple[bool, ...]
) -> Iterator[RivalOrientation]:
    """Yield orientations that a fit does not lead beyond doubt, the likeliest first.

    Where the centre of mass shows the same orientation as the fit, a rival has to lead instead.
    """
    plain = problem.criteria
    criteria = plain.with_aliases() or plain
    handed = {False: criteria, True: criteria.transposed()}
    height, residual = handed[mirrored].evenly_explained(fit.low), handed[mirrored].unexplained(fit.low)
    if height > CLEAR * len(residual):
        return
    by_curl = problem.curl is not None and problem.curl.confirms(fit.rotation_deg) and not mirrored
    limit = -CERTAIN if by_curl else BEYOND_DOUBT
    found = [(hand, top) for hand in hands for top in _tops(handed[hand], problem.search)]
    found.sort(key=lambda candidate: -handed[candidate[0]].evenly_explained(candidate[1]))
    seen = [(mirrored, fit.rotation_deg)]
    for hand, top in found:
        trial, angle_deg = handed[hand], math.degrees(top[3])
        if trial.evenly_explained(top) < IN_REACH * height or lead(residual, trial.unexplained(top)) > limit:
            continue
        if any(hand == other and _same(angle_deg, other_deg, problem.search) for other, other_deg in seen):
            continue
        seen.append((hand, angle_deg))
        yield RivalOrientation(hand != mirrored, 180.0 - (180.0 - angle_deg) % 360.0, float(top[0]))


def _tops(criteria: Criteria, search: Search) -> Iterator[DoubleArray]:
    """Yield the highest summits of J3 of one handedness, without astigmatism unless that is known."""
    step_A = search.defocus_step_A * (ALIASED_STEP if criteria.has_aliases else 1.0)
    fine = replace(search, defocus_step_A=step_A)
    values = trial_values(criteria, fine, Criteria.quickly_explained)
    angles, defoci, astigmatism = np.deg2rad(fine.rotations_deg), fine.defoci_A, search.c12_A or (0.0, 0.0)
    peaks = summits(values, wraps=search.c10_A is None)
    for a, c in [peak for peak in peaks if values[peak] > IN_REACH * values.max()][:MOST]:
        start = np.array([defoci[c], *astigmatism, angles[a]])
        yield climb(criteria.evenly_explained, start, search, astigmatic=False)


def _same(angle_deg: float, other_deg: float, search: Search) -> bool:
    """Whether two angles are one orientation: up to half a turn, unless the defocus is known."""
    if search.c10_A is not None:
        return apart_deg(angle_deg, other_deg) < ROTATION_STEP_DEG
    return apart_deg(2 * angle_deg, 2 * other_deg) < 2 * ROTATION_STEP_DEG
