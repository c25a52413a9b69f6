"""A run of a given length, also if the run that it continues was followed by a second one.

A run of open length may continue with another drift removed, or be followed by a refinement in another way
(:mod:`~ptylive.engine.refine.run.again.second_run`). A given number of epochs must then continue the run whose result
stood. To find it, all of them are repeated from their checkpoints, which takes no epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.continuation import DeferredEnd
from ptylive.engine.refine.run.again.second_run import Alternative, Runners, RunPlan, refined_in_turn
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.run.stages import RunRecord
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema.preset import Preset

Run = Callable[[RunPlan, Observers, int | None], RunRecord]
"""One run, and the number of epochs (None: open) of its continuation with another drift removed, if that stands."""


def refined_to_length(
    plan: RunPlan,
    alternatives: Sequence[Alternative],
    observers: Observers,
    context: TrialContext,
    runs: Runners,
    *,
    resume: bool,
) -> RunRecord:
    """Refine a scan, and again in other ways as long as far more than noise is left; a given length continues the last.

    ``resume``: whether the run continues from its checkpoint.
    """
    epochs = None
    if resume and (path := observers.checkpoint) is not None:
        epochs = epochs_after(plan.preset, path, [alternative.checkpoint(path) for alternative in alternatives])
    asked = plan if epochs is None else replace(plan, preset=of_open_length(plan.preset))
    possible = [each for each in alternatives if each.is_tested(asked.dataset, asked.preset)]
    if not possible:
        return runs.of_scan(plan, observers)
    if epochs is None:
        return refined_in_turn(plan, possible, observers, context, runs).final()
    end = DeferredEnd(observers.on_progress)
    incumbent = refined_in_turn(asked, possible, replace(observers, on_progress=end), context, runs)
    if incumbent.record.result.state != "done":
        return incumbent.final()
    last = replace(incumbent.plan, preset=of_length(incumbent.plan.preset, epochs))
    longer = runs.of_scan(last, replace(incumbent.observers, on_progress=observers.on_progress))
    return replace(incumbent, record=longer).final()


def run_to_length(run: Run, plan: RunPlan, observers: Observers, *, resume: bool) -> RunRecord:
    """Run once; a given length continues what stands: the run itself, or its continuation with another drift."""
    epochs = None
    if resume and (path := observers.checkpoint) is not None:
        epochs = epochs_after(plan.preset, path, [checkpoints.of_second_run(path)])
    if epochs is None:
        return run(plan, observers, None)
    end = DeferredEnd(observers.on_progress)
    record = run(replace(plan, preset=of_open_length(plan.preset)), replace(observers, on_progress=end), epochs)
    if not record.continued:
        return run(plan, observers, None)
    end.release()
    return record


def epochs_after(preset: Preset, first: Path, seconds: Iterable[Path]) -> int | None:
    """Number of epochs that a run with these settings shall have, if it ended by itself and others followed; else None.

    ``first``: its checkpoint. ``seconds``: where those of the others lie if there are any.
    """
    epochs, followed = preset.solver.epoch_max, any(map(checkpoints.exists, seconds))
    return None if isinstance(epochs, str) or not (followed and checkpoints.ends_by_itself(first)) else epochs


def of_open_length(preset: Preset) -> Preset:
    """The same settings for a run that ends by itself."""
    return preset.model_copy(update={"epoch_max": "auto"})


def of_length(preset: Preset, epochs: int) -> Preset:
    """The same settings with a given number of epochs."""
    return preset.model_copy(update={"epoch_max": epochs})
