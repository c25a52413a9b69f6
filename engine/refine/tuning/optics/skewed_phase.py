"""The half turn that one slice leaves open, settled by what a specimen's phase looks like.

(rotation + 180°, reversed aberrations, reversed phase) explains patterns of one slice equally well. The dark field,
which decides before, is misled where the beam is scattered twice or electrons are few. But atoms attract electrons:
they are small peaks of phase in wide gaps, never holes. So the phase of a short trial, which may be of either sign, has
to be skewed to the positive side. Where it is skewed to the other one beyond doubt the half turn is wrong.

That needs atoms which are told apart. Of a honeycomb in beams of the first order alone the gaps look like the peaks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.tuning.half_turn import half_turned, is_open
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import CONFIRMING_PATTERNS, LEAST_PATTERNS, TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.advice.half_turn import half_turn_words
from ptylive.schema.model import Array, DoubleArray

RESOLVED_A = 1.0
"""Half a wavelength over the semi-angle below which atoms are told apart: bonds are 1.4 Å and more."""
SWEEPS = 2
"""Of the trial: after them the skewness is what it is after eight."""
BEYOND_DOUBT = 4.0
"""Standard deviations of a skewness that turns a scan. Those of wrong halves were 5.5 to 7."""
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
    def is_certain(self) -> bool:
        """Whether the phase is skewed beyond doubt."""
        return abs(self.value) > BEYOND_DOUBT * self.deviation

    def __str__(self) -> str:
        """In numbers."""
        return f"{self.value:.2g} ± {self.deviation:.1g}"


def _skewness(sums: DoubleArray) -> float:
    """From the sums of the powers 0 to 3."""
    mean, square, cube = (float(one) for one in sums[1:] / sums[0])
    deviation = math.sqrt(max(square - mean**2, 1e-30))
    return (cube - 3 * mean * square + 2 * mean**3) / deviation**3


def with_atoms_as_peaks(tuned: Tuned, context: TrialContext) -> Tuned:
    """The same under the other half turn where that is open and a trial shows holes in place of atoms.

    What is skewed beyond doubt to either side settles the half turn.
    """
    if not _can_be_told(tuned):
        return tuned
    context = replace(context, start=None)
    context.before("whether atoms are peaks of the phase")
    part = context.seen.central_part(tuned.dataset, CONFIRMING_PATTERNS)
    trial = Trial.of(part, tuned.preset.model_copy(update=SETTINGS), context)
    state, _ = trial.continued(None, trial.enough(SWEEPS), trial.enough(SWEEPS), context)
    skewness = Skewness.of(_visited(trial.problem, state.vector))
    if not skewness.is_certain:
        return tuned
    if skewness.value > 0:
        return replace(tuned, half_turn_settled=True)
    dataset = half_turned(tuned.dataset)
    turn = half_turn_words(dataset.calibration.rotation_deg, dataset.calibration.aberrations["C10"])
    words = f"{turn}: the phase had holes in place of atoms (skewness {skewness})"
    turned = not tuned.half_turn
    words_too = (*tuned.words, words)
    return replace(tuned, dataset=dataset, half_turn=turned, half_turn_settled=True, words=words_too)


def _can_be_told(tuned: Tuned) -> bool:
    """Whether the half turn is open, atoms are told apart, and there are patterns enough for a trial."""
    dataset, preset = tuned.dataset, tuned.preset
    if not is_open(dataset, preset) or dataset.masks is not None or len(dataset.patterns) < LEAST_PATTERNS:
        return False
    plain = preset.refined.update_obj and not preset.propagation.near_field and preset.solver.optimizer not in PUBLISHED
    semiangle_mrad, wavelength_A = (
        dataset.calibration.get("convergence_semiangle_mrad"),
        dataset.calibration.wavelength_A,
    )
    if not plain or not semiangle_mrad or not wavelength_A:
        return False
    return float(wavelength_A) / (2e-3 * float(semiangle_mrad)) < RESOLVED_A


def _visited(problem: Problem, vector: Array) -> DoubleArray:
    """The phase (rows, columns) where the positions are, but those at the rim."""
    phase = np.asarray(problem.layout.object_block(vector), dtype=np.float64).reshape(problem.grid.shape)
    places = (problem.positions_A - problem.grid.origin_A) / problem.grid.pixel_A
    first, last = (np.round(np.quantile(places, share, axis=0)).astype(int) for share in (EDGE, 1 - EDGE))
    return phase[first[0] : last[0] + 1, first[1] : last[1] + 1]
