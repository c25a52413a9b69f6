"""The drift that objects of a few sweeps show: it is removed before the run.

The slopes of the loss in a strain of positions and object together
(:mod:`~ptylive.engine.refine.run.again.strained_scan`) show a drift long before an object is complete, since they
compare an object with itself, and what it still lacks fits either strain alike. After four sweeps they are as many
standard deviations as at the end of a run, and vanish at the same drift. So the search
(:mod:`~ptylive.engine.refine.run.again.drift_search`) is made with refinements of four sweeps, each from the start of
the run, and the run continues the one that is left without slopes: if there is no drift, that is the first. When it has
ended, its object is tested once more (:mod:`~ptylive.engine.refine.run.again.drift_afterwards`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine.data.drift import taken_A
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.refinement_result import Progress
from ptylive.engine.refine.run.again.continuation import RunEnvironment, is_plain, with_drift_remark
from ptylive.engine.refine.run.again.drift_search import FAILURES, DriftSearch
from ptylive.engine.refine.run.again.scan_correction import (
    NONE_BEYOND,
    ScanCorrection,
    UncorrectedScan,
    drift_may_show,
    following,
)
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import Slopes, StrainedScan
from ptylive.engine.refine.run.checkpoint import Checkpoint
from ptylive.engine.refine.run.refinement import Refinement, StopRequested
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.orientation import start_turned
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.model import Array, DoubleArray

SWEEPS = 4
"""Sweeps of a short run."""
MOST_STEPS = 6
"""Maximum number of corrections; in a run of fewer than 12 epochs, half as many as epochs."""
UNSETTLED = f"; objects of {SWEEPS} sweeps show another, but no correction removes it"
UNSETTLED_BEYOND = ": they show a drift beyond that, but no correction removes it"
ROUNDED = 3
"""Decimals of a correction, Å: a resumed run repeats the search, and has to begin with the same positions, though sums
over threads differ in their last digits."""


@dataclass(frozen=True)
class Beginning:
    """The problem of a run, and what short runs have already done of it."""

    problem: Problem
    tuned: Tuned
    """Data set and settings, with the rotation and the optics that were corrected along."""
    context: TrialContext
    """With its start turned likewise."""
    state: Checkpoint | None = None
    """State to continue from; None: the run begins at its start."""
    searched: bool = False
    """Whether short runs were made."""


def without_drift_of_short_runs(
    problem: Problem,
    tuned: Tuned,
    environment: RunEnvironment,
    begin: Callable[[Problem], Problem],
    resumed: Checkpoint | None = None,
) -> Beginning:
    """Remove the drift that short runs show beyond doubt, if their search settles, before a run.

    ``tuned``: data set and settings of the problem, all decided. ``begin`` gives a problem on other positions the start
    that this one has. A run that is ``resumed`` is searched as it was before, so that its positions are the same.
    Whatever prevents the search, also a stop, leaves a run that is not resumed as it is; it goes on from the first
    short run, if that was made.
    """
    strains, nominal, preset = ScanStrains.of(tuned.dataset, environment.preset), tuned.dataset, environment.preset
    strategy, context = problem.strategy, environment.context
    unsearched = Beginning(problem, tuned, context)
    long = strategy.sweeps >= SWEEPS and strategy.epochs >= 2 * SWEEPS  # short runs are short beside it
    possible = is_plain(problem.layout) and drift_may_show(problem.measured, nominal, preset)
    if strains is None or not possible or not (long if resumed is None else resumed.searched):
        return unsearched
    search = _Search(UncorrectedScan(nominal, strains, begin), environment)
    try:
        first = search.refined(problem)
        unsearched = replace(unsearched, state=first.state)
        run, turn_deg = search.ended(first)
    except StopRequested:
        if resumed is not None:
            context.pause()  # raises StoppedError: the checkpoint is on other positions
        return unsearched
    except FAILURES:
        if resumed is not None:
            raise
        return unsearched
    tuned = following(tuned, turn_deg, run.problem.measured)
    context = replace(context, start=start_turned(context.start, turn_deg))
    return Beginning(run.problem, tuned, context, run.state, searched=True)


@dataclass(frozen=True)
class _ShortRun:
    """The first sweeps of a run."""

    problem: Problem
    """With its start."""
    state: Checkpoint | None
    """State to continue the run from; None: it has to begin at its start."""
    vector: Array | None
    """(n,) parameters after the sweeps; None: they are not finite."""


def _with_drift_beyond(run: _ShortRun) -> _ShortRun:
    """The short run with a corrected rotation, after which a drift shows that remains unless another run removes it."""
    strategy = run.problem.strategy
    strategy = replace(strategy, reason=strategy.reason.replace(NONE_BEYOND, UNSETTLED_BEYOND))
    return replace(run, problem=replace(run.problem, strategy=strategy))


@dataclass(frozen=True)
class _Search:
    """The search from one short run to the next."""

    scan: UncorrectedScan
    environment: RunEnvironment

    def refined(self, problem: Problem) -> _ShortRun:
        """The first sweeps of a problem's run. Raises StoppedError or StopRequested if a stop is requested."""
        context, observers = self.environment.context, self.environment.observers
        context.before(f"{SWEEPS} sweeps, for a drift that they show")
        keeps_snapshots = observers.history is not None  # also of the first epochs, which are not observed here
        observed = replace(observers.silent(), on_progress=self._tell)
        with closing(open_backend(context.backend, problem.multislice, context.threads)) as backend:
            run = Refinement(problem, self.environment.preset, backend, observed)
            state = run.first_epochs(SWEEPS)
        vector = state.state.vector
        return _ShortRun(problem, None if keeps_snapshots else state, vector if np.isfinite(vector).all() else None)

    def ended(self, first: _ShortRun) -> tuple[_ShortRun, float]:
        """The short run without slopes, and the angle by which its scan was turned; the first if there is none.

        If the rotation explains the slopes, it is corrected first, and a drift only if one is shown then.
        """
        strains = self.scan.strains
        if (scan := self._strained(first)) is None or not (slopes := self._slopes(scan)).are_beyond_doubt:
            return first, 0.0
        drift_A = taken_A(first.problem.measured.drift)
        search = self._begun(strains.point_of(drift_A), scan, slopes, strains)
        if strains.are_of_rotation(slopes):
            kept = strains.with_kept_drift(drift_A)
            of_rotation = self._begun(kept.point_of(drift_A), scan, scan.slopes(kept.directions), kept)
            if not of_rotation.is_settled:
                strains, search = kept, of_rotation
        settled: tuple[_ShortRun, float] | None = None
        for _ in range(min(MOST_STEPS, first.problem.strategy.epochs // 2)):
            point = np.round(search.point + search.step, ROUNDED)
            if search.is_settled or not strains.are_possible(point):
                break
            del scan  # splines of all slices, which would be held twice
            run = self.refined(self._corrected(first.problem, point, search, strains))
            if (scan := self._strained(run)) is None:
                break
            search = search.then(point, scan.slopes(strains.directions))
            if not search.is_settled:
                continue
            settled = run, strains.turn_deg(point)
            if strains.kept_drift_A is None:
                break
            strains, slopes = self.scan.strains, self._slopes(scan)
            if not slopes.are_beyond_doubt or strains.are_of_rotation(slopes):
                break
            search = self._begun(np.concatenate([drift_A, point]), scan, slopes, strains)
            settled = settled if search.is_settled else (_with_drift_beyond(run), settled[1])
        unsettled = replace(first, problem=with_drift_remark(first.problem, UNSETTLED)), 0.0
        return unsettled if settled is None else settled

    def _slopes(self, scan: StrainedScan) -> Slopes:
        """Slopes in all parameters, with the even stretch if it matters."""
        directions = self.scan.strains.directions
        slopes = scan.slopes(directions)
        return scan.with_even(slopes, directions) if slopes.are_beyond_doubt else slopes

    def _begun(self, point: DoubleArray, scan: StrainedScan, slopes: Slopes, strains: ScanStrains) -> DriftSearch:
        """A search in some of the parameters, from a point (n,) with these slopes."""
        several = self.environment.preset.object.slices > 1
        held = scan.curvatures(strains.directions)
        return DriftSearch.begin(point, slopes, held, scan.probe, several=several)

    def _corrected(self, problem: Problem, point: DoubleArray, search: DriftSearch, strains: ScanStrains) -> Problem:
        """The problem with the correction that a point (n,) of the search in ``strains`` stands for, Å."""
        found_with = f"objects of {SWEEPS} sweeps"
        correction = ScanCorrection.at(point, search.uncertainty, strains, problem.measured.drift, found_with)
        scan = replace(self.scan, strains=strains)
        return correction.problem(problem, scan, self.environment, problem.strategy.epochs)

    def _strained(self, run: _ShortRun) -> StrainedScan | None:
        """The scan of a short run, to be strained; None if it has diverged."""
        if run.vector is None:
            return None
        return StrainedScan(run.problem, run.vector, self.environment.preset, self.environment.context)

    def _tell(self, progress: Progress) -> None:
        """Report the sweeps of a short run as a trial."""
        self.environment.context.tell(f"{SWEEPS} sweeps, for a drift that they show ({progress.epoch} made)")
