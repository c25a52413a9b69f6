"""From data set and preset to a problem that a backend can evaluate, and to the start parameters.

There are three steps: measure, decide, lay out. The preset is taken apart here; callees receive groups of settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.problem import (
    CoefficientTermKind,
    DataTerm,
    DataTermKind,
    MultisliceProblem,
    Precision,
)
from ptylive.engine.dataset import Dataset
from ptylive.engine.memory import check_fits
from ptylive.engine.probe import ComplexPlane, Probe
from ptylive.engine.refine.data.object_resampling import MODE_SPREAD_RAD
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.parameters.mixture import Mixture
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm, ParameterLayout
from ptylive.engine.refine.parameters.terms import Term
from ptylive.engine.refine.problem.forward_options import ForwardOptions
from ptylive.engine.refine.problem.measurement import Measurement, check_near_field
from ptylive.engine.refine.problem.parameter_blocks import ParameterBlocks
from ptylive.engine.refine.problem.start_counts import start_background
from ptylive.engine.refine.problem.strategy import Strategy, background_counts, choose, for_counts
from ptylive.engine.refine.problem.tilt_series import TiltSeries
from ptylive.engine.refine.regularisers.of_preset import Regularisation
from ptylive.engine.refine.regularisers.scan_neighbours import ScanArrangement
from ptylive.engine.refine.results.curve import Curve
from ptylive.schema.errors import MetadataError, RefinementError
from ptylive.schema.model import Array, DoubleArray, FloatArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.loss import LossSettings

BRIGHT_FIELD_EDGE = 1.05
"""The loss of weak phase objects compares only |k| below this many semi-angles."""
VACUUM_PERCENTILE = 5.0
"""Start phases are shifted so that this percentile is 0 if the phase is constrained to be at or above 0."""
LEAST_MODULUS = 0.05
"""Least modulus of a start: lower values in a map are noise, not specimen, and their logarithm is unbounded."""
NO_DRIFT = "drift cannot be measured: it needs a regular, dense scan of at least 16 x 16 points"
LARGEST_OBJECT_PIXELS = 2**31
"""Objects of more pixels are due to a wrong scale of scan or detector."""
OBJECT_BYTES, PROBE_BYTES = 48, 48
"""Minimum memory per pixel of the object, and of each mode of each probe: its parameters, gradient, steps and a complex
plane, in single precision."""


@dataclass(frozen=True)
class Problem:
    """A refinement ready to run."""

    forward: ForwardOptions
    """Forward options, including the measurement."""
    strategy: Strategy
    grid: ObjectGrid
    """Pixels of the object, and where each pattern lies on them."""
    layout: ParameterLayout
    """Where the parameters of each quantity lie in the vector."""
    regularisation: Regularisation
    terms: tuple[Term, ...]
    """Terms of the loss beside the data term."""
    multislice: MultisliceProblem
    """Everything that a backend needs to model the patterns and to compare them."""
    start: Array
    """Parameter vector, in the layout's precision."""
    curves: tuple[Curve, ...] = ()
    """Parameter scans that led to it."""

    @property
    def measured(self) -> Measurement:
        """The measurement that the problem is to explain."""
        return self.forward.measured

    @property
    def positions_A(self) -> DoubleArray:
        """(N, 2) start positions: nominal, or corrected for the drift that was found."""
        return np.asarray(self.measured.dataset.positions_A, dtype=np.float64)

    @property
    def statistics(self) -> PatternStatistics:
        """Statistics of the patterns."""
        return self.measured.statistics

    def with_findings(
        self, curves: tuple[Curve, ...], words: tuple[str, ...] = (), *, tilt_found: bool = False
    ) -> Problem:
        """Return a copy that holds the parameter scans that led to it and states them, and ``words``, in its reason.

        tilt_found: the tilt inside the specimen was found before the run and is not measured on the result again.
        """
        reason = "; ".join([self.strategy.reason, *(curve.reason for curve in curves), *words])
        forward, strategy = replace(self.forward, tilt_found=tilt_found), replace(self.strategy, reason=reason)
        return replace(self, curves=curves, forward=forward, strategy=strategy)


