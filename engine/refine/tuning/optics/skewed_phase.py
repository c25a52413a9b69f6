"""The half turn that one slice leaves open, determined by the appearance of a specimen's phase.

(rotation + 180°, reversed aberrations, reversed phase) explains patterns of one slice equally well. The dark field,
which decides before, is misled by double scattering or few electrons. But atoms attract electrons: they are small peaks
of phase in wide gaps, never holes. The phase of a short trial, which may have either sign, must therefore be skewed to
the positive side. If it is skewed to the negative side beyond doubt, the half turn is wrong.

This requires atoms that are resolved, or lie at random: the third cumulant of many independent peaks is the sum of
theirs, however they overlap. In a honeycomb formed by first-order beams alone, the gaps look like the peaks. Atoms
count as resolved if the bright field resolves their bonds, or if the phase shows frequencies that fine: overlapping
patterns resolve more than the bright field does. If the atoms of a lattice are not resolved, the phase is also smoothed
until no lattice is left: what stands out then are particles, which are denser than their surroundings, or, in sheets,
their gaps. The phase before and after smoothing has to be skewed to the same side.

For atoms at random, depth does not determine the half turn (:mod:`~ptylive.engine.refine.tuning.half_turn_choice`): a
film that scatters only once is the same film upside down, and the errors of the model decide. For crystals depth does.

If the maps could not decide, and the phase is skewed to one side though not beyond doubt, that side is the more likely
one and is used; the message still says that nothing determines it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from scipy import ndimage

from ptylive.engine.calibrate.sign import RESOLVED_A, Skewness
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.tuning.half_turn import half_turn_is_open, half_turned
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_PATTERNS, TRIAL_SETTINGS, may_be_tried
from ptylive.engine.refine.tuning.optics.random_specimen import (
    finest_period_A,
    is_random,
    projected_phase,
    semiangle_invA,
)
from ptylive.engine.refine.tuning.trial_settings import in_one_slice
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Calibration, Origin
from ptylive.schema.advice.half_turn import half_turn_words
from ptylive.schema.model import DoubleArray

SMOOTHED_A = 1.9
"""Standard deviation of the Gaussian that smooths unresolved lattices: 1 % is left of a lattice of 4 Å."""
BOND_A = 1.4
"""Period of the finest frequency of a lattice up to which its atoms are resolved: bonds are no shorter."""
SWEEPS = 8
"""Number of sweeps of the trial: after two, unresolved sheets of many electrons may still be skewed the wrong way."""
BEYOND_DOUBT = 4.0
"""Standard deviations of a skewness that turns a scan. Those of wrong half turns were 5.5 to 7."""
BEYOND_CHANCE = 3.0
"""The same for particles, and for atoms at random, if nothing else shows which half turn is right."""
BY_CHANCE = 1.0
"""Standard deviations of a skewness below which an image neither decides nor contradicts anything."""
SETTINGS = TRIAL_SETTINGS | {
    "regime": "thin",
    "start_from_map": False,
    "sweeps": "auto",
    "epoch_max": "auto",
    "probe_modes": 1,
    "non_negative_phase": False,
    "phase_only_obj": True,
}
"""Settings of the trial, overriding the preset: a bound would make either sign look like atoms."""


def with_atoms_as_peaks(tuned: Tuned, context: TrialContext) -> Tuned:
    """Use the other half turn if it is open and a trial shows holes in place of atoms or particles.

    A skewness beyond doubt to either side settles the half turn; a smaller one suffices to turn it if the maps could
    not decide, but settles nothing.
    """
    if not _is_testable(tuned):
        return tuned
    context.before("whether atoms are peaks of the phase")
    phase, pixel_A, scan = _phase(tuned, replace(context, start=None))
    aperture_invA = semiangle_invA(tuned.dataset)
    random = is_random(phase, pixel_A, scan, aperture_invA)
    resolved = 0.5 / aperture_invA < RESOLVED_A or finest_period_A(phase, pixel_A, scan, aperture_invA) < BOND_A
    dense = "atoms" if resolved else "particles"
    smoothings_A = (0.0,) if resolved or random else (0.0, SMOOTHED_A)
    skewnesses = [Skewness.of(_smoothed(phase, pixel_A, smoothed_A)) for smoothed_A in smoothings_A]
    undecided = tuned.dataset.calibration.origin("rotation_deg") is Origin.UNDECIDED
    deviations = combined([skewness.deviations for skewness in skewnesses])
    settled = abs(deviations) > (BEYOND_CHANCE if undecided and (random or not resolved) else BEYOND_DOUBT)
    tuned = replace(tuned, skewed_by=deviations, half_turn_settled=settled, atoms_at_random=random)
    likelier = undecided and deviations < -BY_CHANCE
    if not likelier and not (settled and deviations < 0):
        return tuned
    dataset = half_turned(tuned.dataset)
    if not settled:
        dataset = replace(dataset, calibration=_as_undecided(dataset.calibration))
    turn = half_turn_words(dataset.calibration.rotation_deg, dataset.calibration.aberrations["C10"])
    shown = f"the phase had holes in place of {dense} (skewness {', smoothed '.join(map(str, skewnesses))})"
    words = (*tuned.words, f"{turn}: {shown}{'' if settled else ', though not beyond doubt'}")
    return replace(tuned, dataset=dataset, half_turn=not tuned.half_turn, skewed_by=-deviations, words=words)


def combined(deviations: Sequence[float]) -> float:
    """Combine independent deviations from 0 (Stouffer et al. 1949); 0 if they contradict each other beyond chance."""
    if min(deviations) < -BY_CHANCE and max(deviations) > BY_CHANCE:
        return 0.0
    return sum(deviations) / math.sqrt(len(deviations))


def _is_testable(tuned: Tuned) -> bool:
    """Whether the half turn is open, the resolution is known, and there are enough patterns for a trial."""
    dataset, preset = tuned.dataset, tuned.preset
    if (
        not half_turn_is_open(dataset, preset)
        or not may_be_tried(dataset, preset)
        or preset.solver.optimizer in PUBLISHED
    ):
        return False
    return bool(dataset.calibration.get("convergence_semiangle_mrad") and dataset.calibration.wavelength_A)


def _as_undecided(calibration: Calibration) -> Calibration:
    """Calibration for a half turn that is only the more likely one."""
    rotation = calibration.entries["rotation_deg"]
    return calibration.having(rotation_deg=replace(rotation, origin=Origin.UNDECIDED))


def _phase(tuned: Tuned, context: TrialContext) -> tuple[DoubleArray, DoubleArray, Lattice | None]:
    """Phase of a trial (rows, columns) in the area of its positions but those at the rim, its pixel size and scan."""
    part = context.cache.central_part(tuned.dataset, TRIAL_PATTERNS)
    trial = Trial.of(part, in_one_slice(tuned.preset, SETTINGS), context)
    state, _ = trial.sweep_to(None, trial.enough_sweeps(SWEEPS), trial.enough_sweeps(SWEEPS), context)
    return projected_phase(trial.problem, state.vector)


def _smoothed(phase: DoubleArray, pixel_A: DoubleArray, smoothed_A: float) -> DoubleArray:
    """Smooth by a Gaussian."""
    return ndimage.gaussian_filter(phase, smoothed_A / pixel_A) if smoothed_A else phase
