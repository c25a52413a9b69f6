"""From data set and preset to a problem a backend can evaluate, and to the parameters to start from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.problem import DataTerm, MultisliceProblem
from ptylive.engine.dataset import Dataset
from ptylive.engine.memory import check_fits
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.drift import Drift, find_drift, without_drift
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.parameter_vector import Layout
from ptylive.engine.refine.parameters.terms import Term
from ptylive.engine.refine.problem.forward_options import ForwardOptions
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.parameter_blocks import Quantities
from ptylive.engine.refine.problem.strategy import Strategy
from ptylive.engine.refine.regularisers.of_preset import Regularisation
from ptylive.engine.refine.regularisers.scan_neighbours import ScanGrid
from ptylive.engine.refine.results.curve import Curve
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import Array, DoubleArray, FloatArray
from ptylive.schema.preset import Preset

BRIGHT_FIELD_EDGE = 1.05
"""The loss of weak phase objects looks at |k| below this many semi-angles."""
VACUUM_PERCENTILE = 5.0
"""Start phases are shifted so that this percentile is 0, where the phase is held at or above 0."""
LARGEST_OBJECT_PIXELS = 2**31
OBJECT_BYTES = 48
"""Of each pixel at least: its parameters, gradient, steps and a complex plane, in single precision."""
MODE_SPREAD_RAD = 0.02
"""Random phases by which object modes differ at the start: equal ones would stay equal."""


@dataclass(frozen=True)
class Problem:
    """A refinement ready to run."""

    positions_A: DoubleArray
    """(N, 2) start positions: nominal, or with the drift that was found."""
    drift: Drift | None
    grid: ObjectGrid
    strategy: Strategy
    statistics: PatternStatistics
    layout: Layout
    terms: tuple[Term, ...]
    multislice: MultisliceProblem
    start: Array
    """Parameter vector, float32."""
    slice_thickness_A: tuple[float, ...]
    regularisation: Regularisation
    forward: ForwardOptions
    curves: tuple[Curve, ...] = ()

    def with_tilt_found(self) -> Problem:
        """A copy whose tilt inside the specimen was found before the run and is not measured on the result again."""
        return replace(self, forward=replace(self.forward, tilt_found=True))

    def saying(self, words: str) -> Problem:
        """A copy with something more in its reason."""
        reason = f"{self.strategy.reason}; {words}" if words else self.strategy.reason
        return replace(self, strategy=replace(self.strategy, reason=reason))

    def after(self, curves: tuple[Curve, ...]) -> Problem:
        """A copy with the scans that led to it, told in its reason."""
        words = "; ".join([self.strategy.reason, *(curve.reason for curve in curves)])
        return replace(self, curves=curves, strategy=replace(self.strategy, reason=words))


def prepare(dataset: Dataset, preset: Preset, start: StartGuess | None, seen: Measurement | None = None) -> Problem:
    """Measure, decide and lay out. Raises MetadataError for missing optics, RefinementError for impossible data.

    ``seen``: of the same data under a preset that differs in the data term or the probe modes only; it saves a look at
    all patterns and a copy of them.
    """
    _check(dataset)
    seen = Measurement.of(dataset, preset) if seen is None else replace(seen, preset=preset)
    drift = None
    if preset.refine_drift and preset.num_slices == 1 and seen.plain:
        drift = find_drift(seen.dataset, seen.window, seen.probe)
        if drift is not None and drift.applied:
            seen = replace(seen, dataset=without_drift(seen.dataset, drift))
    dataset, model, statistics = seen.dataset, seen.model, seen.statistics()
    strategy = seen.strategy(statistics, has_start=start is not None)
    extra_px = preset.extra_space_on_side_px
    grid = ObjectGrid.of(dataset.positions_A, model.object_pixel_A, model.size, dataset.reach_A, extra_px)
    shape = (preset.num_slices, *grid.shape)
    if np.prod(shape, dtype=float) * preset.obj_modes > LARGEST_OBJECT_PIXELS:
        raise RefinementError(f"the object would have {shape} pixels", "check scan step and detector pixel")
    check_fits(
        OBJECT_BYTES * np.prod(shape, dtype=float) * preset.obj_modes,
        f"the object of {' x '.join(map(str, shape))} pixels of {grid.pixel_A:.3g} Å",
        "check scan_step_A, detector_pixel_mrad and energy_eV, or take fewer slices",
    )
    forward = ForwardOptions(preset, dataset, model, seen.probe.wavelength_A)
    modes = forward.with_given_aberrations(seen.start_modes(strategy, statistics.counts_per_pattern))
    quantities = Quantities(preset, strategy, dataset, seen.window, grid, modes, forward)
    layout = Layout(
        strategy.object_form,
        strategy.non_negative,
        shape,
        preset.obj_modes,
        quantities.probe_model(),
        quantities.blocks(),
        forward.cleaning(grid.shape),
    )
    scan = ScanGrid.of(dataset.point, dataset.scan_shape, dataset.positions_A)
    regularisation = Regularisation(grid, scan, model.k_radius, seen.probe.semiangle_invA, preset.spacings_A)
    return Problem(
        positions_A=np.asarray(dataset.positions_A, dtype=np.float64),
        drift=drift,
        grid=grid,
        strategy=_with_drift(strategy, preset, drift),
        statistics=statistics,
        layout=layout,
        terms=(*quantities.terms(layout), *regularisation.terms(preset.at(0), layout)),
        multislice=_problem(seen, forward, strategy, grid),
        start=layout.start(_start_planes(grid, start, strategy, layout)),
        slice_thickness_A=preset.slice_thickness_A,
        regularisation=regularisation,
        forward=forward,
    )


def _problem(seen: Measurement, forward: ForwardOptions, strategy: Strategy, grid: ObjectGrid) -> MultisliceProblem:
    """What stays fixed while parameters move."""
    propagation, preset = forward.propagation(), seen.preset
    distances = np.asarray(preset.spacings_A, dtype=float).reshape(-1, 1, 1)
    return MultisliceProblem(
        patterns=seen.window.patterns,
        weights=_weights(seen.window, seen.probe, strategy),
        corners=grid.corners,
        shifts_px=grid.shifts_px,
        object_shape=(preset.num_slices, *grid.shape),
        propagators=np.exp(1j * propagation.phase_per_A * distances),
        data_term=DataTerm(strategy.kind, strategy.offset),
        phase_per_A=propagation.phase_per_A,
        model=forward.description(
            propagation.tilts, None if seen.coefficients is None else seen.coefficients.compressed(preset, strategy)
        ),
    )


def _with_drift(strategy: Strategy, preset: Preset, drift: Drift | None) -> Strategy:
    """The strategy with what was found about drift added to its reason."""
    if not preset.refine_drift:
        return strategy
    found = "drift is not fitted: it needs one slice and a regular scan" if drift is None else drift.reason
    return replace(strategy, reason=f"{strategy.reason}; {found}")


def _check(dataset: Dataset) -> None:
    if len(dataset.patterns) == 0:
        raise RefinementError("no pattern to refine", "record a scan first")
    if dataset.positions_A.shape != (len(dataset.patterns), 2):
        raise RefinementError(f"{len(dataset.patterns)} patterns but positions of shape {dataset.positions_A.shape}")
    if not np.isfinite(dataset.positions_A).all():
        raise RefinementError("some positions are not finite", "give scan.step_A and rotation_deg")


def _weights(window: ScanWindow, probe: Probe, strategy: Strategy) -> FloatArray:
    """1 where the loss compares, 0 elsewhere (P, P)."""
    compared = window.measured
    if strategy.bright_field_only:
        compared = compared & (window.k_radius < BRIGHT_FIELD_EDGE * probe.semiangle_invA)
    return compared.astype(np.float32)


def _start_planes(grid: ObjectGrid, start: StartGuess | None, strategy: Strategy, layout: Layout) -> FloatArray:
    """Phases (object modes * slices, Y, X) to start from; several object modes must differ a little."""
    phase = np.zeros((layout.planes, *grid.shape), np.float32)
    if start is not None and strategy.start_from_map:
        phase[...] = _start_phase(grid, start, strategy) / layout.object_shape[0]
    if layout.object_modes > 1:
        phase += MODE_SPREAD_RAD * np.random.default_rng(0).random(phase.shape, np.float32)
    return phase


def _start_phase(grid: ObjectGrid, start: StartGuess, strategy: Strategy) -> FloatArray:
    """The start map on the object's grid (Y, X), at the level the object's constraint asks for."""
    if not np.isfinite(start.phase).all():
        raise RefinementError("the map to start from is not finite everywhere", "set start_from_map=false")
    phase = grid.resample(start)
    if strategy.non_negative:
        return np.asarray(np.maximum(phase - np.percentile(phase, VACUUM_PERCENTILE), 0), dtype=np.float32)
    return np.asarray(phase - phase.mean(), dtype=np.float32)
