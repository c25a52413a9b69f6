"""Checks before a long run: overlap, sampling, memory, expected time."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.memory import available_bytes, fits
from ptylive.engine.refine.data.overlap_fit import pixels_fitted
from ptylive.engine.refine.data.selection import selected
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.problem.generative import Generative
from ptylive.engine.refine.problem.prepare import Problem, prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tuning.depth.depth_choice import with_given_depth
from ptylive.engine.refine.tuning.held_out import TrialContext, central_part
from ptylive.engine.refine.validation.engine_settings import check_engine
from ptylive.engine.refine.validation.position_bound import position_bound_A
from ptylive.engine.refine.validation.prior_settings import check_possible
from ptylive.engine.refine.validation.run_size import RunSize
from ptylive.schema.model import Array, DoubleArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.refined import RefinedSettings

LEAST_OVERLAP = 0.5
"""Overlap of neighbouring probes below which the scan is called too coarse."""
MOST_SPILL = 0.02
"""Share of the probe at the border of the window above which patterns are sampled too coarsely."""
MOST_SCATTER = 0.1
"""Uncertainty of a position, as a share of the probe's diameter, above which patterns are said to tell it badly."""
PROBE_SHARE = 0.9
"""Share of the probe within its diameter."""
TIMED_PATTERNS = 64
"""Number of patterns evaluated to estimate the time of a sweep."""
BORDER = 1 / 16
"""Width of the window's border, as a share of its side, in which a probe must be dark."""
LINE_SEARCH_SHARE = 0.3
"""Approximate number of L-BFGS evaluations beyond one per epoch."""


@dataclass(frozen=True)
class Checks:
    """Figures of a refinement that has not begun, with warnings in plain words."""

    patterns: int
    window_px: int
    object_shape: tuple[int, int, int]
    object_pixel_A: float
    probe_diameter_A: float
    overlap: float | None
    """1 - step / probe diameter, along the line between nearest neighbours; below 0 patterns do not overlap.
    None if all patterns lie at one place."""
    spill: float
    """Share of the probe in the outermost sixteenth of the window: parts that do not fit wrap to the other side."""
    counts_per_pattern: float
    dose_e_per_A2: float
    position_bound_A: float | None
    """Cramér-Rao bound of one position for the object that the live map shows, Å: refining positions cannot do better.
    None if the run does not start from a map: with an empty object a pattern does not depend on its position."""
    memory_bytes: int
    """Patterns, object, gradients and history, all threads."""
    seconds: float
    """Expected time of the run, from a short measurement, excluding compilation."""
    reason: str
    """What ``auto`` would choose, and why."""
    warnings: tuple[str, ...]


def check(dataset: Dataset, preset: Preset, context: TrialContext | None = None) -> Checks:
    """Check a long run beforehand, at the last of several stages; takes about a second.

    Raises MetadataError and RefinementError as the run itself would.
    """
    preset = preset.final
    check_engine(preset)
    if preset.prior.method == "dgp":
        check_possible(preset)
    dataset, preset = selected(dataset, preset.patterns), preset.model_copy(update={"sequence": None})
    trial_context, preset = context or TrialContext(), with_given_depth(dataset, preset)
    part = central_part(dataset)
    problem = prepare(part, preset.model_copy(update={"refine_drift": False}), trial_context.start)
    _, modes = problem.layout.to_complex(problem.start)
    intensity = (np.abs(np.fft.ifft2(modes)) ** 2).sum(axis=0)
    pixel, size = problem.grid.pixel_A, problem.layout.window
    diameter = _diameter(intensity) * pixel
    shape = _object_shape(dataset, problem)
    border = max(1, round(size * BORDER))
    inner = intensity[border:-border, border:-border].sum()
    step = _nearest_step(part.positions_A)
    checks = Checks(
        patterns=len(dataset.patterns),
        window_px=size,
        object_shape=shape,
        object_pixel_A=pixel,
        probe_diameter_A=diameter,
        overlap=None if step is None else 1 - step / diameter,
        spill=float(1 - inner / intensity.sum()),
        counts_per_pattern=problem.statistics.counts_per_pattern,
        dose_e_per_A2=problem.statistics.dose_e_per_A2,
        position_bound_A=_bound(part, preset, trial_context.start),
        memory_bytes=memory_bytes(dataset, problem, preset, shape, trial_context.threads),
        seconds=expected_seconds(len(dataset.patterns), part, preset, trial_context),
        reason=problem.strategy.reason,
        warnings=(),
    )
    if preset.prior.method == "dgp":
        checks = _with_networks(checks, problem, preset, trial_context)
    return _warned(checks, preset.refined)


def _with_networks(checks: Checks, problem: Problem, preset: Preset, context: TrialContext) -> Checks:
    """Add the memory and time of networks that are trained on the CPU after the pixels."""
    patterns = round((1 - preset.prior.dgp_held_out) * checks.patterns)
    layout = replace(problem.layout, object_shape=checks.object_shape)
    networks = Generative.of(
        preset.prior,
        layout,
        patterns,
        checks.dose_e_per_A2,
        probe_refined=preset.refined.update_probe,
        seed=preset.solver.seed,
    )
    return replace(
        checks,
        memory_bytes=checks.memory_bytes + networks.bytes,
        seconds=checks.seconds + networks.seconds(patterns, context.threads),
        reason=f"{checks.reason}; {networks.words(patterns, context.threads)}",
    )


