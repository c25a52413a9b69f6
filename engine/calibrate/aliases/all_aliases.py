"""Optics and handedness of an undersampled scan, by what all aliases explain together.

One of the many summits of J1 lies near the right optics even if others are higher, possibly of the other handedness. J4
is therefore evaluated at the summits of both, on few frequencies, and climbed from the best ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ptylive.engine.calibrate.aberrations import (
    BEYOND_DOUBT,
    CERTAIN,
    ROUND,
    AberrationFit,
    Search,
    climb,
    fit_from,
    least_gain,
    plain_summit,
    trial_values,
)
from ptylive.engine.calibrate.aliases.joint import JointCriteria
from ptylive.engine.calibrate.criteria import Criteria, lead
from ptylive.engine.calibrate.rotation import RotationFit
from ptylive.schema.model import DoubleArray

FEW, FEWEST, SEARCHED = 16, 8, 800
"""Most and fewest frequencies used in a search, and the total number of their aliases."""
SUMMITS, POLISHED, CLIMBED = 30, 5, 2
"""Number of summits of J1 examined; of those also climbed by J1; and of starts from which J4 is climbed."""
OVERRULING = 4.0
"""Standard deviations by which a fit must lead a believed one of the same handedness. For several radians of gold 400 Å
out of focus, which no weak phase object explains, optics near focus were ahead of the right ones by 3.4."""
SUSPECTED = 1.0
"""Lead over the other handedness, in standard deviations, below which a handedness is doubted."""
OUT_OF_REACH = 4.0
"""Lead of one handedness, in standard deviations, that astigmatism cannot compensate."""


@dataclass(frozen=True)
class HandednessFit:
    """The best fit of one handedness, with criteria of that handedness."""

    fit: AberrationFit
    criteria: JointCriteria
    mirrored: bool
    """Whether the handedness differs from that of the scan's conditions."""

    @property
    def unexplained(self) -> DoubleArray:
        """Unexplained share (nq,) of the energy of each frequency."""
        return self.criteria.unexplained(self.fit.low)

    @property
    def height(self) -> float:
        """J4 of the fit."""
        return self.criteria.evenly_explained(self.fit.low)


@dataclass(frozen=True)
class AliasVerdict:
    """Judgement of a fit by J4: the best fit of all, whether it explains significantly more, and the handedness.

    ``hand_is_sure``: True: the handedness of ``best`` is right, False: it is doubtful, None: the fit's own stays.
    """

    best: HandednessFit
    better: bool
    hand_is_sure: bool | None


@dataclass(frozen=True)
class UndersampledScan:
    """A scan: its criteria without aliases, the search space, and the possible handednesses.

    ``angles_deg``: for each handedness (True: the opposite of the scan's conditions) the rotation with the least curl
    of the centre of mass, if determined. ``transform``: that of the conditions; ``curl``: the result of the centre of
    mass.
    """

    criteria: Criteria
    search: Search
    angles_deg: Mapping[bool, float | None]
    transform: str = "none"
    curl: RotationFit | None = None

    def angle_deg(self, transform: str) -> float | None:
        """Return the rotation with the least curl for the handedness of a transform."""
        return self.angles_deg.get(transform != self.transform)


@dataclass(frozen=True)
class CurrentFit:
    """A fit to be judged: whether it explains more than chance, and whether its handedness was determined.

    ``aligned``: the bright field is aligned clearly better in that handedness than in the other.
    """

    fit: AberrationFit
    mirrored: bool
    believed: bool
    hand_is_sure: bool
    aligned: bool = False


def verdict_on(problem: UndersampledScan, present: CurrentFit) -> AliasVerdict | None:
    """Return the judgement of a fit by all aliases together; None if they are not conclusive."""
    criteria, joint = problem.criteria, JointCriteria.of(problem.criteria)
    if joint is None:
        return None
    handed = {False: (criteria, joint), True: (criteria.transposed(), joint.transposed())}
    tops: dict[bool, DoubleArray] = {}
    for hand, angle_deg in problem.angles_deg.items():
        starts = [present.fit.low * ROUND] if hand == present.mirrored else []
        starts += [] if angle_deg is None else _at_angle(problem.search, angle_deg)
        tops[hand] = _summit(*handed[hand], problem.search, starts)
    found = _fits({hand: (handed[hand][1], top) for hand, top in tops.items()}, problem.search)
    best = max(found.values(), key=lambda fit: fit.height)
    if best.criteria.over_chance(best.fit.explained) < best.criteria.above_chance:
        return None
    own_fit = HandednessFit(present.fit, handed[present.mirrored][1], present.mirrored)
    return judged(best, found.get(not best.mirrored), own_fit, present)


