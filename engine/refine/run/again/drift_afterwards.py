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

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import COARSEST, HINT, Drift, is_too_coarse, taken_A
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run.again.continuation import (
    Continuation,
    DeferredEnd,
    FinishedRun,
    RunEnvironment,
    is_as_low,
    may_be_followed,
    undo,
)
from ptylive.engine.refine.run.again.drift_evidence import DriftEvidence, missed_by
from ptylive.engine.refine.run.again.drift_search import FAILURES, DriftSearch
from ptylive.engine.refine.run.again.scan_correction import ScanCorrection, UncorrectedScan, drift_may_show, following
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import Slopes, StrainedScan
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.errors import PtyliveError, StoppedError
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset

MOST_STEPS = 4
"""Maximum number of corrections, each of which takes as long as the first run."""
WORTH_A_RUN = 0.05
"""Step, as a share of the resolution, that is worth another complete run: the first one is often half of what is left,
and a drift of a tenth matters little."""
ALIGNED = 0.87
"""Cosine between the first step and the lattice's drift, in the metric of the curvature, from which the drift is tried
before the step."""


def drift_is_tested(measured: Measurement, nominal: Dataset, preset: Preset) -> bool:
    """Whether a run with these settings, all decided, is tested for drift when it has ended."""
    return may_be_followed(preset) and drift_may_show(measured, nominal, preset)


@dataclass(frozen=True)
class CorrectedRun:
    """A run, or one that followed it with another correction of the drift."""

    result: RefineResult
    measured: Measurement
    continued: bool
    """Whether it is one that followed."""
    turn_deg: float
    """Rotation that was added along with the drift."""

    def tuned(self, before: Tuned) -> Tuned:
        """The data set and orientation that the run began with, with what was corrected along."""
        return following(before, self.turn_deg, self.measured)


def continued_without_drift(
    first: FinishedRun,
    environment: RunEnvironment,
    end: DeferredEnd,
    *,
    epochs: int | None = None,
    searched: bool = False,
) -> CorrectedRun:
    """Refine a scan again without the drift that its object shows, if it shows any.

    ``end``: of the first run; discarded if the end of one that follows is reported instead. ``epochs``: total number
    that a resumed run which follows shall have; None: it ends by itself. ``searched``: whether short runs have already
    been searched for the drift, so that little may be left of it. Whatever prevents a run that follows, the best
    so far is returned; raises only what prevents its further epochs.
    """
    correction = _DriftCorrection(first, environment, end, searched=searched)
    try:
        search = correction.begin()
        while search is not None:
            search = correction.advance(search)
    except StoppedError:
        pass  # what was refined stands
    except FAILURES as error:  # the finished run is worth more
        unsaid = "not enough memory" if isinstance(error, MemoryError) else "its slopes depend on each other"
        correction.give_up(error.line() if isinstance(error, PtyliveError) else unsaid)
    return correction.finish(epochs)


@dataclass(frozen=True)
class _Candidate:
    """A finished run at a point of the search."""

    run: FinishedRun
    end: DeferredEnd
    point: DoubleArray
    """(n,) parameters of its :class:`ScanStrains`, Å."""
    continuation: Continuation | None = None
    """How it followed another; None: it is the first run."""