def memory_bytes(
    dataset: Dataset, problem: Problem, preset: Preset, object_shape: tuple[int, int, int], threads: int
) -> int:
    """Peak memory of a run on the CPU, bytes: data as read and in the window, object, gradients, history."""
    layout, pixel_bytes = problem.layout, problem.multislice.patterns.dtype.itemsize
    in_memory = fits(float(len(dataset.patterns)) * layout.window**2 * pixel_bytes)  # otherwise they are kept in a file
    size = RunSize(
        patterns=len(dataset.patterns),
        recorded_bytes=dataset.patterns.nbytes if isinstance(dataset.patterns, np.ndarray) else 0,
        shown=int(in_memory) * (len(dataset.patterns) if dataset.masks is None else 1),  # coefficients share a mean
        window_px=layout.window,
        pixel_bytes=pixel_bytes,
        object_pixels=int(np.prod(object_shape)) * layout.object_modes,
        object_parts=layout.object_size // max(1, int(np.prod(layout.object_shape)) * layout.object_modes),
        probe_size=layout.probe_size,
        fitted=_fitted(dataset, problem) if preset.start.refine_drift and problem.measured.plain else 0,
        number_bytes=layout.precision.real.itemsize,
        descanned=dataset.offsets_px is not None,
    )
    return size.peak_bytes(preset.solver.hist_length, threads)


def _fitted(dataset: Dataset, problem: Problem) -> int:
    """Number of pixels times points in which drift is looked for."""
    window, lit = problem.measured.window, problem.measured.probe.semiangle_invA
    pixels = int(np.count_nonzero(window.measured & (window.k_radius < lit + window.pixel_invA)))
    return pixels_fitted(pixels, dataset.scan_shape) * math.prod(dataset.scan_shape)


def _warned(checks: Checks, refined: RefinedSettings) -> Checks:
    """Add warnings in words."""
    warnings = []
    if checks.overlap is None:
        warnings.append("all patterns lie at one place: without neighbours that overlap, the solution is not unique")
    elif checks.overlap < LEAST_OVERLAP:
        warnings.append(
            f"neighbouring patterns overlap by {100 * checks.overlap:.0f} % of the probe: "
            "more defocus or a smaller step makes the solution unique"
        )
    if checks.spill > MOST_SPILL:
        warnings.append(
            f"{100 * checks.spill:.0f} % of the probe lies at the border of the window: "
            "detector pixels are too coarse for this defocus"
        )
    bound_A = checks.position_bound_A
    if refined.update_probe_pos and bound_A is not None and bound_A > MOST_SCATTER * checks.probe_diameter_A:
        warnings.append(
            f"one pattern determines its position to {bound_A:.2g} Å at best: "
            "give position_prior_A, or refine drift only"
        )
    available = available_bytes()
    if checks.memory_bytes > available:
        warnings.append(
            f"needs {checks.memory_bytes / 2**30:.1f} GiB of memory, {available / 2**30:.1f} GiB are free: "
            "a smaller hist_length, fewer slices or a smaller window_px help"
        )
    return replace(checks, warnings=tuple(warnings))


def _diameter(intensity: Array) -> float:
    """Diameter, pixels, of the disc around the centre of mass that contains most of the probe."""
    rows, columns = np.indices(intensity.shape)
    centre = [(intensity * axis).sum() / intensity.sum() for axis in (rows, columns)]
    distance = np.hypot(rows - centre[0], columns - centre[1]).ravel()
    order = np.argsort(distance)
    contained = np.cumsum(intensity.ravel()[order]) / intensity.sum()
    return 2 * max(0.5, float(distance[order][np.searchsorted(contained, PROBE_SHARE)]))


def _nearest_step(positions_A: DoubleArray) -> float | None:
    """Median distance of a place to the nearest other place, Å; None if there is only one."""
    from scipy.spatial import cKDTree

    places_A = np.unique(positions_A, axis=0)  # several patterns may have been recorded at each
    if len(places_A) < 2:
        return None
    distance, _ = cKDTree(places_A).query(places_A, k=[2])  # the nearest is the place itself
    return float(np.median(distance))


def _object_shape(dataset: Dataset, problem: Problem) -> tuple[int, int, int]:
    """Shape of the object for the whole scan, of which the problem may hold a part."""
    extent = np.ptp(dataset.positions_A, axis=0) - np.ptp(problem.positions_A, axis=0)
    rows, columns = (np.asarray(problem.grid.shape) + np.round(extent / problem.grid.pixel_A)).astype(int)
    return problem.layout.object_shape[0], int(rows), int(columns)


def _bound(part: Dataset, preset: Preset, start: StartGuess | None) -> float | None:
    if start is None or preset.start.start_from_map is False:
        return None
    problem = prepare(part, preset.model_copy(update={"refine_drift": False, "start_from_map": True}), start)
    physical = problem.layout.physical(problem.start, np)
    return position_bound_A(problem.multislice, physical.object, physical.probe, problem.grid.pixel_A)


def expected_seconds(patterns: int, part: Dataset, preset: Preset, context: TrialContext) -> float:
    """Time of all epochs in seconds, from the time of one evaluation of some patterns in the middle."""
    few = part.part(np.arange(min(TIMED_PATTERNS, len(part.patterns))))
    problem = prepare(few, preset.model_copy(update={"refine_drift": False}), context.start)
    with closing(open_backend(context.backend, problem.multislice, context.threads)) as backend:
        objective = Objective(backend, on_device(problem.layout, backend.xp), problem.multislice.count)
        vector = backend.xp.asarray(problem.start)
        float(objective.evaluate(vector).loss)  # compiles or loads compiled code, and waits for the device
        began = time.perf_counter()
        float(objective.evaluate(vector).loss)
        per_pattern = (time.perf_counter() - began) / problem.multislice.count
    strategy = problem.strategy
    passes = strategy.sweeps + (1 + LINE_SEARCH_SHARE) * (strategy.epochs - strategy.sweeps)
    return per_pattern * patterns * passes
