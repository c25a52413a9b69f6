"""Refinements that follow each other in one run: each starts from the result of the previous one.

Every stage is an ordinary refinement under its own settings, so nothing here can disagree with a single refinement.
What earlier stages found is passed on: positions, a drift that was removed, calibration, depth, tilts, and any other
refined quantity. A later stage runs trials only if its own settings request them. Each stage has its own checkpoint; a
resumed run goes through all stages, and those that had ended finish at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.drift import without_drift
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult, StageEnd
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.tuning.depth.depth_choice import with_given_depth
from ptylive.engine.refine.tuning.half_turn import half_turned
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.parameter_search import with_best
from ptylive.engine.refine.tuning.start.warm_start import WarmStart, first_invA
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Calibration, Origin
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.patterns import PatternSettings
from ptylive.schema.preset.sequence import chosen_patterns
from ptylive.schema.preset.stages import Stage, titled

SETTLED: Mapping[str, Any] = {
    "scan_defocus": False,
    "scan_thickness": False,
    "scan_rotation": False,
    "refine_drift": False,
    "start_depth_A": 0.0,
}
"""Settings of later stages unless they say otherwise: the first stage made the trials and put vacuum in front."""
KEPT = "epoch < 0"
"""Schedule of quantities that are part of the model and never refined."""
DEPTH = ("num_slices", "total_thickness_A", "slice_distances_A")
"""Settings that say how thick the specimen is and how it is sliced."""


@dataclass(frozen=True)
class RunRecord:
    """Result of one run, often a stage, with everything that a run after it needs."""

    result: RefineResult
    preset: Preset
    """Preset with the decisions of the trials."""
    calibration: Calibration
    """Calibration with the decisions of the trials."""
    curves: tuple[Curve, ...]
    """Parameter scans made before it."""
    nominal: Probe
    """Aperture and aberrations that it assumed."""
    first_invA: tuple[float, float]
    """Frequency (row, column) of the first pixel of its window."""
    half_turn: bool = False
    """Whether the stage ran under the other half turn than its data set."""
    orientation: Orientation | None = None
    """Orientation found in place of that of the data set, before the half turn; None: unchanged."""
    words: tuple[str, ...] = ()
    """Remarks of the trials on their findings."""
    from_columns: bool = False
    """Whether the object started from columns."""
    turned_by_phase: bool = False
    """Whether the phase of one slice settled an open half turn."""
    continued: bool = False
    """Whether it is the continuation of a run, with another drift removed."""

    @classmethod
    def of(cls, result: RefineResult, tuned: Tuned, measured: Measurement) -> RunRecord:
        """Collect the end of a stage without the patterns, of which each stage has a copy in its own window."""
        calibration = tuned.dataset.calibration
        result = replace(result, calibration=calibration, scan_drifts=tuned.scan_drifts)
        return cls(
            result,
            tuned.preset,
            calibration,
            tuned.curves,
            measured.probe,
            first_invA(measured),
            half_turn=tuned.half_turn,
            orientation=tuned.orientation,
            words=tuned.words,
            from_columns=tuned.warm_start is not None,
            turned_by_phase=tuned.half_turn_settled and bool(tuned.skewed_by),
        )

    @property
    def slices(self) -> int:
        """Number of slices of the object."""
        return int(self.result.object.shape[1])


RefineOnce = Callable[[Dataset, Preset, Observers, WarmStart | None], RunRecord]
"""One refinement; it receives the whole data set, from which ``sequence`` chooses."""


@dataclass(frozen=True)
class StagedResult:
    """Result of all stages, with what judging it requires: the last stage's settings and the data as it saw them."""

    result: RefineResult
    preset: Preset
    """Preset of the last stage, with the decisions of the trials."""
    dataset: Dataset
    """All patterns, under the calibration and at the positions that were found."""
    patterns: PatternSettings
    """Selection of the patterns refined in the last stage."""