def prepare(dataset: Dataset, preset: Preset, start: StartGuess | None, measured: Measurement | None = None) -> Problem:
    """Measure, decide and lay out. Raises MetadataError for missing optics, RefinementError for impossible data.

    ``measured``: the same data measured under a preset that differs only in the data term or the probe modes; it saves
    a pass over all patterns and a copy of them.
    """
    measured = measure(dataset, preset) if measured is None else measured
    strategy = decide(measured, preset, has_start=start is not None)
    return lay_out(measured, strategy, preset, start)


def measure(dataset: Dataset, preset: Preset) -> Measurement:
    """Data set in model coordinates, its statistics, and its drift if drift is to be refined."""
    if preset.propagation.near_field:
        check_near_field(dataset, preset.patterns, preset.probe, preset.refined)
    measured = Measurement.of(dataset, preset.patterns, preset.propagation, single_slice=preset.object.slices == 1)
    requested = preset.start.refine_drift
    return measured.without_drift(certain=requested == "auto") if requested and measured.plain else measured


def decide(measured: Measurement, preset: Preset, *, has_start: bool) -> Strategy:
    """Decide everything that the preset leaves open: loss, object, probe and steps for the recorded data."""
    loss, coefficients = preset.loss, measured.coefficients
    if coefficients is None and loss.algorithm in list(CoefficientTermKind):
        raise RefinementError(
            f"algorithm = {loss.algorithm} compares coefficients, and the recording holds frames",
            "use algorithm=auto, or compress the recording (ptylive convert --basis)",
        )
    of_pixels = loss if coefficients is None else loss.model_copy(update={"algorithm": "auto"})
    chosen = choose(
        preset.object, preset.probe, of_pixels, preset.solver, preset.start, measured.statistics, has_start=has_start
    )
    if coefficients is not None:
        chosen = coefficients.strategy(chosen, loss)
    elif measured.near_field:
        single_mode = replace(chosen.coherence, modes=1)
        chosen = replace(chosen, coherence=single_mode, start_from_map=False, probe_sweeps=0)
    elif preset.refined.update_tilts and isinstance(preset.solver.anchor, str):
        chosen = replace(chosen, anchor=0.0)  # slices must be free to move against each other
    elif preset.object.slices == 1:
        chosen = for_counts(chosen, preset.solver, measured.statistics)
    if preset.instrument.source_blur_A:  # the source is modelled by the blur: the modes are for the focal spread only
        chosen = replace(chosen, coherence=replace(chosen.coherence, source_A=0.0))
    if measured.current is not None:
        changes = f"the beam current changes by {100 * measured.current.std():.2g} % from row to row"
        chosen = replace(chosen, reason=f"{chosen.reason}; {changes}")
    if not (preset.start.refine_drift and measured.plain) or measured.dataset.scan_of is not None:
        return chosen  # each of several scans has its own drift, which is reported separately
    finding = NO_DRIFT if measured.drift is None else measured.drift.reason
    return replace(chosen, reason=f"{chosen.reason}; {finding}")


