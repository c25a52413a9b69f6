"""The anchor of several slices, by patterns that were held out.

The anchor pulls L-BFGS to where the sweeps ended. What several slices have left undone by then differs from crystal to
crystal, whatever the dose: some gain much where the pull is weaker, others then fit noise and what the model lacks. So
the middle of the scan is swept over, L-BFGS goes on from there under either pull, and patterns held out judge. The
weaker one is taken where it predicts better beyond doubt. Fewer modes than the run's have more left to make up for and
prefer the stronger pull.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.lbfgs import Lbfgs
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.preset import Preset

WEAKER = 0.3
"""Times the anchor."""
PATTERNS = 512
EPOCHS = (4, 8, 20)
"""Of L-BFGS, after which they are compared: after the first few where these leave no doubt, which many do."""
WORTH = 0.005
"""Share by which it must predict better. Where it made a better object that was 0.7 % and more (docs/refinement.md)."""
BEYOND_DOUBT = 4.0
"""Standard deviations by which it must be ahead, or behind, to be left at that."""


def with_chosen_anchor(tuned: Tuned, context: TrialContext) -> Tuned:
    """The same with a weaker anchor where that predicts better beyond doubt, and how it was decided in words."""
    if not _is_open(tuned.dataset, tuned.preset):
        return tuned
    part = context.seen.central_part(tuned.dataset, PATTERNS)
    settings = tuned.preset.model_copy(update=TRIAL_SETTINGS)
    measured = context.seen.measure(part, settings)
    strategy = decide(measured, settings, has_start=context.start is not None)
    weaker = WEAKER * strategy.anchor
    if weaker == 0 or not strategy.sweeps or strategy.epochs == strategy.sweeps:
        return tuned
    gain = _gain(part, settings, measured, (strategy.anchor, weaker), context)
    if not _is_worth(gain):
        words = f"anchor {strategy.anchor:.2g}: {weaker:.2g} would not predict patterns held out better (gain {gain})"
        return replace(tuned, words=(*tuned.words, words))
    words = f"anchor {weaker:.2g}: it predicts patterns held out better than {strategy.anchor:.2g}, by {gain}"
    return replace(tuned, preset=tuned.preset.model_copy(update={"anchor": weaker}), words=(*tuned.words, words))


def _is_worth(gain: Gain) -> bool:
    return gain.certain and gain.share > WORTH


def _is_open(dataset: Dataset, preset: Preset) -> bool:
    """Whether there are several slices whose anchor nobody gave, and patterns enough to try it."""
    solver = preset.solver
    stated = solver.anchor != "auto" or solver.optimizer in PUBLISHED or preset.refined.update_tilts
    tried = preset.refined.update_obj and not preset.propagation.near_field and dataset.masks is None
    return preset.object.slices > 1 and not stated and tried and len(dataset.patterns) >= LEAST_PATTERNS


def _gain(
    part: Dataset, preset: Preset, measured: Measurement, anchors: tuple[float, float], context: TrialContext
) -> Gain:
    """Of the second anchor over the first, by the data term of the run."""
    trial = Trial.of(part, preset, context, measured)
    strategy, slices = trial.problem.strategy, preset.object.slices
    with closing(open_backend(context.backend, trial.problem.multislice, context.threads)) as backend:
        context.before(f"the anchor in {slices} slices")
        loss = trial.objective(backend)
        solvers = [
            Lbfgs(
                loss.of_patterns(trial.swept),
                EPOCHS[-1],
                preset.solver.hist_length,
                Descent.of(preset.solver),
                strategy.probe_step / strategy.sweep_step,
                anchor,
            )
            for anchor in anchors
        ]
        states = [solvers[0].init(trial.swept_over(backend, strategy.sweeps))] * 2
        gain = Gain(0.0, 0.0)
        for epochs in EPOCHS:
            for k, solver in enumerate(solvers):
                context.before(f"anchor {anchors[k]:.2g} in {slices} slices")
                while len(states[k].losses) < epochs and not solver.finished(states[k]):
                    states[k] = solver.step(states[k])
            gain = Gain.over(*(trial.judged(loss, state.vector) for state in states))
            if (_is_worth(gain) and gain.exceeds(BEYOND_DOUBT)) or gain.opposite.exceeds(BEYOND_DOUBT):
                break
    return gain