def refine_stages(
    dataset: Dataset, preset: Preset, once: RefineOnce, observers: Observers, warm: WarmStart | None
) -> StagedResult:
    """Refine all stages of a preset; ``warm`` is the start of the first. A stage that stops or fails is the last.

    Raises what a refinement raises if the first stage cannot start, or a later one for a reason other than a stop.
    """
    sequence = _StageSequence(dataset, preset.in_stages(), once, observers)
    while sequence.continues:
        try:
            warm = sequence.step(warm)
        except RefinementError:
            if not (sequence.records and observers.should_stop()):
                raise
            break  # stopped during the trials of a later stage: the result of the stages before is kept
    return StagedResult(sequence.result(), sequence.records[-1].preset, sequence.dataset, sequence.patterns)


class _StageSequence:
    """Stages that have ended, and the start of the next one."""

    def __init__(self, dataset: Dataset, stages: tuple[Stage, ...], once: RefineOnce, observers: Observers) -> None:
        self.stages, self._once, self._observers = stages, once, observers
        self.records: list[RunRecord] = []
        self._whole = self.dataset = dataset
        self.patterns = stages[0].preset.patterns
        self._estimated = dataset.calibration.origin("C10") is Origin.ESTIMATED
        self._follows = ""
        self._depth: dict[str, Any] = {}
        """Slices and thickness that trials of an earlier stage found."""
        self._drift_settled = False
        """Whether drift was looked for in all patterns, or is contained in refined positions."""
        self._thickness: dict[str, Any] = {}
        """A given thickness that trials changed."""

    @property
    def continues(self) -> bool:
        """Whether another stage follows, and nothing has ended the run before it."""
        stopped = bool(self.records) and (self.records[-1].result.state != "done" or self._observers.should_stop())
        return len(self.records) < len(self.stages) and not stopped

    def step(self, warm: WarmStart | None) -> WarmStart:
        """Refine the next stage; return the start of the one after it."""
        stage = self.stages[len(self.records)]
        preset = self._following(stage) if self.records else stage.preset
        record = self._once(self.dataset, preset, self._observers_of(stage), warm)
        if stage.preset.object.num_slices == "auto":
            form = record.preset.object
            self._depth = {name: getattr(form, name) for name in DEPTH}
        if any(curve.applied and curve.quantity is Scanned.THICKNESS for curve in record.curves):
            thickness_A = float(sum(record.preset.object.slice_thickness_A))
            self._thickness = {"total_thickness_A": thickness_A, "slice_distances_A": None}
        self.dataset = dataset_after(self.dataset, preset, record)
        self.patterns = preset.patterns
        self._follows = _fingerprint(record.result, self._follows)
        self.records.append(record)
        drift, warm = record.result.drift, WarmStart.of(record.result)
        found = drift is not None and (drift.applied or preset.patterns.sequence is None)
        self._drift_settled |= found or _positions_moved(record.result) or self.dataset.scan_of is not None
        return replace(
            warm,
            drift_A=None if drift is not None and drift.applied else warm.drift_A,  # already removed from the positions
            nominal=record.nominal,
            first_invA=record.first_invA,
            over_map=True,
        )

    def _following(self, stage: Stage) -> Preset:
        """Settings of a stage, completed by what earlier stages found for everything it does not state itself."""
        last, preset = self.records[-1], stage.preset
        changes = dict(SETTLED)
        if not self._drift_settled:
            del changes["refine_drift"]
        if preset.object.num_slices == "auto" and self._depth:
            changes |= self._depth
        elif self._estimated and last.slices == 1:
            # the defocus of one slice refers to the middle of the specimen, that of several slices to the entrance
            changes["scan_defocus"] = with_given_depth(self.dataset, preset).object.slices > 1
        if preset.object.slices > 1 and not stage.said.intersection(DEPTH[1:]):
            changes |= self._thickness | _distances(last, preset)
        if (last.slices > 1) == (preset.object.slices > 1) and not preset.object.weakly_damped_obj:
            changes |= _form(last.preset, self.stages[len(self.records) - 1].preset, preset)
        if last.slices > 1 and preset.object.slices > 1:
            changes |= _anchor(last.preset, self.stages[len(self.records) - 1].preset, preset)
        changes |= _carried_over(last, preset)
        return _with_changes(preset, {name: value for name, value in changes.items() if name not in stage.said})

    def _observers_of(self, stage: Stage) -> Observers:
        """Files and callbacks of the next stage."""
        number = len(self.records) + 1
        identity = replace(
            checkpoints.Identity.of(self._whole, stage.preset),
            stage=f"{titled(number, stage.name)} of {len(self.stages)}",
            follows=self._follows,
        )
        path = self._observers.checkpoint
        return replace(
            self._observers,
            on_progress=partial(self._report, stage),
            checkpoint=None if path is None else checkpoints.of_stage(path, number),
            identity=identity,
            earlier=tuple(
                Log(tuple(r.loss.tolist()), r.phases, tuple(r.seconds.tolist()), r.evaluations) for r in self._results
            ),
        )

    @property
    def _results(self) -> list[RefineResult]:
        return [record.result for record in self.records]

    @property
    def _starts(self) -> tuple[int, ...]:
        """Number of epochs before each stage, and after the last stage that has ended."""
        return tuple(np.cumsum([0, *(len(result.loss) for result in self._results)]).tolist())

    def _report(self, stage: Stage, progress: Progress) -> None:
        """Report the progress of a stage as progress of the whole run."""
        title = f"{titled(len(self._starts), stage.name)} of {len(self.stages)}"
        before, remaining = self._starts[-1], self.stages[len(self._starts) :]
        planned = [run.preset.solver.epoch_max for run in remaining]
        continues = bool(remaining) and progress.state == "done"
        reported = replace(
            progress,
            state="running" if continues else progress.state,
            message=f"{title}: {progress.message}" if progress.message else title,
            seconds=progress.seconds + sum(float(run.seconds.sum()) for run in self._results),
            evaluations=progress.evaluations + sum(run.evaluations for run in self._results),
            stages=self._starts,
        )
        if progress.phase != "trial":
            losses = tuple(float(loss) for run in self._results for loss in run.loss)
            phases = tuple(phase for run in self._results for phase in run.phases)
            reported = replace(reported, losses=(*losses, *progress.losses), phases=(*phases, *progress.phases))
            epochs = before + progress.epochs + sum(progress.epochs if isinstance(n, str) else n for n in planned)
            reported = replace(reported, epoch=before + progress.epoch, epochs=epochs)
        self._observers.on_progress(reported)

    def result(self) -> RefineResult:
        """Result of the last stage, with the epochs of all stages."""
        results, last = self._results, self._results[-1]
        ends = [
            StageEnd(stage.name, first, run.preset.model_dump_json(), r.state, r.algorithm, r.reason, r.message)
            for stage, first, run, r in zip(self.stages, self._starts, self.records, results, strict=False)
        ]
        title = f"{titled(len(ends), ends[-1].name)} of {len(self.stages)}"
        missing = last.state == "done" and len(ends) < len(self.stages)
        return replace(
            last,
            loss=np.concatenate([run.loss for run in results]),
            phases=tuple(phase for run in results for phase in run.phases),
            seconds=np.concatenate([run.seconds for run in results]),
            evaluations=sum(run.evaluations for run in results),
            state="stopped" if missing else last.state,
            reason=f"{title}: {last.reason}",
            message=f"{title}: {'stopped on request after it' if missing else last.message or last.state}",
            drift=max((d for run in results if (d := run.drift) is not None), key=lambda d: d.applied, default=None),
            scan_drifts=next((run.scan_drifts for run in results if run.scan_drifts), ()),
            curves=tuple(curve for run in results for curve in run.curves),
            stages=tuple(ends),
            unchanged=all(run.unchanged for run in results),
        )


