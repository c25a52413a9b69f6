"""The drift that objects of a few sweeps show: it is removed before the run.

The slopes of the loss in a strain of positions and object together
(:mod:`~ptylive.engine.refine.run.again.strained_scan`) show a drift long before an object is complete, since they
compare an object with itself, and what it still lacks fits either strain alike. After four sweeps they are as many
standard deviations as at the end of a run, and vanish at the same drift. So the search
(:mod:`~ptylive.engine.refine.run.again.drift_search`) is made with refinements of four sweeps, each from the start of
the run, and the run begins with the drift that they lead to. When it has ended, its object is tested once more
(:mod:`~ptylive.engine.refine.run.again.drift_afterwards`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import taken_A
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.refinement_result import Progress
from ptylive.engine.refine.run.again.continuation import FinishedRun, RunEnvironment, is_plain
from ptylive.engine.refine.run.again.drift_search import DriftSearch
from ptylive.engine.refine.run.again.scan_correction import ScanCorrection, drift_may_show, turned
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import StrainedScan
from ptylive.engine.refine.run.refinement import Refinement
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset

SWEEPS = 4
"""Sweeps of a short run."""
MOST_STEPS = 6
"""Maximum number of corrections."""
ROUNDED = 3
"""Decimals of a correction, Å: a resumed run repeats the search, and has to begin with the same positions, though sums
over threads differ in their last digits."""


def with_drift_of_short_runs(
    problem: Problem, tuned: Tuned, environment: RunEnvironment, begin: Callable[[Problem], Problem]
) -> tuple[Problem, Tuned]:
    """Remove the drift that short runs show beyond doubt, if their search settles, from a problem before its run.

    ``tuned``: data set and settings of the problem, all decided; turned if the rotation is corrected along. ``begin``
    gives a problem on other positions the start that this one has. Raises StoppedError if a stop is requested.
    """
    strains = ScanStrains.of(tuned.dataset, environment.preset)
    if strains is None or not _is_searched(problem, tuned.dataset, environment.preset):
        return problem, tuned
    corrected = _ShortRuns(problem, tuned.dataset, strains, environment, begin).search()
    if corrected is None:
        return problem, tuned
    correction, problem = corrected
    return problem, turned(tuned, correction.turn_deg, problem.measured)


def _is_searched(problem: Problem, nominal: Dataset, preset: Preset) -> bool:
    """Whether short runs are like the beginning of the run, and short beside it."""
    strategy = problem.strategy
    long = strategy.sweeps >= SWEEPS and strategy.epochs >= 2 * SWEEPS
    return long and is_plain(problem.layout) and drift_may_show(problem.measured, nominal, preset)


@dataclass(frozen=True)
class _ShortRuns:
    """The search from one short run to the next."""

    problem: Problem
    nominal: Dataset
    strains: ScanStrains
    environment: RunEnvironment
    begin: Callable[[Problem], Problem]

    def search(self) -> tuple[ScanCorrection, Problem] | None:
        """The correction that leaves no slopes, and the problem with it; None if there is none beyond doubt."""
        preset, strains = self.environment.preset, self.strains.strains
        run = self._refined(self.problem)
        if run is None:
            return None
        scan, first = self._strained(run), run
        slopes = scan.with_even(scan.slopes(strains))
        if not slopes.are_beyond_doubt:
            return None
        point = self.strains.point_of(taken_A(self.problem.measured.drift))
        resolution_A, several = 1 / self.problem.measured.probe.semiangle_invA, preset.object.slices > 1
        search = DriftSearch.begin(point, slopes, scan.curvatures(strains), resolution_A, several=several)
        for _ in range(MOST_STEPS):
            point = np.round(search.point + search.step, ROUNDED)
            if search.is_settled or not self.strains.are_possible(point):
                return None
            correction = self._correction(point, search)
            run = self._refined(self._corrected(first, correction))
            if run is None:
                return None
            search = search.then(point, self._strained(run).slopes(strains))
            if search.is_settled:
                return correction, self._corrected(first, correction)
        return None

    def _correction(self, point: DoubleArray, search: DriftSearch) -> ScanCorrection:
        """The correction that a point (n,) of the search stands for, Å."""
        drift, sweeps = self.problem.measured.drift, f"objects of {SWEEPS} sweeps"
        return ScanCorrection.at(point, search.uncertainty, self.strains, drift, sweeps)

    def _corrected(self, first: FinishedRun, correction: ScanCorrection) -> Problem:
        return correction.problem(first, self.strains, self.environment, self.problem.strategy.epochs)

    def _strained(self, run: FinishedRun) -> StrainedScan:
        return StrainedScan(run.problem, run.vector, self.environment.preset, self.environment.context)

    def _refined(self, problem: Problem) -> FinishedRun | None:
        """A short run from the start of a problem; None if it fails. Raises StoppedError if a stop is requested."""
        context, strategy = self.environment.context, problem.strategy
        context.before(f"{SWEEPS} sweeps, for a drift that they show")
        probe_sweeps = min(strategy.probe_sweeps, SWEEPS)
        short = replace(strategy, sweeps=SWEEPS, probe_sweeps=probe_sweeps, epochs=SWEEPS, more_epochs=0)
        preset = self.environment.preset.model_copy(update={"epoch_max": SWEEPS})
        observers = replace(self.environment.observers.silent(), on_progress=self._tell)
        with closing(open_backend(context.backend, problem.multislice, context.threads)) as backend:
            run = Refinement(replace(problem, strategy=short), preset, backend, observers)
            result = run.run(None)
            ended = FinishedRun.of(run, result, backend, self.nominal, self.begin)
        if ended is None:
            context.pause()  # a stop is the usual reason
            return None
        return replace(ended, problem=replace(ended.problem, strategy=strategy))

    def _tell(self, progress: Progress) -> None:
        """Report the sweeps of a short run as a trial."""
        if progress.state == "running":
            self.environment.context.tell(f"{SWEEPS} sweeps, for a drift that they show ({progress.epoch} made)")
