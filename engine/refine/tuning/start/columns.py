"""Start of a thick crystal from the columns that a single slice shows, if held-out patterns prefer it.

Columns of heavy atoms shift the phase by many radians. From an empty object of several slices such a crystal can be
refined into a wrong minimum, often its own negative: maxima lie between the columns, and neither more sweeps nor other
steps lead out of it. One slice in place of all is a poor model of it, but at first a linear one, like a direct method,
and shows where columns are: by its modulus, since they scatter electrons out of what one slice explains, or by its
phase, of either sign, depending on the focus and on how often the phase has wrapped. Held-out patterns decide between
these images: each is sharpened into peaks of a phase, the same in all slices, and refined for some sweeps; one that
predicts better than the object that started empty becomes the start. Columns may also reach the same minimum as the
empty object, only sooner, or may not have moved far enough to tell. Unclear cases are judged once more in trials as
long as the run's sweeps, followed by L-BFGS: two objects on their way to one minimum then approach each other; in two
minima they keep their distance. (Charge flipping, Oszlányi and Sütő 2004, leaves false minima of crystals in a similar
way: it inverts what is weak.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from ptylive.engine.backend.device import on_host
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS, may_be_tried, modes_for_several
from ptylive.engine.refine.tuning.optics.freed_optics import with_optics_moved
from ptylive.engine.refine.tuning.optics.settled_modes import AS_LONG
from ptylive.engine.refine.tuning.start.goodness_of_fit import loss_over_noise
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.trial_settings import in_one_slice
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.words import significant
from ptylive.schema.model import Array, ComplexArray, DoubleArray

PATTERNS = 512
"""Number of patterns in the middle of the scan; the start that wins is computed anew on all of it."""
SWEEPS = 4
"""Sweeps of one slice, and of the object that starts empty before it is compared."""
STAGES = ((1, -0.8, 3), (2, -0.35, 2), (4, -0.05, 2), (8, -math.inf, 1))
"""Sweeps of a start, the gain below which it is then given up, and how many starts are kept: those that eventually
predicted better by a tenth were above -0.48, -0.19 and -0.02 by then, and among the first two or three
(docs/measured/automatic/columns.md)."""
WORTH, BEYOND_DOUBT = 0.1, 4.0
"""Share and standard deviations by which a start must predict better."""
FIRST_LOOK = 2
"""Number of sweeps after which noise may already explain an empty object."""
LEAST_NOISE = 0.9
"""Least ratio of loss to counting noise: for a smooth model of few counts the noise is overestimated by up to 0.04."""
SAME, COARSE = 0.975, 6.0
"""Correlation above which columns have become a given object, and the blur that is subtracted, in units of ``BLUR``:
0.985 and more where a whole run from them ends in the same object, 0.97 and less where it may not
(docs/measured/automatic/columns.md)."""
CLEAR = 0.2
"""Gain that is accepted after few sweeps; a smaller or uncertain one is judged by longer trials."""
EPOCHS = 4
"""Epochs of L-BFGS after the sweeps of an automatic run, by which the rest is judged."""
KEPT = 0.95
"""Share of the lead of the columns after the sweeps that must remain after these epochs
(docs/measured/automatic/columns.md)."""
DEEP = 2.0
"""Depths of focus above which one slice is also examined one depth of focus out of focus."""
PEAK_RAD, POWER = 5.0, 2.0
"""Phase of the highest peaks, in all slices together, and the power that sharpens them: peaks half as high do not reach
the right minimum; twice as high, or sharper, they do as well."""
BLUR = 0.5
"""Standard deviation of the preceding blur, in units of the aperture's resolution, wavelength over twice the
semi-angle: finer detail after a few sweeps is noise."""
LOWEST, HIGHEST = 1.0, 99.5
"""Percentiles used as the level between the columns and as their height."""
NEAR = 1.5
"""Distance, in units of the distance between positions, within which a pixel counts as fully lit."""
COMPLEX_SLICE = {
    "phase_only_obj": False,
    "weakly_damped_obj": False,
    "non_negative_phase": False,
    "probe_modes": 1,
}


NONE = Gain(-math.inf, 0.0)
"""Gain of columns that were not tried."""


class Image(StrEnum):
    """Image of one slice that is interpreted as columns, in words."""

    DARK = "the negative of its modulus"
    PHASE = "its phase"
    NEGATIVE = "the negative of its phase"

    def of(self, transmission: ComplexArray) -> DoubleArray:
        """The image (Y, X) of a transmission, with bright columns."""
        if self is Image.DARK:
            return np.asarray(-np.abs(transmission), dtype=np.float64)
        phase = np.angle(transmission)
        return np.asarray(phase if self is Image.PHASE else -phase, dtype=np.float64)


def with_columns(tuned: Tuned, context: TrialContext, *, sooner: bool = False) -> Tuned:
    """Start from the columns that one slice shows, if that predicts better beyond doubt.

    ``sooner``: also if they may only reach the minimum of the empty object sooner.
    """
    return _with_columns_found(tuned, context, sooner=sooner)[0]


def columns_of_some_depth(candidates: Iterable[Tuned], context: TrialContext) -> WarmStart | None:
    """Columns that the first successful candidate, in order of rising depth, starts from, also if only sooner.

    Through part of its depth, columns of a thick crystal lead an empty object, but not by far; through less, they may
    still trail it a little. So a second depth is tried if they trail by less than ``WORTH`` and not beyond doubt, and
    further ones only if they lead. (Through a third of 204 Å of SrTiO3 they trail by 9 ± 3 %, through 0.6 of it they
    lead by 8 %; sheets and particles trail by 100 % and more, with few electrons by 15 ± 3 or 0.31 ± 0.03 %.)
    """
    for tried, candidate in enumerate(candidates):
        found, lead = _with_columns_found(candidate, context, sooner=True)
        if found.warm_start is not None:
            return found.warm_start
        far_behind = lead.share < -WORTH or lead.opposite.exceeds(BEYOND_DOUBT)
        if not lead.certain and (tried > 0 or far_behind):
            break
    return None


def _with_columns_found(tuned: Tuned, context: TrialContext, *, sooner: bool) -> tuple[Tuned, Gain]:
    """See :func:`with_columns`; also return the last gain of the best columns."""
    if not _is_open(tuned):
        return tuned, NONE
    part = context.cache.central_part(tuned.dataset, PATTERNS)
    best, lead = _best(Tuned(part, tuned.preset), context)
    gain = None if best is None else _accepted_gain(best, context, sooner=sooner)
    if best is None or gain is None:
        return tuned, lead
    why = f"held-out patterns are predicted better, by {gain}"
    return replace(tuned, warm_start=_columns_of(best, tuned, context, why)), lead


def likeliest_columns(
    tuned: Tuned, context: TrialContext, unlike: WarmStart
) -> Callable[[Dataset, str], WarmStart] | None:
    """Columns that predict held-out patterns best after the sweeps of a run, from each start without a head start.

    The settings are those of the run, all decided: the order that starts have then is that of whole runs
    (docs/automatic/columns.md). Returns a function that makes the columns from a data set and says why; None if an
    empty object is better, if the columns have become the object ``unlike``, or if none can be tried.
    """
    if not _is_open(tuned):
        return None
    part, slices = context.cache.central_part(tuned.dataset, PATTERNS), tuned.preset.object.slices
    empty = Trial.of(part, tuned.preset.model_copy(update=TRIAL_SETTINGS | AS_LONG), context)
    starts = _starts(Tuned(part, tuned.preset), empty, context)
    context.before(f"an empty object in {slices} slices, all sweeps")
    (reference,) = empty.lbfgs_losses((0,), context)
    least, best = reference.mean, None
    for start in starts:
        context.before(f"columns in {slices} slices, all sweeps")
        vector, loss = _after_all_sweeps(start.trial, context)
        if loss.mean < least:
            least, best = loss.mean, (start, vector)
    if best is None or _similarity(best[0].trial.problem, best[1], unlike) > SAME:
        return None
    return lambda dataset, why: _columns_of(best[0], replace(tuned, dataset=dataset), context, why)


def _after_all_sweeps(trial: Trial, context: TrialContext) -> tuple[Any, HeldOutLoss]:
    """Parameters after all sweeps of a run, and their held-out loss."""
    with closing(open_backend(context.backend, trial.problem.multislice, context.threads)) as backend:
        vector = trial.parameters_after(backend, trial.problem.strategy.sweeps)
        return on_host(vector), HeldOutLoss(trial.held_out_losses(trial.objective(backend), vector))


def _similarity(problem: Problem, vector: Array, other: WarmStart) -> float:
    """Correlation of the phase of all slices with that of another object, within the scanned area.

    Both are taken between the resolution of the aperture and a few times as much: the mean and slow changes of the
    phase converge last.
    """
    from scipy.ndimage import gaussian_filter

    grid = problem.grid
    fine_px = BLUR / (2 * problem.measured.probe.semiangle_invA * grid.pixel_A)
    lit = _lit(grid, problem.measured.dataset)

    def detail(transmission: ComplexArray) -> DoubleArray:
        phase = np.angle(transmission[0]).sum(axis=0, dtype=np.float64)
        return np.asarray((gaussian_filter(phase, fine_px) - gaussian_filter(phase, COARSE * fine_px))[lit])

    return float(np.corrcoef(detail(problem.layout.to_complex(vector)[0]), detail(other.resampled(problem)))[0, 1])


def _columns_of(best: _Start, tuned: Tuned, context: TrialContext, why: str) -> WarmStart:
    """The same columns from all patterns of a data set."""
    context.before("columns from all patterns")
    single_slice = _one_slice(tuned, best.defocused_A, context, held_out=False)
    start = peaks(single_slice, best.image.of(single_slice.transmission), tuned.preset.object.slices)
    return replace(start, words=f"started from the columns that one slice shows in {best.image}: {why}")


@dataclass(frozen=True)
class _Slice:
    """One slice in place of all."""

    transmission: ComplexArray
    problem: Problem


@dataclass(frozen=True)
class Settling:
    """Gain of a start over an empty object, both after the sweeps of an automatic run and some epochs later."""

    early: Gain
    late: Gain

    @property
    def is_another_minimum(self) -> bool:
        """Whether it is better and stays so; a start that is only sooner in the same minimum is caught up with."""
        return is_better(self.late) and self.late.share >= KEPT * self.early.share


@dataclass
class _Start:
    """A start during its trials."""

    image: Image
    defocused_A: float
    trial: Trial
    empty: Trial
    """The same trial with an empty start."""
    state: SweepState | None = None
    gain: Gain = NONE

    def swept(self, sweeps: int, reference: HeldOutLoss, context: TrialContext) -> None:
        """Sweep up to that number, and compare."""
        self.state, loss = self.trial.sweep_to(self.state, sweeps, STAGES[-1][0], context)
        self.gain = Gain.over(reference.groups, loss.groups)

    def settled(self, context: TrialContext) -> Settling:
        """Run both again from their start: neither is ahead of the other, as in the run."""
        several = f"in {self.trial.preset.object.slices} slices, longer trial"
        courses = []
        for trial, words in ((self.empty, "an empty object"), (self.trial, "columns")):
            context.before(f"{words} {several}")
            courses.append(list(trial.lbfgs_losses((0, EPOCHS), context)))
        return Settling(*(Gain.over(empty.groups, started.groups) for empty, started in zip(*courses, strict=True)))


def _accepted_gain(best: _Start, context: TrialContext, *, sooner: bool) -> Gain | None:
    """Gain of the best start, if it is used, in the trials that decide so.

    A start that trails after few sweeps is not used: starts that reached another minimum were ahead by then.
    """
    if is_better(best.gain) and (sooner or best.gain.share > CLEAR):
        return best.gain
    if best.gain.share <= 0:
        return None
    course = best.settled(context)
    return course.late if course.is_another_minimum else None


def _best(tuned: Tuned, context: TrialContext) -> tuple[_Start | None, Gain]:
    """Start that predicts held-out patterns best, compared with an empty one swept more often; None: all given up.

    Also returns its gain, or the best one when the last were given up. The empty one is SWEEPS ahead: as many as one
    slice takes. If it leaves nothing but noise, nothing is tried.
    """
    preset, several = tuned.preset, f"{tuned.preset.object.slices} slices"
    settings = preset.model_copy(update=TRIAL_SETTINGS | AS_LONG | {"probe_modes": modes_for_several(preset)})
    empty = Trial.of(tuned.dataset, settings, context)
    first = empty.enough_sweeps(SWEEPS)
    context.before(f"an empty object in {several}")
    state: SweepState | None = None
    for sweeps in (FIRST_LOOK, first + STAGES[0][0]):
        state, reference = empty.sweep_to(state, sweeps, first + STAGES[-1][0], context)
        if _is_explained(loss_over_noise(empty, state.vector, reference, context)):
            return None, NONE
    starts = _starts(tuned, empty, context)
    lead = NONE
    for sweeps, hopeless, followed in STAGES:
        context.before(f"an empty object and columns in {several}")
        state, reference = empty.sweep_to(state, first + sweeps, first + STAGES[-1][0], context)
        for start in starts:
            start.swept(sweeps, reference, context)
        starts = sorted(starts, key=lambda each: -each.gain.share)[:followed]
        lead = starts[0].gain if starts else NONE
        starts = [each for each in starts if each.gain.share > hopeless]
        if not starts:
            return None, lead
    return starts[0], lead


def _is_explained(over_noise: float | None) -> bool:
    """Whether a loss exceeds counting noise by less than a start would have to gain.

    Far below 1 the noise is not that of counted electrons, and nothing can be concluded.
    """
    return over_noise is not None and LEAST_NOISE < over_noise < 1 / (1 - WORTH)


def _starts(tuned: Tuned, empty: Trial, context: TrialContext) -> list[_Start]:
    """All starts that are tried."""
    depth_A = tuned.dataset.calibration.depth_of_focus_A
    thick = depth_A is not None and sum(tuned.preset.object.slice_thickness_A) > DEEP * depth_A
    starts: list[_Start] = []
    for defocused_A in (0.0, depth_A) if depth_A is not None and thick else (0.0,):
        context.before(
            "one slice instead of all" + (f", {significant(defocused_A, 3)} Å out of focus" if defocused_A else "")
        )
        single_slice = _one_slice(tuned, defocused_A, context)
        for image in Image:
            start = peaks(single_slice, image.of(single_slice.transmission), tuned.preset.object.slices)
            starts.append(_Start(image, defocused_A, replace(empty, problem=start.applied(empty.problem)), empty))
    return starts


def _one_slice(tuned: Tuned, defocused_A: float, context: TrialContext, *, held_out: bool = True) -> _Slice:
    """One complex slice after some sweeps, at the entrance surface or defocused in front of it."""
    dataset = with_optics_moved(tuned.dataset, {"C10": -defocused_A}) if defocused_A else tuned.dataset
    plain_context = replace(context, start=None, warm_start=None)
    trial = Trial.of(dataset, in_one_slice(tuned.preset, TRIAL_SETTINGS | COMPLEX_SLICE), plain_context)
    problem = trial.problem
    trial = trial if held_out else replace(trial, swept=np.arange(problem.multislice.count))
    with closing(open_backend(context.backend, problem.multislice, context.threads)) as backend:
        transmission, _ = problem.layout.to_complex(on_host(trial.parameters_after(backend, SWEEPS)))
    return _Slice(transmission[0, 0], problem)


def peaks(single_slice: _Slice, image: DoubleArray, slices: int) -> WarmStart:
    """Convert an image with bright columns to phase peaks, the same in all slices."""
    from scipy.ndimage import gaussian_filter

    grid, measured = single_slice.problem.grid, single_slice.problem.measured
    soft = gaussian_filter(image, BLUR / (2 * measured.probe.semiangle_invA * grid.pixel_A))
    lit = _lit(grid, measured.dataset)
    lowest, highest = np.percentile(soft[lit], (LOWEST, HIGHEST))
    bright = np.clip((soft - lowest) / max(highest - lowest, 1e-9), 0.0, None) ** POWER * lit
    transmission = np.exp(1j * PEAK_RAD / slices * bright).astype(np.complex64)
    origin = (float(grid.origin_A[0]), float(grid.origin_A[1]))
    return WarmStart(transmission[None, None].repeat(slices, axis=1), grid.pixel_A, origin, over_map=True, words="")


def _lit(grid: ObjectGrid, dataset: Dataset) -> Array:
    """(Y, X) mask of the area that was scanned."""
    from scipy.spatial import cKDTree

    points_px = _of_one_scan(dataset, grid.pixel_A) / grid.pixel_A
    nearest, _ = cKDTree(points_px).query(points_px, k=[2])  # the first is the place itself
    pixels = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    distance_px, _ = cKDTree(points_px).query(pixels + np.asarray(grid.origin_A) / grid.pixel_A)
    return np.asarray(distance_px < NEAR * max(float(np.median(nearest)), 1.0))


def _of_one_scan(dataset: Dataset, pixel_A: float) -> DoubleArray:
    """Positions (n, 2) of the first of several scans of the same place, without duplicates."""
    positions_A = np.asarray(dataset.positions_A, dtype=np.float64)
    if dataset.scan_of is not None:
        positions_A = positions_A[dataset.scan_of == dataset.scan_of[0]]
    return np.asarray(pixel_A / 4 * np.unique(np.round(positions_A / (pixel_A / 4)), axis=0))


def _is_open(tuned: Tuned) -> bool:
    """Whether there are several slices without a given start, and enough patterns to try it."""
    preset = tuned.preset
    start = preset.start
    given = start.start_object or start.start_phase_image or start.start_amplitude_image
    fixed = given or preset.solver.optimizer in PUBLISHED or not preset.refined.update_obj
    return preset.object.slices > 1 and not fixed and may_be_tried(tuned.dataset, preset)


def is_better(gain: Gain) -> bool:
    """Whether a start with this gain is used."""
    return gain.exceeds(BEYOND_DOUBT) and gain.share > WORTH
