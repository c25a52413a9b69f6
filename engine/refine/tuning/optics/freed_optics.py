"""Defocus and astigmatism that nobody stated, refined in short trials with the run's own model.

The maps derive them from a weak phase object, and defocus scans from one probe mode: that mistakes the blur of a source
for defocus (a WS2 edge at 51 Å came out at 58 Å), and two sweeps do not move far enough for platinum. In the run itself
the probe follows too slowly to correct either. They are therefore refined with object and probe in two modes, once the
likelihood has settled, and used if held-out patterns are predicted better than by the same trial with fixed optics.

For several slices this is done only if atoms lie at random: their thickness was found with a defocus that trials
refine, but under the astigmatism of the maps, which treat a thick specimen as a plane. For a crystal, optics would
absorb what its model lacks (silicon lost 0.008 of its correlation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.strategy import Regime
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import (
    CONFIRMING_PATTERNS,
    TRIAL_SETTINGS,
    are_enough_frames,
    settings_for_several,
)
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.calibration import FOUND
from ptylive.schema.preset import Preset

OPTICS = ("C10", "C12a", "C12b")
"""Refined aberrations: those that the maps find for every scan."""
SWEEPS = 8
"""Number of sweeps: after two a defocus is still where the maps had it, after eight it has moved most of the way."""
ROUNDS = 2
"""Maximum number of times that a trial starts, again from where the previous one ended."""
AT_REST = 0.05
"""Depths of focus: a trial that has moved the optics by less is not repeated."""


@dataclass(frozen=True)
class Freed:
    """End of a trial of refined optics, and how well it predicts held-out patterns."""

    dataset: Dataset
    """Data set with these optics."""
    loss: HeldOutLoss
    moved_A: float
    """Largest change of an aberration."""


def with_freed_optics(tuned: Tuned, context: TrialContext) -> Tuned:
    """Use defocus and astigmatism as refined in trials, if held-out patterns gain beyond doubt."""
    if not are_freed(tuned):
        return tuned
    trials = FreedTrials(tuned.preset, context)
    if not trials.is_thin(tuned.dataset):
        return tuned
    fixed = trials.fixed(tuned.dataset)
    found = min((trials.freed(start) for start in _starts(tuned)), key=lambda freed: freed.loss.mean)
    gain = Gain.over(fixed.groups, found.loss.groups)
    if not gain.certain:
        words = f"defocus and astigmatism unchanged: refined values would not predict held-out patterns better ({gain})"
        return replace(tuned, words=(*tuned.words, words))
    found = trials.followed(found)
    c10_A, c12a_A, c12b_A = (float(found.dataset.calibration.aberrations.get(name, 0.0)) for name in OPTICS)
    words = f"C10 {c10_A:.1f}, C12 ({c12a_A:.1f}, {c12b_A:.1f}) Å, refined in trials: held-out patterns are predicted "
    words += f"better, by {Gain.over(fixed.groups, found.loss.groups)}"
    return replace(tuned, dataset=found.dataset, words=(*tuned.words, words))


def are_freed(tuned: Tuned) -> bool:
    """Whether trials refine them: they are not stated, the slices permit it, and there are enough patterns."""
    dataset, one_slice = tuned.dataset, tuned.preset.object.slices == 1
    enough = are_enough_frames(dataset) and dataset.scan_of is None
    return may_be_freed(dataset, tuned.preset) and enough and (one_slice or tuned.atoms_at_random)


def may_be_freed(dataset: Dataset, preset: Preset) -> bool:
    """Whether nobody stated the defocus or how to find it, and the model refines optics with object and probe."""
    return dataset.calibration.origin("C10") in FOUND and may_refine_optics(preset)


def may_refine_optics(preset: Preset) -> bool:
    """Whether the model refines optics with object and probe, and nothing else states them."""
    refined = preset.refined
    stated = preset.start.scan_defocus is False
    stated = stated or preset.probe.start_probe is not None or preset.probe.aberrations_array_A is not None
    plain = refined.update_obj and refined.update_probe and not refined.update_aberrations
    plain = plain and preset.probe.probe_part == "both" and preset.probe.aberration_marker is None
    plain = plain and not preset.propagation.near_field and preset.solver.optimizer not in PUBLISHED
    return not stated and plain


def _starts(tuned: Tuned) -> list[Dataset]:
    """The data set and, if a scan moved its defocus, also the data set with the defocus that the maps found.

    For several slices depth has settled which; the defocus of the maps is that of their middle, not of the entrance.
    """
    starts = [tuned.dataset]
    moved = [curve for curve in tuned.curves if curve.quantity is Scanned.DEFOCUS and curve.applied]
    if moved and tuned.preset.object.slices == 1:
        starts.append(with_optics(tuned.dataset, {"C10": -moved[0].start}))
    return starts


def with_optics(dataset: Dataset, values_A: dict[str, float]) -> Dataset:
    """Return the data set with estimated aberrations, in Å by name."""
    estimated = {name: Quantity(value, Origin.ESTIMATED) for name, value in values_A.items()}
    return replace(dataset, calibration=dataset.calibration.having(**estimated))


def with_optics_moved(dataset: Dataset, moved_A: dict[str, float]) -> Dataset:
    """Return the data set with its aberrations changed by these amounts."""
    present = dataset.calibration.aberrations
    if not moved_A:
        return dataset
    return with_optics(dataset, {name: float(present.get(name, 0.0)) + moved for name, moved in moved_A.items()})


def freeing_optics(dataset: Dataset, preset: Preset, optics: tuple[str, ...] = OPTICS) -> Preset:
    """Preset of a trial that refines those of the optics that nobody stated."""
    names = tuple(name for name in optics if dataset.calibration.origin(name) in FOUND)
    return preset.model_copy(update={"update_aberrations": True, "refined_aberrations": names})


def optics_moved_A(trial: Trial, state: SweepState) -> dict[str, float]:
    """How far a trial of :func:`freeing_optics` has moved them."""
    moved_A = trial.problem.layout.other_blocks(state.vector)[BlockName.ABERRATIONS]
    return {name: float(moved) for name, moved in zip(trial.preset.refined.refined_aberrations, moved_A, strict=True)}


class FreedTrials:
    """Trials on the patterns in the middle of a scan, from an empty object."""

    def __init__(self, preset: Preset, context: TrialContext) -> None:
        free = {"start_from_map": False, "sweeps": "auto", "epoch_max": "auto"}
        settings = TRIAL_SETTINGS | free | settings_for_several(preset)
        self._preset, self._context = preset.model_copy(update=settings), replace(context, start=None)

    def is_thin(self, dataset: Dataset) -> bool:
        """Whether the whole pattern is refined; what the bright field says of optics the maps have used already."""
        return self._trial(dataset, self._preset).problem.strategy.regime is Regime.THIN

    def fixed(self, dataset: Dataset) -> HeldOutLoss:
        """Held-out loss with the optics as they are."""
        self._context.before("unchanged defocus and astigmatism")
        trial = self._trial(dataset, self._preset)
        return trial.sweep_to(None, trial.enough_sweeps(SWEEPS), trial.enough_sweeps(SWEEPS), self._context)[1]

    def freed(self, dataset: Dataset) -> Freed:
        """Result with optics refined from there."""
        self._context.before("refined defocus and astigmatism")
        trial = self._trial(dataset, freeing_optics(dataset, self._preset))
        state, loss = trial.sweep_to(None, trial.enough_sweeps(SWEEPS), trial.enough_sweeps(SWEEPS), self._context)
        moved_A = optics_moved_A(trial, state)
        return Freed(with_optics_moved(dataset, moved_A), loss, float(np.abs(list(moved_A.values())).max()))

    def followed(self, found: Freed) -> Freed:
        """Start again from where a trial has moved the optics, as long as that predicts better beyond doubt."""
        for _ in range(ROUNDS - 1):
            if found.moved_A < AT_REST * (found.dataset.calibration.depth_of_focus_A or math.inf):
                break
            further = self.freed(found.dataset)
            if not Gain.over(found.loss.groups, further.loss.groups).certain:
                break
            found = further
        return found

    def _trial(self, dataset: Dataset, preset: Preset) -> Trial:
        return Trial.of(self._context.cache.central_part(dataset, CONFIRMING_PATTERNS), preset, self._context)