def judged(best: HandednessFit, rival: HandednessFit | None, own: HandednessFit, present: CurrentFit) -> AliasVerdict:
    """Compare the best fit with that of the other handedness, and with the present one by the same criteria.

    A fit of the same handedness has to be significantly better; one of the other has to lead all fits of this one.
    A handedness that both J1 and J4 prefer is not doubted, however small the lead.
    """
    surely = np.inf if rival is None else lead(best.unexplained, rival.unexplained)
    other_hand = best.mirrored != own.mirrored
    least = OVERRULING if present.hand_is_sure and not (other_hand and surely > CERTAIN) else CERTAIN
    explains_more = best.height > (1 + least_gain(best.criteria)) * own.height
    better = not present.believed or (explains_more and lead(best.unexplained, own.unexplained) > least)
    if better:
        return AliasVerdict(best, better, hand_is_sure=bool(surely > CERTAIN))
    if other_hand or (surely < SUSPECTED and not present.aligned):
        return AliasVerdict(best, better, hand_is_sure=False)
    return AliasVerdict(best, better, hand_is_sure=True if surely > BEYOND_DOUBT else None)


def summits(values: DoubleArray, *, wraps: bool) -> list[tuple[int, int]]:
    """Return local maxima (rotation, defocus) of values on a grid, the highest first.

    ``wraps``: rotations end after half a turn, where they continue with reversed defocus; otherwise after a whole turn.
    """
    padded = values
    if len(values) > 1:
        last, first = values[-1:], values[:1]
        padded = np.concatenate([last[:, ::-1], values, first[:, ::-1]] if wraps else [last, values, first])
    peak = ndimage.maximum_filter(padded, 3, mode="nearest") == padded
    peaks = np.argwhere(peak[1:-1] if len(values) > 1 else peak)
    return sorted(((int(a), int(c)) for a, c in peaks), key=lambda place: -values[place])


def _at_angle(search: Search, angle_deg: float) -> list[DoubleArray]:
    """Return every defocus at one rotation; none if the rotation is known."""
    if search.rotation_deg is not None:
        return []
    return [np.array([c10, 0.0, 0.0, np.deg2rad(angle_deg)]) for c10 in search.defoci_A]


def _summit(criteria: Criteria, joint: JointCriteria, search: Search, own: Iterable[DoubleArray]) -> DoubleArray:
    """Return the summit of J4 of one handedness, without astigmatism unless that is known."""
    angles, defoci = np.deg2rad(search.rotations_deg), search.defoci_A
    peaks = summits(trial_values(criteria, search), wraps=search.c10_A is None)[:SUMMITS]
    astigmatism = search.c12_A or (0.0, 0.0)
    starts = [np.array([defoci[c], *astigmatism, angles[a]]) for a, c in peaks]
    starts += [climb(criteria.aligned_power, start, search, astigmatic=False) for start in starts[:POLISHED]]
    starts += own
    quick = _by_few_frequencies(joint)
    starts.sort(key=quick, reverse=True)
    return plain_summit(quick, search, starts[:CLIMBED])


def _by_few_frequencies(joint: JointCriteria) -> Callable[[DoubleArray], float]:
    """Return J4 as a function of the parameters, on few frequencies."""
    few = max(FEWEST, min(FEW, round(SEARCHED / joint.aliases.each)))
    return lambda parameters: joint.evenly_explained(parameters, few)


def _fits(plain: Mapping[bool, tuple[JointCriteria, DoubleArray]], search: Search) -> dict[bool, HandednessFit]:
    """Return the fits at summits without astigmatism, omitting a handedness far behind, since fits take the longest."""
    first = max(plain, key=lambda hand: plain[hand][0].evenly_explained(plain[hand][1]))
    residuals = {hand: joint.unexplained(top) for hand, (joint, top) in plain.items()}
    return {
        hand: HandednessFit(fit_from(joint, _by_few_frequencies(joint), search, top)[0], joint, hand)
        for hand, (joint, top) in plain.items()
        if hand == first or lead(residuals[first], residuals[hand]) < OUT_OF_REACH
    }