def dataset_after(dataset: Dataset, preset: Preset, record: RunRecord) -> Dataset:
    """The whole data set, with the calibration and positions that a stage on part of it ended with."""
    result, dataset = record.result, dataset_found(dataset, record)
    if result.drift is not None and result.drift.applied:
        dataset = without_drift(dataset, result.drift)
    sequence, positions_A = preset.patterns.sequence, dataset.positions_A.copy()
    chosen = slice(None) if sequence is None else chosen_patterns(sequence, len(positions_A))
    positions_A[chosen] = result.positions_A
    return replace(dataset, positions_A=positions_A, calibration=record.calibration)


def dataset_found(dataset: Dataset, record: RunRecord) -> Dataset:
    """Any patterns of a data set in the orientation, and with the scan step, that a refinement of it found."""
    dataset = dataset if record.orientation is None else record.orientation.of(dataset)
    dataset = half_turned(dataset) if record.half_turn else dataset
    for curve in record.curves:
        if curve.applied and curve.quantity in (Scanned.ROTATION, Scanned.SCALE):
            dataset, _ = with_best(dataset, record.preset, curve)
    return dataset


def _form(decided: Preset, stated: Preset, preset: Preset) -> dict[str, Any]:
    """Object form (complex, damped or phase) that trials of the previous stage chose, if neither stage states it."""
    if "phase_only_obj" in preset.schedules or {each.object.phase_only_obj for each in (stated, preset)} != {"auto"}:
        return {}
    is_phase = decided.object.phase_only_obj is True
    is_damped = decided.object.weakly_damped_obj and not stated.object.weakly_damped_obj
    bound = preset.object.non_negative_phase
    non_negative = decided.object.non_negative_phase if bound == "auto" and (is_phase or is_damped) else bound
    if decided.object.slices == 1 and not is_damped:
        return {}
    if is_damped:
        return {"weakly_damped_obj": True, "non_negative_phase": non_negative}
    return {"phase_only_obj": is_phase, "non_negative_phase": non_negative}


