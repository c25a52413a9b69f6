"""The half turn that one slice leaves open, settled by what a specimen's phase looks like.

(rotation + 180°, reversed aberrations, reversed phase) explains patterns of one slice equally well. The dark field,
which decides before, is misled where the beam is scattered twice or electrons are few. But atoms attract electrons:
they are small peaks of phase in wide gaps, never holes. So the phase of a short trial, which may be of either sign, has
to be skewed to the positive side. Where it is skewed to the other one beyond doubt the half turn is wrong.

That needs atoms which are told apart, or lie at random: the third cumulant of many independent peaks is the sum of
theirs, however they overlap. Of a honeycomb in beams of the first order alone the gaps look like the peaks. So where
atoms of a lattice are not told apart the phase is also smoothed until no lattice is left: what stands out then are
particles, which are denser than what is around them. Of sheets it is their gaps. So both have to be skewed to one side.

Of atoms at random depth does not tell the half turn (:mod:`~ptylive.engine.refine.tuning.half_turn_choice`): what
scatters once only is the same film turned upside down, and what the model lacks decides. Of crystals it does.

Where the maps say that they could not tell, and the phase is skewed to one side though not beyond doubt, that side is
the likelier one, and is taken; that nothing tells it is still said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ptylive.engine.backend.device import on_host
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.tuning.half_turn import half_turned, is_open
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_PATTERNS, TRIAL_SETTINGS, may_be_tried
from ptylive.engine.refine.tuning.optics.random_specimen import is_random
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema import Calibration, Origin
from ptylive.schema.advice.half_turn import half_turn_words
from ptylive.schema.model import DoubleArray

RESOLVED_A = 1.0
"""Half a wavelength over the semi-angle below which atoms are told apart: bonds are 1.4 Å and more."""
SMOOTHED_A = 1.9
"""Standard deviation of the Gaussian that smooths the others: 1 % is left of a lattice of 4 Å."""
SWEEPS = 2
"""Of the trial: after them the skewness is what it is after eight."""
BEYOND_DOUBT = 4.0
"""Standard deviations of a skewness that turns a scan. Those of wrong halves were 5.5 to 7."""
BEYOND_CHANCE = 3.0
"""The same of particles, and of atoms at random, where nothing else tells which half is right."""
BY_CHANCE = 1.0
"""A picture that is skewed by less tells nothing, nor contradicts anything."""
BLOCKS = 4
"""The field is cut into as many along either axis, each left out once for the standard deviation."""
EDGE = 0.05
"""Share of the positions on each side beyond which the phase is left aside."""
SETTINGS = TRIAL_SETTINGS | {
    "regime": "thin",
    "start_from_map": False,
    "sweeps": "auto",
    "epoch_max": "auto",
    "probe_modes": 1,
    "num_slices": 1,
    "total_thickness_A": None,
    "slice_distances_A": None,
    "non_negative_phase": False,
    "phase_only_obj": True,
}
"""Of the trial, whatever the run is asked for: a bound would make either sign look like atoms."""


@dataclass(frozen=True)
class Skewness:
    """Third central moment of a phase over the 3/2 power of the second."""

    value: float
    deviation: float
    """By the jackknife over blocks of the field (Efron and Stein 1981)."""

    @classmethod
    def of(cls, phase: DoubleArray) -> Skewness:
        """Of a picture (rows, columns)."""
        blocks = [part for rows in np.array_split(phase, BLOCKS) for part in np.array_split(rows, BLOCKS, axis=1)]
        sums = np.array([[(block**power).sum() for power in range(4)] for block in blocks])
        whole = sums.sum(axis=0)
        without = np.array([_skewness(whole - one) for one in sums])
        return cls(_skewness(whole), math.sqrt((len(blocks) - 1) * float(np.var(without))))

    @property
    def deviations(self) -> float:
        """In units of the standard deviation, 0 for an even picture."""
        return self.value / self.deviation if self.deviation else 0.0

    def __str__(self) -> str:
        """In numbers."""
        return f"{self.value:.2g} ± {self.deviation:.1g}"


def _skewness(sums: DoubleArray) -> float:
    """From the sums of the powers 0 to 3."""
    mean, square, cube = (float(one) for one in sums[1:] / sums[0])
    deviation = math.sqrt(max(square - mean**2, 1e-30))
    return (cube - 3 * mean * square + 2 * mean**3) / deviation**3


def with_atoms_as_peaks(tuned: Tuned, context: TrialContext) -> Tuned:
    """The same under the other half turn where that is open and a trial shows holes in place of atoms or particles.

    What is skewed beyond doubt to either side settles the half turn; less is enough to turn it where the maps could not
    tell, but settles nothing.
    """
    if not _can_be_told(tuned):
        return tuned
    resolved = _atoms_are_resolved(tuned.dataset)
    dense = "atoms" if resolved else "particles"
    context.before(f"whether {dense} are peaks of the phase")
    phase, pixel_A = _phase(tuned, replace(context, start=None))
    random = is_random(phase, pixel_A, _semiangle_invA(tuned.dataset))
    smoothings_A = (0.0,) if resolved or random else (0.0, SMOOTHED_A)
    found = [Skewness.of(_smoothed(phase, pixel_A, smoothed_A)) for smoothed_A in smoothings_A]
    undecided = tuned.dataset.calibration.origin("rotation_deg") is Origin.UNDECIDED
    deviations = together([one.deviations for one in found])
    settled = abs(deviations) > (BEYOND_CHANCE if undecided and (random or not resolved) else BEYOND_DOUBT)
    tuned = replace(tuned, skewed_by=deviations, half_turn_settled=settled, atoms_at_random=random)
    likelier = undecided and deviations < -BY_CHANCE
    if not likelier and not (settled and deviations < 0):
        return tuned
    dataset = half_turned(tuned.dataset)
    if not settled:
        dataset = replace(dataset, calibration=_still_undecided(dataset.calibration))
    turn = half_turn_words(dataset.calibration.rotation_deg, dataset.calibration.aberrations["C10"])
    shown = f"the phase had holes in place of {dense} (skewness {', smoothed '.join(map(str, found))})"
    words = (*tuned.words, f"{turn}: {shown}{'' if settled else ', though not beyond doubt'}")
    return replace(tuned, dataset=dataset, half_turn=not tuned.half_turn, skewed_by=-deviations, words=words)


def together(deviations: Sequence[float]) -> float:
    """Independent deviations from 0 as one (Stouffer et al. 1949); 0 where they contradict each other beyond chance."""
    if min(deviations) < -BY_CHANCE and max(deviations) > BY_CHANCE:
        return 0.0
    return sum(deviations) / math.sqrt(len(deviations))


def _can_be_told(tuned: Tuned) -> bool:
    """Whether the half turn is open, the resolution is known, and there are patterns enough for a trial."""
    dataset, preset = tuned.dataset, tuned.preset
    if not is_open(dataset, preset) or not may_be_tried(dataset, preset) or preset.solver.optimizer in PUBLISHED:
        return False
    return bool(dataset.calibration.get("convergence_semiangle_mrad") and dataset.calibration.wavelength_A)


def _atoms_are_resolved(dataset: Dataset) -> bool:
    """Whether atoms are told apart in the bright field."""
    return 0.5 / _semiangle_invA(dataset) < RESOLVED_A


def _semiangle_invA(dataset: Dataset) -> float:
    """Of the aperture; what can be told (:func:`_can_be_told`) has one."""
    semiangle_mrad = dataset.calibration.require("convergence_semiangle_mrad", "half turn")
    return 1e-3 * float(semiangle_mrad) / float(dataset.calibration.wavelength_A or 1.0)


def _still_undecided(calibration: Calibration) -> Calibration:
    """The calibration of a half turn that is only the likelier one."""
    rotation = calibration.entries["rotation_deg"]
    return calibration.having(rotation_deg=replace(rotation, origin=Origin.UNDECIDED))


def _phase(tuned: Tuned, context: TrialContext) -> tuple[DoubleArray, DoubleArray]:
    """That of a trial (rows, columns), where the positions are but those at the rim, and its pixel."""
    part = context.seen.central_part(tuned.dataset, TRIAL_PATTERNS)
    trial = Trial.of(part, tuned.preset.model_copy(update=SETTINGS), context)
    state, _ = trial.continued(None, trial.enough(SWEEPS), trial.enough(SWEEPS), context)
    problem = trial.problem
    phase = on_host(problem.layout.object_block(state.vector)).astype(np.float64).reshape(problem.grid.shape)
    places = (problem.positions_A - problem.grid.origin_A) / problem.grid.pixel_A
    first, last = (np.round(np.quantile(places, share, axis=0)).astype(int) for share in (EDGE, 1 - EDGE))
    pixel_A = np.broadcast_to(np.asarray(problem.grid.pixel_A, dtype=np.float64), 2)
    return phase[first[0] : last[0] + 1, first[1] : last[1] + 1], pixel_A


def _smoothed(phase: DoubleArray, pixel_A: DoubleArray, smoothed_A: float) -> DoubleArray:
    """By a Gaussian."""
    return ndimage.gaussian_filter(phase, smoothed_A / pixel_A) if smoothed_A else phase
