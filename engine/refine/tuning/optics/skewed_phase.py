"""The half turn that one slice leaves open, settled by what a specimen's phase looks like.

(rotation + 180°, reversed aberrations, reversed phase) explains patterns of one slice equally well. The dark field,
which decides before, is misled where the beam is scattered twice or electrons are few. But atoms attract electrons:
they are small peaks of phase in wide gaps, never holes. So the phase of a short trial, which may be of either sign, has
to be skewed to the positive side. Where it is skewed to the other one beyond doubt the half turn is wrong.

That needs atoms which are told apart. Of a honeycomb in beams of the first order alone the gaps look like the peaks.
Where atoms are not told apart the phase is also smoothed until no lattice is left: what stands out then are particles
in ice, which are denser than what is around them. Of sheets it is their gaps. So both have to be skewed to one side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.tuning.half_turn import half_turned, is_open
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import CONFIRMING_PATTERNS, TRIAL_SETTINGS, may_be_tried
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema import Origin
from ptylive.schema.advice.half_turn import half_turn_words
from ptylive.schema.model import Array, DoubleArray

RESOLVED_A = 1.0
"""Half a wavelength over the semi-angle below which atoms are told apart: bonds are 1.4 Å and more."""
SMOOTHED_A = 1.9
"""Standard deviation of the Gaussian that smooths the others: 1 % is left of a lattice of 4 Å."""
SWEEPS = 2
"""Of the trial: after them the skewness is what it is after eight."""
BEYOND_DOUBT = 4.0
"""Standard deviations of a skewness that turns a scan. Those of wrong halves were 5.5 to 7."""
BEYOND_CHANCE = 3.0
"""The same of particles where nothing else tells which half is right."""
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

    What is skewed beyond doubt to either side settles the half turn.
    """
    if not _can_be_told(tuned):
        return tuned
    context = replace(context, start=None)
    resolved = _atoms_are_resolved(tuned.dataset)
    dense = "atoms" if resolved else "particles"
    context.before(f"whether {dense} are peaks of the phase")
    part = context.seen.central_part(tuned.dataset, CONFIRMING_PATTERNS)
    trial = Trial.of(part, tuned.preset.model_copy(update=SETTINGS), context)
    state, _ = trial.continued(None, trial.enough(SWEEPS), trial.enough(SWEEPS), context)
    smoothings_A = (0.0,) if resolved else (0.0, SMOOTHED_A)
    found = [Skewness.of(_visited(trial.problem, state.vector, smoothed_A)) for smoothed_A in smoothings_A]
    undecided = tuned.dataset.calibration.origin("rotation_deg") is Origin.UNDECIDED
    deviations = together([one.deviations for one in found])
    if abs(deviations) <= (BEYOND_CHANCE if undecided and not resolved else BEYOND_DOUBT):
        return tuned
    if deviations > 0:
        return replace(tuned, half_turn_settled=True)
    dataset = half_turned(tuned.dataset)
    turn = half_turn_words(dataset.calibration.rotation_deg, dataset.calibration.aberrations["C10"])
    words = f"{turn}: the phase had holes in place of {dense} (skewness {', smoothed '.join(map(str, found))})"
    turned = not tuned.half_turn
    words_too = (*tuned.words, words)
    return replace(tuned, dataset=dataset, half_turn=turned, half_turn_settled=True, words=words_too)


def together(deviations: Sequence[float]) -> float:
    """Independent deviations from 0 as one (Stouffer et al. 1949); 0 where they contradict each other."""
    if min(deviations) < 0 < max(deviations):
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
    semiangle_mrad = dataset.calibration.require("convergence_semiangle_mrad", "half turn")
    wavelength_A = dataset.calibration.wavelength_A
    return wavelength_A is not None and wavelength_A / (2e-3 * float(semiangle_mrad)) < RESOLVED_A


def _visited(problem: Problem, vector: Array, smoothed_A: float) -> DoubleArray:
    """The phase (rows, columns) where the positions are, but those at the rim, smoothed by a Gaussian."""
    phase = np.asarray(problem.layout.object_block(vector), dtype=np.float64).reshape(problem.grid.shape)
    if smoothed_A:
        phase = ndimage.gaussian_filter(phase, smoothed_A / np.asarray(problem.grid.pixel_A))
    places = (problem.positions_A - problem.grid.origin_A) / problem.grid.pixel_A
    first, last = (np.round(np.quantile(places, share, axis=0)).astype(int) for share in (EDGE, 1 - EDGE))
    return phase[first[0] : last[0] + 1, first[1] : last[1] + 1]
