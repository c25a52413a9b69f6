"""What ``ptylive refine`` prints before and after a refinement, and the comparison of halves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ptylive.engine.refine.results.outcome import outcome_of
from ptylive.schema import PtyliveError
from ptylive.schema.advice.words import dose_text
from ptylive.server.cli.output import Shown, bar

if TYPE_CHECKING:
    from ptylive.application.extensions import Preset
    from ptylive.engine.dataset import Dataset
    from ptylive.engine.refine import TrialContext
    from ptylive.engine.refine.results.refinement_result import Progress, RefineResult
    from ptylive.engine.refine.run.history import History
    from ptylive.engine.refine.validation.checks import Checks


class ShownRun:
    """Shows the progress of a run; what is wrong with it (no room for a checkpoint, a lost worker) is told once."""

    def __init__(self, shown: Shown, tell: Callable[[str], None]) -> None:
        self._shown, self._tell, self._told = shown, tell, ""

    def __call__(self, progress: Progress) -> None:
        """Show a step; the total is known once trials are over."""
        if progress.warning and progress.warning != self._told:
            self._tell(progress.warning)
        self._told = progress.warning
        if progress.phase == "trial":
            self._shown.update(0, None, progress.message)
            return
        loss = "" if progress.epoch == 0 or math.isnan(progress.loss) else f" loss {progress.loss:.6g}"
        stage = f"stage {len(progress.stages)} " if progress.stages else ""
        self._shown.update(progress.epoch, progress.epochs, f"{stage}{progress.phase}{loss}")


def whole_outcome_of(result: RefineResult, frames: int, before: Checks | None, kept: History | None) -> dict[str, Any]:
    """Return the outcome of a refinement, as printed by ``--json``."""
    outcome = outcome_of(result, frames)
    if before is not None:
        outcome.update(warnings=list(before.warnings), expected_seconds=before.seconds)
    if result.validation is not None:
        outcome["validation"] = result.validation.summary()
    if kept is not None:
        outcome["history"] = str(kept.folder)
    return outcome


def describe_checks(checks: Checks) -> list[str]:
    """Return what is known before the run, as lines."""
    rows, columns = checks.object_shape[1:]
    known = checks.position_bound_A is not None and math.isfinite(checks.position_bound_A)
    bound = f"; a pattern determines its position to {checks.position_bound_A:.2g} Å at best" if known else ""
    overlap = "" if checks.overlap is None else f", neighbours overlap by {100 * checks.overlap:.0f} %"
    return [
        f"{checks.patterns} patterns, window {checks.window_px} px,"
        f" object {checks.object_shape[0]} × {rows} × {columns} pixels of {checks.object_pixel_A:.3g} Å",
        f"probe {checks.probe_diameter_A:.3g} Å wide{overlap}; {dose_text(checks.dose_e_per_A2)}{bound}",
        f"about {checks.seconds:.0f} s and {checks.memory_bytes / 2**30:.1f} GiB",
        *checks.warnings,
    ]


def with_halves(
    result: RefineResult, dataset: Dataset, wanted: Preset, context: TrialContext, as_json: bool
) -> tuple[RefineResult, str]:
    """Return a finished result with the comparison of its halves, or without it and in words what is missing."""
    from ptylive.engine.refine import validate

    if result.state != "done":
        return result, ""
    try:
        with bar("comparing halves", quiet=as_json):
            return replace(result, validation=validate(dataset, wanted, context)), ""
    except PtyliveError as error:
        return result, f"halves of the data were not compared: {error.line()}"