def lay_out(measured: Measurement, strategy: Strategy, preset: Preset, start: StartGuess | None) -> Problem:
    """Lay out the grid, the forward model, the parameters with their start, and the terms of the loss."""
    dataset, model, slices = measured.dataset, measured.model, preset.object
    if start is not None and start.amplitude is not None and (why := _no_modulus(strategy)):
        strategy = replace(strategy, reason=f"{strategy.reason}; without the amplitude of the map: {why}")
    series = TiltSeries.of(measured, preset.scans, slices, preset.refined)
    entered_A = dataset.positions_A if series is None else series.entered_A(dataset.positions_A)
    grid = ObjectGrid.of(entered_A, model.object_pixel_A, model.size, dataset.reach_A, slices.extra_space_on_side_px)
    shape = (slices.slices, *grid.shape)
    _check_size(shape, slices.obj_modes, grid.pixel_A)
    beyond = preset.propagation, preset.refined, preset.instrument
    forward = ForwardOptions(measured, slices, preset.probe, *beyond, series=series)
    modes = measured.start_modes(preset.probe, strategy.coherence, preset.start.start_depth_A)
    modes = forward.with_given_aberrations(modes)
    modes = _without_background(modes, measured, preset)
    _check_probes(modes, forward.probe_shares())
    settings = preset.regularisers, preset.loss.noise_weighting, preset.start
    blocks = ParameterBlocks(forward, strategy, grid, modes, *settings)
    precision = Precision(preset.solver.precision)
    layout = ParameterLayout(
        strategy.object_form,
        strategy.non_negative,
        shape,
        slices.obj_modes,
        blocks.probe_model(),
        blocks.others(),
        forward.cleaning(grid.shape),
        forward.instrument.mixture(modes),
        forward.slow_field(),
        None if series is None else series.quantities(grid),
        precision,
    )
    scan = ScanArrangement.of(dataset.point, dataset.scan_shape, dataset.positions_A)
    regularisation = Regularisation(
        grid,
        scan,
        model.k_radius,
        measured.probe.semiangle_invA,
        slices.spacings_A,
        forward.free_space().phase_per_A,
    )
    return Problem(
        forward=forward,
        strategy=strategy,
        grid=grid,
        layout=layout,
        regularisation=regularisation,
        terms=(*blocks.terms(layout), *regularisation.terms(preset.at(0).regularisers, layout)),
        multislice=replace(_multislice(forward, strategy, grid, preset.loss, layout.mixture), precision=precision),
        start=layout.start(
            _start_planes(grid, start, strategy, layout, preset.start.start_phase_noise_rad),
            _start_modulus(grid, start, strategy, layout),
        ),
    )


def by_likelihood(problem: Problem, *, bright_field_only: bool) -> MultisliceProblem:
    """The same model with measured pixels compared by their likelihood, with a flat background.

    A common measure for results refined with different losses.
    """
    measured, compared = problem.measured, replace(problem.strategy, bright_field_only=bright_field_only)
    return replace(
        problem.multislice,
        weights=_weights(measured.window, measured.probe, compared),
        data_term=DataTerm(DataTermKind.POISSON, background_counts(problem.statistics)),
    )


def _without_background(modes: ComplexPlane, measured: Measurement, preset: Preset) -> ComplexPlane:
    """Start probe with the counts that remain after a given background. Raises MetadataError if none remain."""
    background, counts = start_background(preset.start, measured.window.size), measured.statistics.counts_per_pattern
    if background is None:
        return modes
    remaining = 1 - float(background.sum()) / counts
    if remaining <= 0:
        raise MetadataError(
            f"start_background has {background.sum():.4g} counts, a pattern has {counts:.4g} on average",
            "give the counts that every pattern contains",
        )
    return np.asarray(modes * np.sqrt(remaining))


def _multislice(
    forward: ForwardOptions, strategy: Strategy, grid: ObjectGrid, loss: LossSettings, mixture: Mixture | None
) -> MultisliceProblem:
    """Everything that stays fixed while the parameters move."""
    measured, space = forward.measured, forward.free_space()
    distances = np.asarray(forward.object.spacings_A, dtype=float).reshape(-1, 1, 1)
    compressed = None if measured.coefficients is None else measured.coefficients.compressed(loss, strategy)
    return MultisliceProblem(
        patterns=measured.window.patterns,
        weights=_weights(measured.window, measured.probe, strategy),
        corners=grid.corners,
        shifts_px=grid.shifts_px,
        object_shape=(forward.object.slices, *grid.shape),
        propagators=np.exp(1j * space.phase_per_A * distances),
        data_term=DataTerm(strategy.kind, strategy.offset),
        phase_per_A=space.phase_per_A,
        offsets_px=measured.offsets_px,
        current=measured.current,
        model=forward.description(space.tilts, compressed, mixture),
    )


