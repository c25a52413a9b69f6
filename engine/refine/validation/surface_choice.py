"""Whether the first and the last of many slices are empty, before networks make them (docs/dgp.md).

Along the beam patterns of thin specimens tell little: phase spreads over all slices there are, those outside the
specimen too. McCray et al. (arXiv:2511.07795) hold it off the outer ones by a penalty. It would be wrong of a specimen
that fills what is refined. So the middle of the scan is swept over with the penalty and without it, and it is taken
where patterns held out are predicted better by it beyond doubt.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.preset import Preset

LEAST_SLICES = 6
"""Of fewer the outer two hold much of any specimen."""
LEAST_DOSE_E_PER_A2 = 5000.0
"""Below this a penalty takes noise away, and patterns are predicted better by it whatever is in the slices: at 10^3 a
crystal that fills them was, too."""
PATTERNS, SWEEPS = 800, 40
"""After eight sweeps the phase has not spread along the beam yet, and patterns tell nothing."""
FAINT_RAD = 0.05
"""Phase that is held at none against all electrons on a pixel: a penalty w |phase| moves a least-squares phase of n
electrons by w / n, about."""
SETTING = "surface_zero_weight"


@dataclass(frozen=True)
class SurfaceChoice:
    """How well patterns held out are predicted with empty surfaces, and without."""

    weight: float
    gain: Gain
    """Of empty surfaces."""

    @property
    def empty(self) -> bool:
        """Whether they are empty."""
        return self.gain.certain

    @property
    def reason(self) -> str:
        """The choice in words."""
        if self.empty:
            how = f"held empty ({SETTING} = {self.weight:.3g}): patterns held out are predicted better, by {self.gain}"
        else:
            how = f"left as they are: held empty they would not predict patterns held out better (gain {self.gain})"
        return f"first and last slice {how}"


def choose_surfaces(dataset: Dataset, preset: Preset, context: TrialContext) -> SurfaceChoice | None:
    """By trials on the middle of the scan; None: no networks, the weight is given, or patterns could not tell."""
    given = SETTING in preset.schedules or preset.regularisers.value(SETTING) > 0
    open_ = preset.prior.method == "dgp" and preset.object.slices >= LEAST_SLICES and preset.refined.update_obj
    if given or not open_ or dataset.masks is not None or len(dataset.patterns) < LEAST_PATTERNS:
        return None
    part, quick = context.seen.central_part(dataset, PATTERNS), preset.model_copy(update=TRIAL_SETTINGS)
    plain = Trial.of(part, quick, context)
    dose_e_per_A2 = plain.problem.statistics.dose_e_per_A2
    if dose_e_per_A2 < LEAST_DOSE_E_PER_A2:
        return None
    weight = float(f"{FAINT_RAD * dose_e_per_A2 * plain.problem.grid.pixel_A**2:.2g}")
    context.before(f"{preset.object.slices} slices as they are")
    before = _judged(plain, context)
    context.before("first and last slice held empty")
    emptied = Trial.of(part, _emptied(quick, weight), context)
    return SurfaceChoice(weight, Gain.over(before, _judged(emptied, context)))


def with_chosen_surfaces(tuned: Tuned, preset: Preset, context: TrialContext) -> tuple[Tuned, Preset]:
    """The decided preset and the one asked for, both with the weight that trials chose, and how in words."""
    choice = choose_surfaces(tuned.dataset, tuned.preset, context)
    if choice is None:
        return tuned, preset
    tuned = replace(tuned, words=(*tuned.words, choice.reason))
    if not choice.empty:
        return tuned, preset
    return replace(tuned, preset=_emptied(tuned.preset, choice.weight)), _emptied(preset, choice.weight)


def _emptied(preset: Preset, weight: float) -> Preset:
    return Preset.from_mapping({**preset.model_dump(exclude_unset=True), SETTING: weight})


def _judged(trial: Trial, context: TrialContext) -> tuple[float, ...]:
    """Loss of groups of patterns held out, of the patterns alone."""
    with closing(open_backend(context.backend, trial.problem.multislice, context.threads)) as backend:
        solver = trial.solver(backend, trial.enough(SWEEPS))
        state = solver.init(backend.xp.asarray(trial.problem.start))
        while not solver.finished(state):
            context.pause()
            state = solver.step(state)
        return trial.judged(replace(trial.objective(backend), terms=()), state.vector)
