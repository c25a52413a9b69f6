"""Refinement during the scan: short rounds on the patterns received so far, each warm-started from the previous one.

A round is an ordinary refinement of one sweep from a warm start (the first: of two sweeps from an empty object), so
nothing here can disagree with the run after the scan. That run starts from the last round, with all patterns and the
final calibration. Only a few rounds are made, however slow the scan is: rows that arrive early must not be swept so
often that their noise is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult
from ptylive.engine.refine.run.history import History
from ptylive.engine.refine.run.run import refine
from ptylive.engine.refine.tuning.depth.depth_choice import with_given_depth
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema import Calibration
from ptylive.schema.preset import Preset

FIRST_SHARE, STEP_SHARE = 0.25, 0.125
"""Share of the scan that must have arrived for the first round, and the further share before each next round."""
FIRST_SWEEPS = 2
"""Number of sweeps of the first round; every other round makes one."""
SAME_ROTATION_DEG, SAME_SCALE = 2.0, 0.02
"""A calibration that changed by more than this, or by half a depth of focus, makes the earlier rounds worthless."""
HELD = {
    "scan_defocus": False,
    "scan_thickness": False,
    "scan_rotation": False,
    "refine_drift": False,
    "update_probe_pos": False,
    "early_stop": False,
    "anchor": 0.0,
    "phase_deviation": False,
    "method": "pixels",
}
"""Settings of rounds: anything that needs the whole scan is left to the run after it."""


class IncrementalRefinement:
    """A refinement that begins before its scan has ended. Not thread-safe."""

    def __init__(
        self,
        preset: Preset,
        context: TrialContext,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.preset, self.context = preset, context
        self._on_progress, self._should_stop = on_progress, should_stop
        self._rounds: list[RefineResult] = []
        self._calibration: Calibration | None = None
        self._next_share = FIRST_SHARE

    def due(self, share: float) -> bool:
        """Whether a round should be made, now that this share of the scan has arrived."""
        return share >= self._next_share

    def round(self, dataset: Dataset, share: float) -> bool:
        """Sweep over the patterns that have arrived, twice in the first round. Return False if it was stopped.

        Raises MetadataError for missing optics and RefinementError as a run does.
        """
        warm = self._warm(dataset.calibration)
        sweeps = FIRST_SWEEPS if warm is None else 1
        settings = {**HELD, "sweeps": sweeps, "epoch_max": sweeps, "probe_sweeps": 0}
        preset = with_given_depth(dataset, self.preset.in_stages()[0].preset)
        if preset.object.num_slices == "auto":
            settings["num_slices"] = 1
        result = self._run(dataset, preset.model_copy(update=settings), warm)
        if result.state != "done":
            return False
        if warm is None:
            self._rounds = []
        self._rounds.append(result)
        self._calibration = dataset.calibration
        while self._next_share <= share:
            self._next_share += STEP_SHARE
        return True

    def conclude(
        self, dataset: Dataset, start: StartGuess | None, checkpoint: Path | None, history: History | None = None
    ) -> RefineResult:
        """Run the refinement after the scan: on all patterns, with the final calibration, from the last round."""
        result = self._run(dataset, self.preset, self._warm(dataset.calibration), start, checkpoint, history)
        runs, epochs_before = [*self._rounds, result], sum(len(run.loss) for run in self._rounds)
        return replace(
            result,
            loss=np.concatenate([run.loss for run in runs]),
            phases=tuple(phase for run in runs for phase in run.phases),
            seconds=np.concatenate([run.seconds for run in runs]),
            evaluations=sum(run.evaluations for run in runs),
            stages=tuple(replace(stage, first_epoch=stage.first_epoch + epochs_before) for stage in result.stages),
        )

    def _warm(self, calibration: Calibration) -> WarmStart | None:
        if not self._rounds or self._calibration is None or not _same_optics(self._calibration, calibration):
            self._rounds = []
            return None
        start = WarmStart.of(self._rounds[-1], len(self._rounds) + FIRST_SWEEPS - 1)
        return replace(start, frame_is_given=False)

    def _run(
        self,
        dataset: Dataset,
        preset: Preset,
        warm: WarmStart | None,
        start: StartGuess | None = None,
        checkpoint: Path | None = None,
        history: History | None = None,
    ) -> RefineResult:
        epochs_before = sum(len(run.loss) for run in self._rounds)

        def passed_on(progress: Progress) -> None:
            self._on_progress(
                replace(
                    progress,
                    epoch=progress.epoch + epochs_before,
                    epochs=progress.epochs + epochs_before,
                    state="running",
                    stages=tuple(first + epochs_before for first in progress.stages),
                )
            )

        return refine(
            dataset,
            preset,
            start=start,
            backend=self.context.backend,
            threads=self.context.threads,
            on_progress=passed_on,
            should_stop=self._should_stop,
            checkpoint=checkpoint,
            history=history,
            warm=warm,
        )


def _same_optics(before: Calibration, now: Calibration) -> bool:
    """Whether a result refined under one calibration is still a valid start under another."""
    pixels = [float(optics.get("detector_pixel_invA") or 0.0) for optics in (before, now)]
    focus = [optics.aberrations.get("C10", 0.0) + float(optics.get("depth_A") or 0.0) for optics in (before, now)]
    depth_A = now.depth_of_focus_A
    return (
        before.transform == now.transform
        and abs(before.rotation_deg - now.rotation_deg) < SAME_ROTATION_DEG
        and abs(pixels[0] - pixels[1]) <= SAME_SCALE * max(pixels)
        and (depth_A is None or abs(focus[0] - focus[1]) <= depth_A / 2)
    )
