"""The start of a thick crystal by the negative of what was found first, where patterns held out prefer that.

Columns of heavy atoms shift the phase by many radians. From an empty object such a crystal can be refined into its own
negative: maxima lie between the columns, where the data term has a minimum of its own, and neither more sweeps nor
other steps lead out of it. The negative of that object, sharpened into peaks, lies near the right minimum. So after a
few sweeps the object is inverted, what becomes of that is refined as far, and patterns held out tell which of the two
is gone on with. (Charge flipping, Oszlányi and Sütő 2004, leaves false minima of crystals in a similar way: it turns
over what is weak.) Peaks of the object itself in place of its negative are no such start: where they predicted better
after a few sweeps, the end was better, the same, or far worse (docs/refinement.md).
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace

import numpy as np

from ptylive.engine.backend.device import on_host
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS, may_be_tried
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.engine.refine.tuning.warm_start import WarmStart
from ptylive.schema.model import Array, DoubleArray

PATTERNS = 512
SWEEPS = 4
"""Before the object is inverted."""
STAGES = ((1, -2.0), (2, -0.7), (4, -0.25), (8, -math.inf))
"""Sweeps of the inverted object, and the gain below which it is then given up. Where the other one was its negative the
gain was above -1.2, -0.36 and -0.13 by then, and rose to 0.24 and more; else it ended at -0.2 and below
(docs/refinement.md)."""
WORTH, BEYOND_DOUBT = 0.1, 4.0
"""Share and standard deviations by which it must predict better: 0.2 and seven of them, and more. Under a half turn
that was wrong 0.075 and 2.5 of them."""
PEAK_RAD, POWER = 5.0, 2.0
"""Phase of the highest peaks, in all slices together, and the power that sharpens them: half as high they do not reach
the right minimum; twice as high, or sharper, they do as well."""
BLUR = 0.5
"""Standard deviation of the blur before, in units of the aperture's resolution, wavelength over twice the semi-angle:
finer detail of a few sweeps is noise."""
LOWEST, HIGHEST = 1.0, 99.5
"""Percentiles that stand for the level between the columns and for their height."""
NEAR = 1.5
"""Distances between positions, within which a pixel has been lit as well as any."""


def with_right_contrast(tuned: Tuned, context: TrialContext) -> Tuned:
    """The same beginning from the negative of what some sweeps find, where that predicts better beyond doubt."""
    if not _is_open(tuned):
        return tuned
    part = context.seen.central_part(tuned.dataset, PATTERNS)
    gain = _gain(Trial.of(part, tuned.preset.model_copy(update=TRIAL_SETTINGS), context), context)
    if not is_better(gain):
        return tuned
    trial = Trial.of(tuned.dataset, tuned.preset.model_copy(update=TRIAL_SETTINGS), context)
    everything = replace(trial, swept=np.arange(trial.problem.multislice.count))
    context.before("the negative of the object, of all patterns")
    with closing(open_backend(context.backend, trial.problem.multislice, context.threads)) as backend:
        vector = everything.swept_over(backend, SWEEPS)
        start = inverted(trial.problem, backend.to_numpy(vector))
    words = f"begun from the negative of what was found first: it predicts patterns held out better, by {gain}"
    return replace(tuned, begun=start, words=(*tuned.words, words))


def inverted(problem: Problem, vector: Array) -> WarmStart:
    """The negative of an object, as peaks of a phase, the same in all slices."""
    from scipy.ndimage import gaussian_filter

    grid = problem.grid
    transmission, _ = problem.layout.to_complex(vector)
    phase = np.angle(transmission).mean(axis=0).sum(axis=0).astype(np.float64)
    negative = -gaussian_filter(phase, BLUR / (2 * problem.measured.probe.semiangle_invA * grid.pixel_A))
    lit = _lit(grid, problem.measured.dataset)
    lowest, highest = np.percentile(negative[lit], (LOWEST, HIGHEST))
    peaks = np.clip((negative - lowest) / max(highest - lowest, 1e-9), 0.0, None) ** POWER * lit
    slices = transmission.shape[1]
    made = np.exp(1j * PEAK_RAD / slices * peaks).astype(np.complex64)
    origin = (float(grid.origin_A[0]), float(grid.origin_A[1]))
    return WarmStart(made[None, None].repeat(slices, axis=1), grid.pixel_A, origin, over_map=True, words="")


def _lit(grid: ObjectGrid, dataset: Dataset) -> Array:
    """(Y, X) where the scan has been."""
    from scipy.spatial import cKDTree

    places = _of_one_scan(dataset, grid.pixel_A) / grid.pixel_A
    nearest, _ = cKDTree(places).query(places, k=[2])  # the first is the place itself
    pixels = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    away, _ = cKDTree(places).query(pixels + np.asarray(grid.origin_A) / grid.pixel_A)
    return np.asarray(away < NEAR * max(float(np.median(nearest)), 1.0))


def _of_one_scan(dataset: Dataset, pixel_A: float) -> DoubleArray:
    """Positions (n, 2) of the first scan where there are several of the same place, each once."""
    positions_A = np.asarray(dataset.positions_A, dtype=np.float64)
    if dataset.scan_of is not None:
        positions_A = positions_A[dataset.scan_of == dataset.scan_of[0]]
    return np.asarray(pixel_A / 4 * np.unique(np.round(positions_A / (pixel_A / 4)), axis=0))


def _is_open(tuned: Tuned) -> bool:
    """Whether there are several slices, nothing that they begin from, and patterns enough to try it."""
    preset = tuned.preset
    start = preset.start
    given = start.start_object or start.start_phase_image or start.start_amplitude_image
    fixed = given or preset.solver.optimizer in PUBLISHED or not preset.refined.update_obj
    return preset.object.slices > 1 and not fixed and may_be_tried(tuned.dataset, preset)


def _gain(trial: Trial, context: TrialContext) -> Gain:
    """Of the inverted object over the one that it comes from, which is swept as often as both together."""
    several = f"{trial.preset.object.slices} slices"
    first = trial.enough(SWEEPS)
    most = trial.enough(first + STAGES[-1][0])
    context.before(f"an object in {several}")
    state, _ = trial.continued(None, first, most, context)
    other = replace(trial, problem=inverted(trial.problem, on_host(state.vector)).applied(trial.problem))
    turned: SweepState | None = None
    gain = Gain(0.0, 0.0)
    for sweeps, hopeless in STAGES:
        context.before(f"an object and its negative in {several}")
        state, as_found = trial.continued(state, first + sweeps, most, context)
        turned, inside_out = other.continued(turned, sweeps, most, context)
        gain = Gain.over(as_found.groups, inside_out.groups)
        if gain.share < hopeless or is_better(gain):
            break
    return gain


def is_better(gain: Gain) -> bool:
    """Whether an inverted object that gains so much is taken."""
    return gain.exceeds(BEYOND_DOUBT) and gain.share > WORTH