def _check_size(shape: tuple[int, int, int], modes: int, pixel_A: float) -> None:
    """Raise RefinementError if the object has too many pixels, MetadataError if they do not fit into memory."""
    pixels = np.prod(shape, dtype=float) * modes
    size = " x ".join(map(str, shape))
    if pixels > LARGEST_OBJECT_PIXELS:
        raise RefinementError(f"the object would have {size} pixels", "check scan step and detector pixel")
    check_fits(
        OBJECT_BYTES * pixels,
        f"the object of {size} pixels of {pixel_A:.3g} Å",
        "check scan_step_A, detector_pixel_mrad and energy_eV, or use fewer slices",
    )


def _check_probes(modes: ComplexPlane, shares: FloatArray | None) -> None:
    """Raise MetadataError if the probes of all parts of the scan do not fit into memory."""
    if shares is not None:
        parts = f"{len(shares)} probes of {len(modes)} modes, {modes.shape[1]} x {modes.shape[2]} pixels each,"
        check_fits(float(PROBE_BYTES) * modes.size * len(shares), parts, "divide the scan into fewer (probe_marker)")


def _weights(window: ScanWindow, probe: Probe, strategy: Strategy) -> FloatArray:
    """Weights (P, P): 1 at pixels that the loss compares, 0 elsewhere."""
    compared = window.measured
    if strategy.bright_field_only:
        compared = compared & (window.k_radius < BRIGHT_FIELD_EDGE * probe.semiangle_invA)
    return compared.astype(np.float32)


def _start_planes(
    grid: ObjectGrid, start: StartGuess | None, strategy: Strategy, layout: ParameterLayout, noise_rad: float = 0.0
) -> FloatArray:
    """Start phases (object modes * slices, Y, X); several object modes must differ a little.

    ``noise_rad``: add random phases between 0 and this value.
    """
    phase = np.zeros((layout.planes, *grid.shape), np.float32)
    if start is not None and strategy.start_from_map:
        phase[...] = _start_phase(grid, start, strategy) / layout.object_shape[0]
    spread_rad = noise_rad or (MODE_SPREAD_RAD if layout.object_modes > 1 else 0.0)
    if spread_rad > 0:
        phase += np.float32(spread_rad) * np.random.default_rng(0).random(phase.shape, np.float32)
    return phase


def _start_phase(grid: ObjectGrid, start: StartGuess, strategy: Strategy) -> FloatArray:
    """Start map on the object's grid (Y, X), at the level that the object's constraint requires."""
    if not np.isfinite(start.phase).all():
        raise RefinementError("the map to start from is not finite everywhere", "set start_from_map=false")
    phase = grid.resample(start)
    if strategy.non_negative:
        return np.asarray(np.maximum(phase - np.percentile(phase, VACUUM_PERCENTILE), 0), dtype=np.float32)
    return np.asarray(phase - phase.mean(), dtype=np.float32)


def _start_modulus(
    grid: ObjectGrid, start: StartGuess | None, strategy: Strategy, layout: ParameterLayout
) -> FloatArray | None:
    """Start modulus (object modes * slices, Y, X); the product over the slices is that of the map. None: 1."""
    if start is None or start.amplitude is None or _no_modulus(strategy):
        return None
    if not np.isfinite(start.amplitude).all():
        raise RefinementError("the amplitude to start from is not finite everywhere", "set start_map_amplitude=false")
    per_slice = np.maximum(grid.resample(start, start.amplitude), LEAST_MODULUS) ** (1 / layout.object_shape[0])
    return np.broadcast_to(per_slice.astype(np.float32), (layout.planes, *grid.shape))


def _no_modulus(strategy: Strategy) -> str:
    """Why the modulus of a map cannot be used as a start; empty if it can."""
    if not strategy.start_from_map:
        return "the run does not start from that map"
    return "the object has only a phase" if strategy.object_form is ObjectForm.PHASE else ""
