"""The drift that only a finished refinement shows: it is removed, and the refinement continues from there.

Before a run, only the overlaps of discs and short trials show a drift, each seldom beyond doubt, and neither shows well
how large it is. The refined object shows both components within a few hundredths of the resolution: at the true drift
the loss has no slope if positions and object are strained together
(:mod:`~ptylive.engine.refine.run.again.strained_scan`). If there is a slope beyond doubt, the drift is corrected by a
quasi-Newton step, object and positions are strained together, and L-BFGS continues, so what was refined is kept. This
is repeated until the slopes are those of noise, at most :data:`MOST_STEPS` times, and as long as each continuation ends
with a lower loss than the one before. If nobody stated the rotation, it is corrected along with the drift.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import Drift, taken_A
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import NO_DRIFT, Problem, lay_out
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.drift_search import DriftSearch
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import UNSURE, StrainedScan
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.loss_table import write_loss_table
from ptylive.engine.refine.run.refinement import Observers, Refinement
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.half_turn import FOUND
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS
from ptylive.engine.refine.tuning.orientation import AS_IT_IS
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema import Origin
from ptylive.schema.errors import StoppedError
from ptylive.schema.model import Array, DoubleArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

EPOCHS = 10
"""Epochs of L-BFGS after a correction; more while the loss still falls."""
MOST_STEPS = 5
"""Maximum number of corrections."""
ENOUGH = 15.0
"""Chi-squared of the slopes from which the search begins: 13.8 is exceeded by chance in one of a thousand scans."""
SETTLED = 3.0
"""Chi-squared for each parameter below which the slopes are those of noise."""
HELD_BACK = 0.2
"""Share of the drift by which the one that is found may err: an object that has not quite followed holds it back."""
HARMLESS = 0.02
"""Correction below this share of the resolution (wavelength over semi-angle) that is not worth another step."""


def drift_is_tested(measured: Measurement, nominal: Dataset, preset: Preset) -> bool:
    """Whether a run with these settings, all decided, is tested for drift when it has ended.

    Nominal positions have to form a lattice, only object, probe and a thickness may be refined, and the length of the
    run must be open.
    """
    solver = preset.solver
    is_open = preset.start.refine_drift == "auto" and preset.refined.update_obj
    ordinary = solver.optimizer not in ENGINES and isinstance(solver.epoch_max, str) and not preset.schedules
    ordinary = ordinary and not preset.stages and preset.prior.method != "dgp"
    enough = len(measured.dataset.patterns) >= LEAST_PATTERNS
    return is_open and ordinary and enough and measured.plain and Lattice.of(nominal) is not None


@dataclass(frozen=True)
class Finished:
    """A run that has ended, without the copy of the patterns on a device."""

    problem: Problem
    """Problem without its start."""
    vector: Array
    log: Log
    result: RefineResult
    nominal: Dataset
    """Data set with the positions before a drift was removed."""

    @classmethod
    def of(cls, run: Refinement, result: RefineResult, backend: MultisliceBackend, nominal: Dataset) -> Finished | None:
        """Collect a run; None if it refined more than object, probe and a thickness, or did not finish."""
        layout = run.problem.layout
        other_blocks = {block.name for block in layout.blocks} - {BlockName.THICKNESS}
        plain = not other_blocks and layout.field is None and layout.object_modes == 1 and layout.probe.probes == 1
        if result.state != "done" or not plain or layout.cleaning is not None:
            return None
        return cls(run.problem, backend.to_numpy(run.vector), run.log, result, nominal)


class HeldEnd:
    """Progress of a run that may continue: its end is reported only once it is known to be final."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self._end: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Pass progress on, except the end of a run."""
        if progress.state == "done":
            self._end = replace(progress, preview=None)  # the backend that makes the preview is closed by then
            progress = replace(progress, state="running")
        self._report(progress)

    def another(self) -> HeldEnd:
        """Return another holder for the run that continues, separate from the end of the first."""
        return HeldEnd(self._report)

    def forget(self) -> None:
        """Discard the held end because another one replaces it."""
        self._end = None

    def release(self) -> None:
        """Report the end that was held back, if any."""
        if self._end is not None:
            self._report(self._end)