def _anchor(decided: Preset, stated: Preset, preset: Preset) -> dict[str, Any]:
    """Anchor that trials of the previous stage chose, if neither stage states one and this stage uses an anchor."""
    solver = preset.solver
    unswept = solver.sweeps == 0 or solver.epoch_max == 1  # no sweep result to anchor to, as in a single run
    if unswept or preset.refined.update_tilts or solver.optimizer in PUBLISHED:
        return {}
    if {each.solver.anchor for each in (stated, preset)} != {"auto"}:
        return {}
    return {"anchor": decided.solver.anchor}


def _carried_over(last: RunRecord, preset: Preset) -> dict[str, Any]:
    """Settings that carry over other refined quantities."""
    refined, changes = last.result.refined, dict[str, Any]()
    if refined is None:
        return changes
    if refined.tilts_mrad is not None and preset.propagation.tilts_mrad is None:
        if len(refined.tilts_mrad) == 1:
            changes["tilts_mrad"] = [refined.tilts_mrad[0].tolist()]
    if refined.scans is not None:
        changes["scan_tilts_mrad"] = refined.scans.tilts_mrad.tolist()
    if refined.detector_psf_px is not None:
        changes["detector_psf_px"] = refined.detector_psf_px
    if refined.beam_current is not None and not preset.refined.update_beam_current:
        changes["update_beam_current"] = KEPT
    if refined.background is not None and not preset.refined.update_static_background:
        changes["update_static_background"] = KEPT
    return changes


def _distances(last: RunRecord, preset: Preset) -> dict[str, Any]:
    """Refined slice distances, if the number of slices is unchanged."""
    refined = last.result.refined
    if refined is None or refined.slice_distances_A is None or preset.object.slices != last.slices:
        return {}
    return {"slice_distances_A": list(refined.slice_distances_A), "total_thickness_A": None}


def _positions_moved(result: RefineResult) -> bool:
    """Whether positions were refined individually."""
    return result.refined is not None and result.refined.moved


def _with_changes(preset: Preset, changes: Mapping[str, Any]) -> Preset:
    """Return a copy of the preset with changed settings, validated."""
    return Preset.from_mapping({**preset.model_dump(exclude_unset=True), **changes})


def _fingerprint(result: RefineResult, previous: str) -> str:
    """Fingerprint of the end of a stage."""
    digest = hashlib.sha256(previous.encode())
    for array in (result.object, result.probe, result.positions_A):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def with_given_counts(preset: Preset) -> Preset:
    """Include given beam currents and a given background in the model, fixed unless they are refined."""
    changes: dict[str, Any] = {}
    if preset.start.start_beam_current is not None and not preset.refined.update_beam_current:
        changes |= {"update_beam_current": KEPT}
    if preset.start.start_background is not None and not preset.refined.update_static_background:
        changes |= {"update_static_background": KEPT}
    if not changes:
        return preset
    return Preset.from_mapping({**preset.model_dump(exclude_unset=True), **changes})