class _DriftCorrection:
    """The search from run to run; of the runs made, the best so far is kept."""

    def __init__(self, first: FinishedRun, environment: RunEnvironment, end: DeferredEnd, *, searched: bool) -> None:
        measured = first.problem.measured
        strains = ScanStrains.of(
            first.nominal,
            environment.preset,
            keeps_rotation=environment.keeps_rotation,
            keeps_optics=environment.keeps_optics,
        )
        assert strains is not None  # noqa: S101  (drift_is_tested)
        self._environment, self._context = environment, environment.context
        self._strains, self._searched = strains, searched
        self._best = _Candidate(first, end, self._strains.point_of(taken_A(measured.drift)))
        self._least_chi_squared = math.inf
        """Chi-squared of the slopes at the end of the best run."""
        self._shown = False
        """Whether the slopes of the first object are beyond doubt."""
        self._evidence: DriftEvidence | None = None
        """Of lattice and first object, for a drift that trials left alone."""
        self._uncorrected = first.problem
        """Problem of the first run, with the reason of its drift: each correction replaces those before it."""
        self._resolution_A = 1 / measured.probe.semiangle_invA
        self._steps = 0
        """Number of runs that followed the first."""
        self._stopped = ""
        """Message of a run that was stopped."""
        self._failed = False
        """Whether a run, or the test of its object, could not be made."""

    def begin(self) -> DriftSearch | None:
        """Begin the search if the object shows a drift, or lattice and object together one that trials left alone."""
        self._context.before("the drift's strain on the refined object")
        run = self._best.run
        scan, drift = self._strained(run), run.problem.measured.drift
        slopes = scan.slopes(self._strains.directions)
        possible = drift is not None and not drift.applied and drift.deviations > HINT
        slopes = scan.with_even(slopes, self._strains.directions) if possible or slopes.are_beyond_doubt else slopes
        self._shown, self._least_chi_squared = slopes.are_beyond_doubt, slopes.chi_squared
        if drift is not None and possible:
            self._evidence = self._evidence_of(drift, slopes)
        if remark := self._remark_on_none(run):
            self._say(remark)
            return None
        search = self._search(scan, slopes)
        if drift is not None and self._evidence is not None:
            lead = self._strains.point_of(drift.drift_A)
            trusted = self._evidence.is_enough and search.leads_towards(lead) > ALIGNED
            if trusted or not self._shown:
                return search.leading_to(lead)
        if self._strains.are_of_rotation(slopes):
            search = self._of_rotation_first(scan, search)
        if not self._is_settled(search):
            return search
        self._say(self._remark_on_rest(search))
        return None

    def _search(self, scan: StrainedScan, slopes: Slopes) -> DriftSearch:
        """A search that begins at the end of the first run, with slopes in all parameters."""
        several, held = self._environment.preset.object.slices > 1, scan.curvatures(self._strains.directions)
        return DriftSearch.begin(self._best.point, slopes, held, scan.probe, several=several)

    def _of_rotation_first(self, scan: StrainedScan, search: DriftSearch) -> DriftSearch:
        """A search for the rotation alone, which explains the slopes, if its first step is worth a run."""
        drift_A = taken_A(self._best.run.problem.measured.drift)
        all_strains, best = self._strains, self._best
        self._strains = all_strains.with_kept_drift(drift_A)
        self._best = replace(best, point=self._strains.point_of(drift_A))
        slopes = scan.slopes(self._strains.directions)
        of_rotation = self._search(scan, slopes)
        if self._is_settled(of_rotation):
            self._strains, self._best = all_strains, best
            return search
        self._least_chi_squared = slopes.chi_squared
        return of_rotation

    def advance(self, search: DriftSearch) -> DriftSearch | None:
        """Refine with the next correction, and keep the run if it is better; None if that was the last one."""
        if self._steps == MOST_STEPS or self._is_settled(search):
            return None
        candidate = self._refined_at(search.point + search.step, search)
        if candidate is None:
            return None
        slopes = self._slopes_of(candidate, search)
        if search.lead is None:
            better = self._is_better(candidate, slopes)
        else:
            better = self._is_confirmed(candidate, search.slopes, slopes)
        if better:
            self._best.end.forget()
            self._best, self._least_chi_squared = candidate, slopes.chi_squared
        else:
            self._restore_files()
        goes_on = better or (self._shown and not self._searched)
        return search.then(candidate.point, slopes) if goes_on else None

    def give_up(self, why: str) -> None:
        """Keep the best run, because nothing further could be tested; ``why``: in words."""
        self._restore_files()
        self._failed = True
        self._say(f"; the refined object could not be tested for it: {why}")

    def finish(self, epochs: int | None) -> CorrectedRun:
        """The best run, continued to that total number of epochs if it followed another and they are given."""
        continuation = self._best.continuation
        if self._steps and continuation is None and self._shown and not (self._stopped or self._failed):
            self._say(f"; the refined object shows {self._unremoved}")
        result, problem, end = self._best.run.result, self._best.run.problem, self._best.end
        if self._stopped:  # what has ended is worth more than what has only begun
            end.forget()
            result = replace(result, state="stopped", message=self._stopped)
        elif epochs is not None and continuation is not None:
            end.forget()
            end = end.another()
            result = continuation.lengthened(problem, end, epochs)
        end.release()
        turn_deg = self._strains.turn_deg(self._best.point)
        return CorrectedRun(result, problem.measured, continuation is not None, turn_deg)

    @property
    def _unremoved(self) -> str:
        """What the best run's object shows, though none without it is better, in words."""
        if self._strains.kept_drift_A is not None:
            return "another rotation, but is no better with it"
        which = "one" if self._best.run.problem.measured.drift is None else "another"
        return f"{which}, but is no better without it"

    def _evidence_of(self, drift: Drift, slopes: Slopes) -> DriftEvidence:
        """Evidence for a drift of the lattice."""
        gain, unsure = slopes.along(self._strains.without_turn(drift.drift_A))
        gain = gain / unsure if unsure > 0 else 0.0
        return DriftEvidence(drift.deviations, gain, self._environment.preset.object.slices > 1)

    def _remark_on_none(self, run: FinishedRun) -> str:
        """What is remarked if neither object nor lattice shows a drift; empty if one of them does."""
        if self._shown:
            return ""
        if self._evidence is None:
            drift = run.problem.measured.drift
            return f"; the refined object {'confirms it' if drift is not None and drift.applied else 'shows none'}"
        if self._evidence.is_worth_trying(run.result.loss_over_noise):
            return ""
        return f", and lattice and refined object do not show it either ({self._evidence})"

    def _remark_on_rest(self, search: DriftSearch) -> str:
        """What is remarked if the first object shows a drift that is not corrected."""
        if search.step_share >= WORTH_A_RUN:
            return "; the refined object shows more than a scan may drift"
        removed = taken_A(self._best.run.problem.measured.drift) != (0.0, 0.0)
        return f"; the refined object {'confirms it' if removed else 'shows none'} within a twentieth of the resolution"

    def _is_settled(self, search: DriftSearch) -> bool:
        """Whether another step is not worth its time: one that lattice and object suggested needs slopes of its own."""
        if search.lead is not None:
            return False
        if not (self._shown or search.slopes.are_beyond_doubt) or search.slopes.may_be_noise:
            return True
        return search.step_share < WORTH_A_RUN or not self._strains.are_possible(search.point + search.step)

    def _refined_at(self, point: DoubleArray, search: DriftSearch) -> _Candidate | None:
        """Refine from the start with the drift of a point (n,) removed, Å; None if that was stopped or failed."""
        self._steps += 1
        run = self._best.run
        continuation = Continuation(run, self._environment, self._steps)
        scan = UncorrectedScan(run.nominal, self._strains, run.begin)
        uncorrected, correction = self._uncorrected, self._correction_at(point, search)
        problem = correction.problem(uncorrected, scan, self._environment, uncorrected.strategy.epochs)
        end = self._best.end.another()
        result, ended = continuation.refined(problem, end)
        if ended is None:
            self._stopped = result.message if result.state == "stopped" else ""
            self._restore_files()
            return None
        return _Candidate(ended, end, point, continuation)

    def _correction_at(self, point: DoubleArray, search: DriftSearch) -> ScanCorrection:
        """The correction that a point (n,) of the search stands for, Å."""
        drift = self._best.run.problem.measured.drift
        if search.lead is not None and drift is not None and self._evidence is not None:
            return ScanCorrection.of_lattice(drift, self._evidence, self._strains.optics_at(point))
        return ScanCorrection.at(point, search.uncertainty, self._strains, drift)

    def _slopes_of(self, candidate: _Candidate, search: DriftSearch) -> Slopes:
        """Slopes at the end of a candidate's run. Raises StoppedError, and the best run so far stays the best."""
        try:
            self._context.before("the drift's strain on the object refined without it")
            scan = self._strained(candidate.run)
            slopes = scan.slopes(self._strains.directions)
            return slopes if self._evidence is None else scan.with_even(slopes, self._strains.directions)
        except StoppedError:
            self._restore_files()
            if search.lead is not None and not self._shown:
                why = "the run was stopped before the object refined without it was tested"
                self._say(f"{self._suggestion}, but {why}")
            raise

    def _is_better(self, candidate: _Candidate, slopes: Slopes) -> bool:
        """Whether a run ends with about the loss of the best one, and with smaller slopes."""
        as_low = is_as_low(candidate.run.result, self._best.run.result, nearby=self._searched)
        return as_low and slopes.chi_squared < self._least_chi_squared

    def _is_confirmed(self, candidate: _Candidate, before: Slopes, after: Slopes) -> bool:
        """Whether the object refined without the lattice's drift does not want it back."""
        assert self._evidence is not None  # noqa: S101  (of the lead)
        drift = self._strains.without_turn(self._strains.drift_A(candidate.point))
        missed = missed_by(before, after, drift, sure=self._evidence.is_enough)
        if missed is not None and not self._shown:
            back = f"the object refined without it prefers it back, by {missed:.1f} standard deviations"
            self._say(f"{self._suggestion}, but {back}")
        return missed is None

    @property
    def _suggestion(self) -> str:
        """What lattice and object show, in words."""
        assert self._evidence is not None  # noqa: S101  (of the lead)
        return f", lattice and refined object {'show' if self._evidence.is_enough else 'suggest'} it ({self._evidence})"

    def _strained(self, run: FinishedRun) -> StrainedScan:
        return StrainedScan(run.problem, run.vector, self._environment.preset, self._context)

    def _say(self, remark: str) -> None:
        """Append to the reason of the best run's drift what the refined object says of it."""
        self._best = replace(self._best, run=self._best.run.with_drift_remark(remark, self._unmeasured_before))

    @property
    def _unmeasured_before(self) -> str:
        """Why only the refined object shows whether this scan drifts, if only that does."""
        coarse = is_too_coarse(self._strains.lattice, 1 / self._resolution_A)
        why = f"steps are above {COARSEST} λ/α" if coarse else "too few frequencies of the scan have signal"
        return f"drift: before the run it could not be measured ({why})"

    def _restore_files(self) -> None:
        """Give the loss table and the snapshots back to the best run."""
        log = self._best.run.log
        undo(self._environment.observers, log, len(log.losses))