@dataclass(frozen=True)
class Corrected:
    """A run, or its continuation with another correction of the drift."""

    result: RefineResult
    measured: Measurement
    continued: bool
    """Whether it is a continuation."""

    def tuned(self, before: Tuned) -> Tuned:
        """The data set and orientation that the run began with, turned by the rotation found along with the drift."""
        drift, found = self.measured.drift, self.measured.dataset.calibration.entries.get("rotation_deg")
        known = before.dataset.calibration.entries.get("rotation_deg")
        if not self.continued or drift is None or found is None or found == known:
            return before
        turned = AS_IT_IS.turned(drift.turn_deg).of(before.dataset)
        dataset = replace(turned, calibration=turned.calibration.having(rotation_deg=found))
        return replace(before, dataset=dataset, orientation=(before.orientation or AS_IT_IS).turned(drift.turn_deg))


def continued_without_drift(
    first: Finished,
    preset: Preset,
    observers: Observers,
    end: HeldEnd,
    context: TrialContext,
    *,
    resume: bool,
    epochs: int | None = None,
) -> Corrected:
    """Continue a run without the drift that its object shows, if it shows any.

    ``end``: holds back the end of the first run; discarded if the end of a continuation is reported instead.
    ``epochs``: total number that a resumed continuation shall have; None: it ends by itself.
    """
    chain = _Chain(first, preset, observers, end, context, resume)
    try:
        search = chain.begun()
        while search is not None:
            search = chain.gone_on(search)
    except StoppedError:
        pass  # what was refined stands
    return chain.ended(epochs)


