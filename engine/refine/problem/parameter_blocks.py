"""Parameter blocks refined in addition to object and probe: start values, and the curvature of the loss along each.

The curvatures are estimates from counts and optics that only scale the steps. They have the right magnitude and tend to
be too large, so that a first step is too short rather than too long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.backend.multislice.data_terms import PIXEL_TERMS, PixelTerm
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTermKind, PythonTerm
from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import ComplexPlane
from ptylive.engine.refine.data.model_window import chi_per_A
from ptylive.engine.refine.data.pattern_statistics import mean_pattern
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.parameter_vector import (
    Block,
    BlockName,
    ObjectForm,
    ParameterLayout,
)
from ptylive.engine.refine.parameters.probe_model import ProbeForm, ProbeModel
from ptylive.engine.refine.parameters.terms import Damping, PositionPrior, Term
from ptylive.engine.refine.parameters.varying_probe import EXPECTED
from ptylive.engine.refine.problem.forward_options import ForwardOptions, aberration_columns, tilt_curvature
from ptylive.engine.refine.problem.start_counts import start_background, start_currents
from ptylive.engine.refine.problem.strategy import Strategy
from ptylive.engine.refine.regularisers.of_preset import Regularisation
from ptylive.schema.model import Array, DoubleArray, FloatArray
from ptylive.schema.preset.regularisers import RegulariserSettings
from ptylive.schema.preset.start import StartSettings

LOWEST_CURRENT, LOWEST_DISTANCE_A = 0.05, 0.1
"""Lower limits of a pattern's relative current and of the distance between slices: neither may become negative."""
LEFT_TO_ABERRATIONS = 1 / 16
"""Share of the curvature along an aberration, or a field's thickness, that remains once the object has followed."""
DAMPING = 0.1
"""Pull of the absorption towards 0, as a share of the curvature from the data."""
SAME_AS = {
    CoefficientTermKind.ROOT: DataTermKind.AMPLITUDE,
    CoefficientTermKind.GAUSS: DataTermKind.AMPLITUDE,
    CoefficientTermKind.POISSON: DataTermKind.POISSON,
}
"""Pixel losses with about the same curvature as these losses of coefficients."""


