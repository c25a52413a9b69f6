"""The drift that only a finished refinement shows: it is removed, and the scan is refined again.

Before a run, only the overlaps of discs and short trials show a drift, each seldom beyond doubt, and neither shows well
how large it is. The refined object shows both components within a few hundredths of the resolution: at the true drift
the loss has no slope if positions and object are strained together
(:mod:`~ptylive.engine.refine.run.again.strained_scan`). If there is a slope beyond doubt, the drift is corrected by a
quasi-Newton step (:mod:`~ptylive.engine.refine.run.again.drift_search`), and the refinement begins anew on the
corrected positions. (An object that is kept and strained along holds some of the drift back.) This is repeated until
the slopes are those of noise. If nobody stated the rotation, it is corrected along with the drift.

The slopes of a weak scan are never beyond doubt. A drift of its lattice that trials left alone is therefore corrected
if lattice and object together show it (:mod:`~ptylive.engine.refine.run.again.drift_evidence`), and stays corrected
unless the continued object wants it back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import COARSEST, HINT, Drift, is_too_coarse, taken_A
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import NO_DRIFT, Problem, lay_out
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run.again.continuation import Continuation, Finished, HeldEnd, is_as_low, undo
from ptylive.engine.refine.run.again.drift_evidence import DriftEvidence, missed_by
from ptylive.engine.refine.run.again.drift_search import DriftSearch
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import Slopes, StrainedScan
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.tuning.half_turn import FOUND
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS
from ptylive.engine.refine.tuning.orientation import AS_IT_IS
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema import Origin
from ptylive.schema.errors import StoppedError
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

MOST_STEPS = 4
"""Maximum number of corrections, each of which takes as long as the first run."""
SHOWN = 7.5
"""Chi-squared of the slopes, for each parameter, beyond which the object shows a drift: 7 is exceeded by chance in one
of a thousand scans, if slopes along two axes scatter as the patterns do."""
SETTLED = 3.0
"""Chi-squared for each parameter below which the search ends: by chance one in twenty exceeds it."""
ALIGNED = 0.87
"""Cosine between the first step and the lattice's drift, in the metric of the curvature, from which the drift is tried
before the step."""
HARMLESS = 0.02
"""Correction below this share of the resolution (wavelength over semi-angle) that is not worth another run."""


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
class Corrected:
    """A run, or its continuation with another correction of the drift."""

    result: RefineResult
    measured: Measurement
    continued: bool
    """Whether it is a continuation."""
    turn_deg: float
    """Rotation that was added along with the drift."""

    def tuned(self, before: Tuned) -> Tuned:
        """The data set and orientation that the run began with, turned by the rotation that was added."""
        if not self.turn_deg:
            return before
        turned = AS_IT_IS.turned(self.turn_deg).of(before.dataset)
        rotation = self.measured.dataset.calibration.entries["rotation_deg"]
        dataset = replace(turned, calibration=turned.calibration.having(rotation_deg=rotation))
        orientation = (before.orientation or AS_IT_IS).turned(self.turn_deg)
        return replace(before, dataset=dataset, orientation=orientation)


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


@dataclass(frozen=True)
class _Attempt:
    """A continuation that has ended."""

    ended: Finished
    end: HeldEnd
    point: DoubleArray
    continuation: Continuation


class _Chain:
    """A finished run and those that followed it, of which the one with the smallest slopes stands.

    ``_stopped``: message of a run that was stopped. ``_epochs``: planned for the first run, and for each that follows.
    ``_shown``: whether the slopes of the first object are beyond doubt. ``_evidence``: of lattice and first object for
    a drift that trials left alone.
    """

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
        self._continuation: Continuation | None = None
        self._stopped, self._epochs = "", first.problem.strategy.epochs
        self._frame = ScanStrains(lattice, turns=_may_turn(first.nominal, preset))
        self._point = self._frame.point_of(taken_A(measured.drift))
        self._resolution_A = 1 / measured.probe.semiangle_invA
        self._steps = 0
        self._evidence: DriftEvidence | None = None
        self._shown, self._least_chi_squared = False, math.inf

    def begun(self) -> DriftSearch | None:
        """Begin the search if the object shows a drift, or lattice and object together one that trials left alone."""
        self._context.before("the drift's strain on the refined object")
        scan, strains, drift = self._scan(self._standing), self._frame.strains, self._standing.problem.measured.drift
        several = self._preset.object.slices > 1
        possible = drift is not None and not drift.applied and drift.deviations > HINT
        slopes = scan.slopes(strains)
        slopes = scan.with_even(slopes) if possible or _is_shown(slopes) else slopes
        self._shown, self._least_chi_squared = _is_shown(slopes), slopes.chi_squared
        if drift is not None and possible:
            gain, unsure = slopes.along(self._frame.without_turn(drift.drift_A))
            evidence = DriftEvidence(drift.deviations, gain / unsure if unsure > 0 else 0.0, several)
            if not self._shown and not evidence.is_worth_trying(self._standing.result.loss_over_noise):
                self._say(f", and lattice and refined object do not show it either ({evidence})")
                return None
            self._evidence = evidence
        elif not self._shown:
            removed = drift is not None and drift.applied
            self._say(f"; the refined object {'confirms it' if removed else 'shows none'}")
            return None
        held = scan.curvatures(strains)
        search = DriftSearch.begin(self._point, slopes, held, self._resolution_A, several=several)
        if drift is None or self._evidence is None:
            return search
        lead = self._frame.point_of(drift.drift_A)
        trusted = self._evidence.is_enough and search.leads_towards(lead) > ALIGNED
        return search.leading_to(lead) if trusted or not self._shown else search

    def gone_on(self, search: DriftSearch) -> DriftSearch | None:
        """Continue the refinement with the next correction; None if that was the last one."""
        if self._steps == MOST_STEPS or self._is_settled(search):
            return None
        attempt = self._tried(search, search.point + search.step)
        if attempt is None:
            return None
        slopes = self._asked(attempt, search)
        if search.lead is None:
            stands = is_as_low(attempt.ended.result, self._standing.result)
            stands = stands and slopes.chi_squared < self._least_chi_squared
        else:
            stands = self._is_confirmed(attempt, search.slopes, slopes)
        if stands:
            self._keep(attempt)
            self._least_chi_squared = slopes.chi_squared
        else:
            undo(self._observers, self._standing.log, len(self._standing.log.losses))
        return search.then(attempt.point, slopes) if stands or self._shown else None

    def _asked(self, attempt: _Attempt, search: DriftSearch) -> Slopes:
        """Slopes at the end of an attempt; if it is stopped meanwhile, what stood before stands."""
        try:
            self._context.before("the drift's strain on the object refined without it")
            scan = self._scan(attempt.ended)
            slopes = scan.slopes(self._frame.strains)
            return slopes if self._evidence is None else scan.with_even(slopes)
        except StoppedError:
            undo(self._observers, self._standing.log, len(self._standing.log.losses))
            if search.lead is not None and not self._shown:
                self._say(f"{self._suggested}, but the run was stopped before the object refined without it was tested")
            raise

    def _is_confirmed(self, attempt: _Attempt, before: Slopes, after: Slopes) -> bool:
        """Whether the object refined without the lattice's drift does not want it back."""
        assert self._evidence is not None  # noqa: S101  (of the lead)
        drift = self._frame.without_turn(self._frame.drift_A(attempt.point))
        missed = missed_by(before, after, drift, sure=self._evidence.is_enough)
        if missed is not None and not self._shown:
            back = f"the object refined without it prefers it back, by {missed:.1f} standard deviations"
            self._say(f"{self._suggested}, but {back}")
        return missed is None

    @property
    def _suggested(self) -> str:
        """What lattice and object show, in words."""
        assert self._evidence is not None  # noqa: S101  (of the lead)
        return f", lattice and refined object {'show' if self._evidence.is_enough else 'suggest'} it ({self._evidence})"

    def ended(self, epochs: int | None) -> Corrected:
        """The run or the continuation that stands, continued to that total number of epochs if they are given."""
        if self._steps and self._continuation is None and not self._stopped and self._shown:
            first_one = self._standing.problem.measured.drift is None
            self._say(f"; the refined object shows {'one' if first_one else 'another'}, but is no better without it")
        result, problem = self._standing.result, self._standing.problem
        if self._stopped:  # what has ended is worth more than what has only begun
            self._end.forget()
            result = replace(result, state="stopped", message=self._stopped)
        elif epochs is not None and self._continuation is not None:
            self._end.forget()
            self._end = self._end.another()
            result = self._continuation.lengthened(problem, self._end, epochs)
        self._end.release()
        continued = self._continuation is not None
        return Corrected(result, problem.measured, continued, self._frame.turn_deg(self._point))

    def _scan(self, ended: Finished) -> StrainedScan:
        return StrainedScan(ended.problem, ended.vector, self._preset, self._context)

    def _is_settled(self, search: DriftSearch) -> bool:
        """Whether another step is not worth its time: one that lattice and object suggested needs slopes of its own."""
        if search.lead is not None:
            return False
        noise = search.slopes.chi_squared < SETTLED * len(search.point)
        noise = noise or not (self._shown or _is_shown(search.slopes))
        return noise or float(np.linalg.norm(search.step)) < HARMLESS * self._resolution_A

    def _tried(self, search: DriftSearch, point: DoubleArray) -> _Attempt | None:
        """Refine again with the drift of a point of the search removed; None if it was stopped or failed."""
        self._steps += 1
        problem = self._problem(point, search)
        continuation = Continuation(
            self._standing, self._preset, self._observers, self._context, self._resume, self._steps
        )
        end = self._end.another()
        result, ended = continuation.refined(problem, end)
        if ended is None:
            self._stopped = result.message if result.state == "stopped" else ""
            undo(self._observers, self._standing.log, len(self._standing.log.losses))
            return None
        return _Attempt(ended, end, point, continuation)

    def _keep(self, attempt: _Attempt) -> None:
        self._end.forget()
        self._standing, self._end = attempt.ended, attempt.end
        self._point, self._continuation = attempt.point, attempt.continuation

    def _say(self, what: str) -> None:
        """Add to the reason of the drift, where the run stands, what the refined object says of it."""
        first = self._standing
        if (drift := first.problem.measured.drift) is None:
            reason = first.result.reason.replace(NO_DRIFT, f"{self._unseen_before}{what}")
            self._standing = replace(first, result=replace(first.result, reason=reason))
            return
        said = replace(drift, reason=f"{drift.reason}{what}")
        result = replace(first.result, drift=said, reason=first.result.reason.replace(drift.reason, said.reason))
        forward = replace(first.problem.forward, measured=replace(first.problem.measured, drift=said))
        self._standing = replace(first, problem=replace(first.problem, forward=forward), result=result)

    @property
    def _unseen_before(self) -> str:
        """Why only the refined object can show a drift of this scan."""
        coarse = is_too_coarse(self._frame.lattice, 1 / self._resolution_A)
        why = f"steps are above {COARSEST} λ/α" if coarse else "too few frequencies of the scan have signal"
        return f"drift: before the run it could not be measured ({why})"

    def _problem(self, point: DoubleArray, search: DriftSearch) -> Problem:
        """Problem with the drift of a point removed and all decisions unchanged, to be refined from the start."""
        old, drift, turn_deg = self._standing.problem, self._drift(point, search), self._frame.turn_deg(point)
        measured, reason = old.measured, old.strategy.reason
        placed = self._frame.placed(self._standing.nominal, drift, turn_deg)
        calibration = measured.dataset.calibration
        if turn_deg:
            sd_deg = self._frame.turn_uncertainty_deg(search.uncertainty)
            rotation = replace(placed.calibration.entries["rotation_deg"], origin=Origin.ESTIMATED, uncertainty=sd_deg)
            calibration = calibration.having(rotation_deg=rotation)
        dataset = replace(
            measured.dataset, positions_A=placed.positions_A, reach_A=placed.reach_A, calibration=calibration
        )
        reason = reason.replace(NO_DRIFT if measured.drift is None else measured.drift.reason, drift.reason)
        measured = replace(measured, dataset=dataset, drift=drift)
        strategy = replace(old.strategy, epochs=self._epochs, reason=reason)
        problem = self._standing.begin(lay_out(measured, strategy, self._preset, self._context.start))
        forward = replace(problem.forward, tilt_found=old.forward.tilt_found)
        return replace(problem, forward=forward, curves=old.curves)

    def _drift(self, point: DoubleArray, search: DriftSearch) -> Drift:
        """The drift that is removed at a point of the search, with the reason that stands if it is the last."""
        earlier = self._standing.problem.measured.drift
        if search.lead is not None and earlier is not None:
            return replace(earlier, applied=True, reason=f"{_found(earlier)}: corrected, {self._words()}")
        drift_A, covariance = self._frame.drift_A(point), search.uncertainty
        sd_A = [float(sd) for sd in np.sqrt(np.diag(covariance))[:2]]
        how = "corrected"
        if self._frame.turns:
            sd_deg = self._frame.turn_uncertainty_deg(covariance)
            how += f" along with the rotation ({self._frame.turn_deg(point):+.2f} ± {sd_deg:.2g}°)"
        numbers = ", ".join(f"{value:z.2f} ± {sd:.2f}" for value, sd in zip(drift_A, sd_A, strict=True))
        reason = f"drift ({numbers}) Å along slow and fast axis: {how}, found with the refined object"
        earlier = earlier or Drift((0.0, 0.0), (0.0, 0.0), math.nan, math.nan, False, NO_DRIFT)
        return replace(earlier, drift_A=drift_A, uncertainty_A=(sd_A[0], sd_A[1]), applied=True, reason=reason)

    def _words(self) -> str:
        """How lattice and object show a drift that the continued object confirms."""
        if self._evidence is not None and self._evidence.is_enough:
            return f"lattice and refined object show it ({self._evidence})"
        return f"the object refined without it shows it, as lattice and refined object had suggested ({self._evidence})"


def _is_shown(slopes: Slopes) -> bool:
    """Whether slopes are beyond doubt."""
    return slopes.chi_squared > SHOWN * len(slopes.falls) * slopes.doubt**2


def _found(drift: Drift) -> str:
    """The drift itself, from the reason that the trials gave."""
    return drift.reason.split(": ", 1)[0]


def _may_turn(nominal: Dataset, preset: Preset) -> bool:
    """Whether the rotation is open: nobody stated it, nor an input that is tied to the orientation of the scan."""
    tied = preset.start.start_object, preset.start.start_positions, preset.probe.start_probe
    return nominal.calibration.origin("rotation_deg") in FOUND and all(value is None for value in tied)