class _Chain:
    """A finished run and its continuations, of which the last that lowered the loss stands."""

    def __init__(
        self,
        first: Finished,
        preset: Preset,
        observers: Observers,
        end: HeldEnd,
        context: TrialContext,
        resume: bool,
    ) -> None:
        lattice, measured = Lattice.of(first.nominal), first.problem.measured
        assert lattice is not None  # noqa: S101  (drift_is_tested)
        self._preset, self._observers, self._context, self._resume = preset, observers, context, resume
        self._standing, self._end = first, end
        self._continuation: _Continuation | None = None
        self._stopped: tuple[RefineResult, Problem] | None = None
        self._frame = ScanStrains(lattice, turns=_may_turn(first.nominal, preset))
        self._point = self._frame.point_of(taken_A(measured.drift))
        self._resolution_A = 1 / measured.probe.semiangle_invA
        self._steps = 0

    def begun(self) -> DriftSearch | None:
        """Begin the search if the object shows a drift beyond doubt."""
        self._context.before("the drift's strain on the refined object")
        scan, strains = self._scan(self._standing), self._frame.strains
        slopes = scan.slopes(strains)
        shown = slopes.chi_squared > ENOUGH
        shown = shown and slopes.chi_squared > ENOUGH * (1 + (UNSURE * scan.even_deviations()) ** 2)
        if not shown:
            self._say("confirms it" if self._is_removed else "shows none")
            return None
        return DriftSearch.begin(self._point, slopes, scan.curvatures(strains), self._resolution_A)

    def gone_on(self, search: DriftSearch) -> DriftSearch | None:
        """Continue the refinement with the next correction; None if that was the last one."""
        settled = search.slopes.chi_squared < SETTLED * len(search.point)
        if settled or self._steps == MOST_STEPS or np.linalg.norm(search.step) < HARMLESS * self._resolution_A:
            return None
        self._steps += 1
        point = search.point + search.step
        continuation, problem = self._continuation_at(point, search)
        end = self._end.another()
        result, ended = continuation.refined(problem, end)
        if ended is None:
            self._stopped, self._end = (result, problem), end
            return None
        if is_lower(result, self._standing.result):
            self._end.forget()
            self._standing, self._end, self._point, self._continuation = ended, end, point, continuation
        else:  # a step too far
            undo(self._observers, self._standing.log, len(self._standing.log.losses))
        self._context.before("the drift's strain on the object refined without it")
        return search.then(point, self._scan(ended).slopes(self._frame.strains))

    def ended(self, epochs: int | None) -> Corrected:
        """The run or the continuation that stands, continued to that total number of epochs if they are given."""
        if self._steps and self._continuation is None:
            self._say("suggests another, with which the loss is not lower")
        result, problem = self._stopped or (self._standing.result, self._standing.problem)
        if epochs is not None and self._continuation is not None and self._stopped is None:
            self._end.forget()
            self._end = self._end.another()
            result = self._continuation.lengthened(problem, self._end, epochs)
        self._end.release()
        continued = self._continuation is not None or self._stopped is not None
        return Corrected(result, problem.measured, continued)

    @property
    def _is_removed(self) -> bool:
        drift = self._standing.problem.measured.drift
        return drift is not None and drift.applied

    def _scan(self, ended: Finished) -> StrainedScan:
        return StrainedScan(ended.problem, ended.vector, self._preset, self._context)

    def _continuation_at(self, point: DoubleArray, search: DriftSearch) -> tuple[_Continuation, Problem]:
        """Continuation of the run that stands, with the drift of a point of the search removed, and its problem."""
        problem = self._problem(point, search)
        moved = self._frame.matrix(point) @ np.linalg.inv(self._frame.matrix(self._point))
        vector = self._scan(self._standing).on(problem, moved)
        return _Continuation(
            self._standing,
            SweepState(vector, sweep=problem.strategy.sweeps, striped=True),
            self._preset,
            self._observers,
            self._context,
            self._resume,
            self._steps,
        ), problem

    def _say(self, what: str) -> None:
        """Add to the reason of the first run's drift what the refined object says of it."""
        first = self._standing
        if (drift := first.problem.measured.drift) is None:
            return
        said = replace(drift, reason=f"{drift.reason}; the refined object {what}")
        result = replace(first.result, drift=said, reason=first.result.reason.replace(drift.reason, said.reason))
        forward = first.problem.forward
        problem = replace(first.problem, forward=replace(forward, measured=replace(first.problem.measured, drift=said)))
        self._standing = replace(first, problem=problem, result=result)

    def _drift(self, point: DoubleArray, search: DriftSearch) -> Drift:
        """The drift that is removed at a point of the search, with the reason that stands if it is the last."""
        slow_A, fast_A = self._frame.drift_A(point)
        held_back, noise_A = HELD_BACK * np.array([slow_A, fast_A]), np.sqrt(np.diag(search.uncertainty))[:2]
        sd_A = np.hypot(held_back, noise_A)
        found = f"drift ({slow_A:z.2f} ± {sd_A[0]:.2f}, {fast_A:z.2f} ± {sd_A[1]:.2f}) Å along slow and fast axis"
        how = "corrected, found with the refined object"
        if self._frame.turns:
            turn_deg, sd_deg = self._frame.turn_deg(point), self._frame.turn_uncertainty_deg(search.uncertainty)
            how = f"corrected along with the rotation ({turn_deg:+.2f} ± {sd_deg:.2f}°), found with the refined object"
        earlier = self._standing.problem.measured.drift
        return replace(
            earlier or Drift((0.0, 0.0), (0.0, 0.0), math.nan, math.nan, False, NO_DRIFT),
            drift_A=(slow_A, fast_A),
            uncertainty_A=(float(sd_A[0]), float(sd_A[1])),
            applied=True,
            reason=f"{found}: {how}",
            turn_deg=self._frame.turn_deg(point),
            turn_uncertainty_deg=self._frame.turn_uncertainty_deg(search.uncertainty),
        )

    def _problem(self, point: DoubleArray, search: DriftSearch) -> Problem:
        """Problem with the drift of a point removed, with all decisions unchanged and L-BFGS still to run."""
        old, drift = self._standing.problem, self._drift(point, search)
        measured, strategy = old.measured, old.strategy
        earlier = NO_DRIFT if measured.drift is None else measured.drift.reason
        placed = self._frame.placed(self._standing.nominal, drift, drift.turn_deg if self._frame.turns else 0.0)
        calibration = measured.dataset.calibration
        if self._frame.turns:
            rotation = placed.calibration.entries["rotation_deg"]
            rotation = replace(rotation, origin=Origin.ESTIMATED, uncertainty=drift.turn_uncertainty_deg)
            calibration = calibration.having(rotation_deg=rotation)
        dataset = replace(
            measured.dataset, positions_A=placed.positions_A, reach_A=placed.reach_A, calibration=calibration
        )
        strategy = replace(
            strategy, epochs=strategy.sweeps + EPOCHS, reason=strategy.reason.replace(earlier, drift.reason)
        )
        problem = lay_out(replace(measured, dataset=dataset, drift=drift), strategy, self._preset, None)
        forward = replace(problem.forward, tilt_found=old.forward.tilt_found)
        return replace(problem, forward=forward, curves=old.curves)