@dataclass(frozen=True)
class ParameterBlocks:
    """The requested parameter blocks for one measurement."""

    forward: ForwardOptions
    strategy: Strategy
    grid: ObjectGrid
    modes: ComplexPlane
    """(modes, P, P) start probe in Fourier space."""
    regularisers: RegulariserSettings
    noise_weighting: bool
    """Noise weighting of the least squares of coefficients."""
    start_settings: StartSettings
    """Start values of beam currents and background."""

    @property
    def dataset(self) -> Dataset:
        """The recorded data set."""
        return self.forward.measured.dataset

    @property
    def window(self) -> ScanWindow:
        """Detector window."""
        return self.forward.measured.window

    @property
    def wavelength_A(self) -> float:
        """Electron wavelength."""
        return self.forward.wavelength_A

    def probe_model(self) -> ProbeModel:
        """The form of the probe, and the aberrations that may be added to it."""
        form = {"both": ProbeForm.COMPLEX, "phase": ProbeForm.PHASE, "amplitude": ProbeForm.AMPLITUDE}
        shares = self.forward.probe_shares()
        start = np.tile(self.modes, (1 if shares is None else len(shares), 1, 1)).astype(np.complex64)
        shared = self.forward.refined.update_aberrations and self.forward.probe.aberration_marker is None
        rates = self._shared_chi().astype(np.float32) if shared else None
        return ProbeModel(form[self.forward.probe.probe_part], start, rates, shares)

    def others(self) -> tuple[Block, ...]:
        """Parameter blocks of all other refined quantities."""
        refined = self.forward.refined
        blocks = [
            (refined.update_probe_pos, self._shifts),
            (refined.update_beam_current, self._current),
            (refined.update_static_background, self._background),
            (refined.update_slice_distances, self._distances),
            (refined.update_thickness is True and self.forward.object.slices > 1, self._thickness),
            (refined.update_aberrations, self._aberrations),
            (refined.update_tilts and not self.forward.tilt_from_columns, self._tilts),
            (refined.update_detector_psf, self._spread),
        ]
        return (*(make() for requested, make in blocks if requested), *self._varying(), *self._field(), *self._scans())

    def terms(self, layout: ParameterLayout) -> tuple[Term, ...]:
        """Loss terms that belong to the refined quantities."""
        terms: list[Term] = []
        if self.strategy.object_form is ObjectForm.DAMPED:
            size = layout.object_size // 2
            light = self._counts * len(self.dataset.patterns) / np.prod(layout.object_shape[1:])
            curvature = DAMPING * 2 * self.strategy.curvature_scale * light / layout.object_modes
            terms.append(Damping(np.full(size, curvature, np.float32)))
        if self.forward.refined.update_probe_pos and self.regularisers.position_prior_A is not None:
            terms.append(PositionPrior(self.grid.shifts_px.astype(np.float32), self._prior_curvature()))
        return tuple(terms)

    @property
    def _counts(self) -> float:
        """Expected counts of a pattern."""
        return float((np.abs(self.modes) ** 2).sum())

    @property
    def _likelihood(self) -> float:
        """Ratio of the loss to the negative log-likelihood."""
        term = self._pixel_term
        bright = float(mean_pattern(self.window).max())  # for counting noise the likelihood has curvature 1 / counts
        return bright * float(term.curvature(np.float64(bright))) if term.likelihood is None else term.likelihood

    @property
    def _pixel_term(self) -> PixelTerm | PythonTerm:
        """The pixel data term, or the one whose curvature is closest to that of the coefficients."""
        kind = self.strategy.kind
        if isinstance(kind, PythonTerm):
            return kind
        if kind is CoefficientTermKind.LEAST_SQUARES:  # with noise weighting it is scaled to the size of lsq_sqrt
            kind = DataTermKind.AMPLITUDE if self.noise_weighting else DataTermKind.INTENSITY
        return PIXEL_TERMS[SAME_AS[kind] if isinstance(kind, CoefficientTermKind) else kind]

    def _shifts(self) -> Block:
        """A shift turns coefficient f of the probe by 2 pi f: curvature 2 sum |2 pi f P|^2 along each axis."""
        power = (np.abs(self.modes) ** 2).sum(axis=0)
        f = np.fft.fftfreq(self.forward.window.size)
        spread = np.array([_variance(f[:, None] + 0 * f, power), _variance(f[None, :] + 0 * f[:, None], power)])
        curvature = 2 * self.strategy.curvature_scale * self._counts * (2 * np.pi) ** 2 * spread
        curvature = (
            curvature + self._prior_curvature() + Regularisation.curvature_of_positions(self.regularisers, self.grid)
        )
        start = self.grid.shifts_px.astype(np.float32)
        return Block(BlockName.SHIFTS, start, np.broadcast_to(curvature, start.shape).astype(np.float32))

    def _current(self) -> Block:
        """Beam current with I = s I1: the curvature of the amplitude loss is sum I1 / 2."""
        given = start_currents(self.start_settings, self.dataset)
        if given is None and self.dataset.current is not None:
            given = np.asarray(self.dataset.current, dtype=np.float32)
        start = np.ones(len(self.dataset.patterns), np.float32) if given is None else given
        curvature = np.full_like(start, 0.5 * self.strategy.curvature_scale * self._counts)
        return Block(BlockName.CURRENT, start, curvature, lowest=LOWEST_CURRENT)

    def _background(self) -> Block:
        """Background with I = I1 + b: the curvature along b is that along I, in every pattern."""
        mean = np.maximum(mean_pattern(self.window), mean_pattern(self.window).max() * 1e-4) + self.strategy.offset
        per_pattern = self._pixel_term.curvature(mean)
        given = start_background(self.start_settings, self.window.size)
        start = np.zeros((self.window.size, self.window.size), np.float32) if given is None else given
        curvature = (len(self.dataset.patterns) * per_pattern).astype(np.float32)
        return Block(BlockName.BACKGROUND, start, curvature, lowest=0.0)

    def _distances(self) -> Block:
        """Distances between slices: see :meth:`_free_space_variance`."""
        per_pattern = 2 * self.strategy.curvature_scale * self._free_space_variance() * self._counts
        start = np.asarray(self.forward.object.spacings_A, dtype=np.float32)
        curvature = np.full_like(start, per_pattern * len(self.dataset.patterns))
        return Block(BlockName.DISTANCES, start, curvature, lowest=LOWEST_DISTANCE_A)

    def _thickness(self) -> Block:
        """Thickness of all slices together, equally thick: the space between first and last changes almost as much."""
        form, light = self.forward.object, self._counts * len(self.dataset.patterns)
        share = 1 - 1 / form.slices
        per_count = LEFT_TO_ABERRATIONS * 2 * self.strategy.curvature_scale * self._free_space_variance() * share**2
        start = np.array([sum(form.slice_thickness_A)], np.float32)
        lowest = LOWEST_DISTANCE_A * form.slices
        return Block(BlockName.THICKNESS, start, np.full_like(start, per_count * light), lowest=lowest)

    def _free_space_variance(self) -> float:
        """Phase variance per Å^2: one Å of free space turns frequency q by pi lam q^2."""
        q = np.fft.fftfreq(self.window.size, self.window.object_pixel_A)
        rate = np.pi * self.wavelength_A * (q[:, None] ** 2 + q[None, :] ** 2)
        return _variance(rate, self._spectrum())

    def _aberrations(self) -> Block:
        """Aberrations: a coefficient turns the probe by its chi; turning all frequencies alike changes nothing.

        The object follows the probe and takes up most of the curvature. Aberrations that were given for parts of the
        scan but are not refined get an infinite curvature, so that they stay fixed.
        """
        groups, refined = self.forward.aberration_groups(), self.forward.refined
        names = refined.refined_aberrations if groups is None else aberration_columns(self.forward.probe, refined)
        rates = self._shared_chi() if groups is None else self._chi_per_A(names)
        spread = np.array([_variance(chi, self._aperture_power) for chi in rates])
        spread[[name not in refined.refined_aberrations for name in names]] = np.inf
        per_pattern = LEFT_TO_ABERRATIONS * 2 * self.strategy.curvature_scale * self._counts * spread
        if groups is None:
            curvature = len(self.dataset.patterns) * per_pattern
            return Block(BlockName.ABERRATIONS, np.zeros(len(names), np.float32), curvature.astype(np.float32))
        patterns = np.maximum(np.bincount(groups.group, minlength=len(groups.values_A)), 1)
        curvature = patterns[:, None] * per_pattern
        return Block(BlockName.ABERRATIONS, groups.values_A.astype(np.float32), curvature.astype(np.float32))

    def _tilts(self) -> Block:
        """Tilts: they turn the illumination, or the wave's spectrum inside, in proportion to position or frequency."""
        start = self.forward.start_tilts_mrad()
        patterns = len(self.dataset.patterns) / len(start)
        curvature = np.float32(2 * self.strategy.curvature_scale * self._counts * patterns) * self._tilt_variances()
        return Block(BlockName.TILTS, start, np.broadcast_to(curvature, start.shape).copy())

    def _tilt_variances(self) -> FloatArray:
        """(6,) phase variance per mrad^2 of each tilt."""
        model = self.forward.window
        light = np.asarray((np.abs(np.fft.ifft2(self.modes)) ** 2).sum(axis=0), dtype=np.float64)
        x = (np.arange(model.size, dtype=np.float64) - model.size // 2) * model.object_pixel_A
        q = np.fft.fftfreq(self.window.size, model.object_pixel_A)
        spreads = _variances(x, light), _variances(np.asarray(q), self._spectrum())
        depth = float(sum(self.forward.object.slice_thickness_A))
        return tilt_curvature(self.forward.propagation.tilt_mode, spreads, self.wavelength_A, depth)

    def _spread(self) -> Block:
        """Point spread: a variance t smooths the counts, with dI/dt half their Laplacian."""
        mean = np.maximum(mean_pattern(self.window), mean_pattern(self.window).max() * 1e-4) + self.strategy.offset
        instrument = self.forward.instrument
        per_pattern = float((self._pixel_term.curvature(mean) * instrument.mean_square_laplacian()).sum())
        curvature = np.array([len(self.dataset.patterns) * max(per_pattern, 1e-30)], np.float32)
        return Block(BlockName.SPREAD, np.array([instrument.first_psf_px**2], np.float32), curvature, lowest=0.0)

    def _varying(self) -> tuple[Block, ...]:
        """Varying probe: a coefficient adds a component with the power of the first mode, and vice versa."""
        components = self.forward.instrument.components(self.modes, self.forward.probe.probe_marker)
        if components is None:
            return ()
        start, patterns = np.stack([components.real, components.imag]).astype(np.float32), len(self.dataset.patterns)
        scale = 2 * self.strategy.curvature_scale
        along = scale * EXPECTED**2 * patterns if self.forward.refined.update_probe else np.inf
        coefficients = np.zeros((patterns, len(components)), np.float32)
        power = float((np.abs(self.modes[0]) ** 2).sum())
        return (
            Block(BlockName.OPR_COMPONENTS, start, np.full_like(start, along)),
            Block(BlockName.OPR_COEFFICIENTS, coefficients, np.full_like(coefficients, scale * power)),
        )

    def _field(self) -> tuple[Block, ...]:
        """Slow field: basis functions of mean square 1, so a coefficient has the curvature of what it adds to."""
        field, patterns = self.forward.slow_field(), len(self.dataset.patterns)
        if field is None:
            return ()
        rates = self._chi_per_A(self.forward.instrument.field_aberrations) if field.aberrations else np.zeros((0, 1, 1))
        spread = [_variance(chi, self._aperture_power) for chi in rates]
        scale = 2 * self.strategy.curvature_scale * self._counts * patterns
        rows = [LEFT_TO_ABERRATIONS * scale * variance for variance in spread]
        if field.tilt_columns:
            rows += [float(scale * self._tilt_variances()[column]) for column in field.tilt_columns]
        if field.thickness:
            thickness_A = float(sum(self.forward.object.spacings_A))
            rows.append(LEFT_TO_ABERRATIONS * scale * self._free_space_variance() * thickness_A**2)
        start = np.zeros((len(rows), field.basis.shape[1]), np.float32)
        return (Block(BlockName.FIELD, start, (start + np.array(rows)[:, None]).astype(np.float32)),)

    def _scans(self) -> tuple[Block, ...]:
        """Quantities that all patterns of a scan share, with curvatures from those of single patterns."""
        series = self.forward.series
        if series is None or not series.moving:
            return ()
        of_shift = np.asarray(self._shifts().curvature[0] / self.grid.pixel_A**2)
        of_tilt = 2 * self.strategy.curvature_scale * self._counts * self._tilt_variances()[2:4]
        of_current = 0.5 * self.strategy.curvature_scale * self._counts
        return (Block(BlockName.SCANS, series.start, series.curvature(of_shift, of_tilt, of_current)),)

    def _spectrum(self) -> DoubleArray:
        """Weights of the frequencies of the exit wave: the mean pattern; uniform if images are recorded."""
        mean = mean_pattern(self.window)
        return np.ones_like(mean) if self.forward.propagation.near_field else mean

    @property
    def _aperture_power(self) -> DoubleArray:
        """(P, P) counts of the start probe at each frequency."""
        return np.asarray((np.abs(self.modes) ** 2).sum(axis=0), dtype=np.float64)

    def _shared_chi(self) -> DoubleArray:
        """(n, P, P) chi per Å of each aberration that all patterns share, without the shift it gives the probe.

        A shift of the probe in all patterns moves the object and nothing else; if it were left in, every change of a
        coma would require the whole object to undo it.
        """
        rates = self._chi_per_A(self.forward.refined.refined_aberrations)
        window, root = self.forward.window, np.sqrt(self._aperture_power).ravel()
        plane = np.stack([np.ones(root.size), window.k_row.ravel(), window.k_col.ravel()], axis=1)
        flat = rates.reshape(len(rates), -1)
        fit, *_ = np.linalg.lstsq(plane * root[:, None], (flat * root).T, rcond=None)
        return np.asarray((flat - (plane @ fit).T).reshape(rates.shape))

    def _chi_per_A(self, names: tuple[str, ...]) -> DoubleArray:
        """(n, P, P) aberration phase per Å of each coefficient."""
        return chi_per_A(names, self.forward.window, self.wavelength_A)

    def _prior_curvature(self) -> float:
        """Curvature of the position prior, in loss per object pixel squared; 0 without a prior."""
        expected_A = self.regularisers.position_prior_A
        return 0.0 if expected_A is None else self._likelihood * self.grid.pixel_A**2 / expected_A**2


def _variance(values: Array, weights: Array | FloatArray) -> float:
    """Weighted variance of ``values``."""
    mean = float((values * weights).sum() / weights.sum())
    return float((weights * (values - mean) ** 2).sum() / weights.sum())


def _variances(coordinate: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Weighted variances (2,) of a coordinate along rows and columns of ``weights`` (P, P)."""
    row, column = coordinate[:, None] + 0 * coordinate, coordinate[None, :] + 0 * coordinate[:, None]
    return np.array([_variance(row, weights), _variance(column, weights)])