def _may_turn(nominal: Dataset, preset: Preset) -> bool:
    """Whether the rotation is open: nobody stated it, nor an input that is tied to the orientation of the scan."""
    tied = preset.start.start_object, preset.start.start_positions, preset.probe.start_probe
    return nominal.calibration.origin("rotation_deg") in FOUND and all(value is None for value in tied)


@dataclass(frozen=True)
class _Continuation:
    """A run that continues a finished one from a start of its own."""

    first: Finished
    start: SweepState
    preset: Preset
    observers: Observers
    context: TrialContext
    resume: bool
    number: int
    """Place among the continuations of the run, from 1."""

    def refined(self, problem: Problem, end: HeldEnd) -> tuple[RefineResult, Finished | None]:
        """Run the continuation; return its result and how it ended, None if it was stopped."""
        observers = replace(self.observers, on_progress=end)
        path = None if observers.checkpoint is None else checkpoints.of_second_run(observers.checkpoint, self.number)
        identity = replace(observers.identity, follows=_fingerprint(self.first, observers.identity.follows))
        saved = checkpoints.load(path, identity) if path is not None and self.resume else None
        saved = checkpoints.Saved(self.start, self.first.log, "") if saved is None else saved
        observers = replace(observers, checkpoint=path, identity=identity)
        with closing(open_backend(self.context.backend, problem.multislice, self.context.threads)) as backend:
            run = Refinement(problem, self.preset, backend, observers, self.context)
            result = run.run(saved)
            return result, Finished.of(run, result, backend, self.first.nominal)

    def lengthened(self, problem: Problem, end: HeldEnd, epochs: int) -> RefineResult:
        """Run on to that total number of epochs; sweeps are not repeated."""
        log = self.first.log
        further = log.phases.count("sweep") + max(0, epochs - len(log.losses))
        problem = replace(problem, strategy=replace(problem.strategy, epochs=further))
        preset = self.preset.model_copy(update={"epoch_max": epochs})
        return replace(self, preset=preset).refined(problem, end)[0]


def is_lower(result: RefineResult, than: RefineResult) -> bool:
    """Whether a run ended with a lower loss than another."""
    return bool(result.loss[-1] < than.loss[-1])


def undo(observers: Observers, log: Log, epochs: int) -> None:
    """Restore the loss table of the first run and drop later snapshots; failures to write are ignored."""
    if observers.loss_table is not None:
        with suppress(OSError):
            write_loss_table(observers.loss_table, log, observers.earlier)
    if observers.history is not None:
        with suppress(OSError):
            observers.history.drop_after(observers.epochs_before + epochs)


def _fingerprint(first: Finished, previous: str) -> str:
    """Fingerprint of the state that the run continues from."""
    return hashlib.sha256(previous.encode() + np.ascontiguousarray(first.vector).tobytes()).hexdigest()
