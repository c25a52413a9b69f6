"""What else is refined besides object and probe: start values, and how strongly the loss bends along each.

The curvatures are estimates from counts and optics that only scale the steps: of the right size, and rather too large,
so that a first step is too short rather than too long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.backend.multislice import DataTermKind
from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import ComplexPlane, chi_polynomial
from ptylive.engine.refine.facts import mean_pattern
from ptylive.engine.refine.layout import Block, BlockName, Layout, ObjectForm, ProbeForm, ProbeModel
from ptylive.engine.refine.object_grid import ObjectGrid
from ptylive.engine.refine.regularisers.of_preset import Regularisation
from ptylive.engine.refine.scan_window import ScanWindow
from ptylive.engine.refine.strategy import Strategy
from ptylive.engine.refine.terms import Damping, PositionPrior, Term
from ptylive.schema.model import Array, DoubleArray, FloatArray
from ptylive.schema.preset import Preset

REFINED_ABERRATIONS = ("C10", "C12a", "C12b")
LOWEST_CURRENT, LOWEST_DISTANCE_A = 0.05, 0.1
DAMPING = 0.1
"""Pull of the absorption towards 0, as a share of the curvature the data give it."""
LIKELIHOOD = {DataTermKind.AMPLITUDE: 0.5, DataTermKind.POISSON: 1.0, DataTermKind.CHI_SQUARED: 1.0}
"""The loss over the negative logarithm of the likelihood of counts: var(sqrt(D)) = 1/4, so 2 sum (…)^2 for lsq_sqrt."""


@dataclass(frozen=True)
class Quantities:
    """The quantities a preset asks for, on one data set."""

    preset: Preset
    strategy: Strategy
    dataset: Dataset
    window: ScanWindow
    grid: ObjectGrid
    modes: ComplexPlane
    """(modes, P, P) start probe in Fourier space."""
    wavelength_A: float

    def probe_model(self) -> ProbeModel:
        """The probe's form, and the aberrations that may be added."""
        form = {"both": ProbeForm.COMPLEX, "phase": ProbeForm.PHASE, "amplitude": ProbeForm.AMPLITUDE}
        rates = self._chi_per_A().astype(np.float32) if self.preset.update_aberrations else None
        return ProbeModel(form[self.preset.probe_part], self.modes.astype(np.complex64), rates)

    def blocks(self) -> tuple[Block, ...]:
        """Every other quantity the preset refines."""
        preset = self.preset
        wanted = [
            (preset.update_probe_pos, self._shifts),
            (preset.update_beam_current, self._current),
            (preset.update_static_background, self._background),
            (preset.update_slice_distances, self._distances),
            (preset.update_aberrations, self._aberrations),
        ]
        return tuple(make() for asked, make in wanted if asked)

    def terms(self, layout: Layout) -> tuple[Term, ...]:
        """Terms of the loss that go with what is refined."""
        terms: list[Term] = []
        if self.strategy.object_form is ObjectForm.DAMPED:
            size = layout.object_size // 2
            light = self._counts * len(self.dataset.patterns) / np.prod(layout.object_shape[1:])
            stiffness = DAMPING * 2 * self.strategy.stiffness * light / layout.object_modes
            terms.append(Damping(np.full(size, stiffness, np.float32)))
        if self.preset.update_probe_pos and self.preset.position_prior_A is not None:
            terms.append(PositionPrior(self.grid.shifts_px.astype(np.float32), self._prior_stiffness()))
        return tuple(terms)

    @property
    def _counts(self) -> float:
        """Modelled counts of a pattern."""
        return float((np.abs(self.modes) ** 2).sum())

    @property
    def _likelihood(self) -> float:
        """The loss over the negative logarithm of the likelihood."""
        bright = float(mean_pattern(self.window).max())
        return LIKELIHOOD.get(self.strategy.kind, 2 * bright)

    def _shifts(self) -> Block:
        """A shift turns coefficient f of the probe by 2 pi f: curvature 2 sum |2 pi f P|^2 along each axis."""
        power = (np.abs(self.modes) ** 2).sum(axis=0)
        f = np.fft.fftfreq(self.window.size)
        spread = np.array([_variance(f[:, None] + 0 * f, power), _variance(f[None, :] + 0 * f[:, None], power)])
        curvature = 2 * self.strategy.stiffness * self._counts * (2 * np.pi) ** 2 * spread
        curvature = curvature + self._prior_stiffness() + Regularisation.curvature_of_positions(self.preset, self.grid)
        start = self.grid.shifts_px.astype(np.float32)
        return Block(BlockName.SHIFTS, start, np.broadcast_to(curvature, start.shape).astype(np.float32))

    def _current(self) -> Block:
        """I = s I1: the amplitude loss bends by sum I1 / 2."""
        start = np.ones(len(self.dataset.patterns), np.float32)
        curvature = np.full_like(start, 0.5 * self.strategy.stiffness * self._counts)
        return Block(BlockName.CURRENT, start, curvature, lowest=LOWEST_CURRENT)

    def _background(self) -> Block:
        """I = I1 + b: the amplitude loss bends by 1 / (2 I) in every pattern, the others by twice that or by 2."""
        mean = np.maximum(mean_pattern(self.window), mean_pattern(self.window).max() * 1e-4) + self.strategy.offset
        each = {DataTermKind.AMPLITUDE: 0.5 / mean, DataTermKind.INTENSITY: 2 + 0 * mean}.get(
            self.strategy.kind, 1 / mean
        )
        start = np.zeros((self.window.size, self.window.size), np.float32)
        curvature = (len(self.dataset.patterns) * each).astype(np.float32)
        return Block(BlockName.BACKGROUND, start, curvature, lowest=0.0)

    def _distances(self) -> Block:
        """An Å of free space turns frequency q by pi lam q^2."""
        q = np.fft.fftfreq(self.window.size, self.window.object_pixel_A)
        rate = np.pi * self.wavelength_A * (q[:, None] ** 2 + q[None, :] ** 2)
        bend = 2 * self.strategy.stiffness * _variance(rate, mean_pattern(self.window)) * self._counts
        start = np.asarray(self.preset.spacings_A, dtype=np.float32)
        curvature = np.full_like(start, bend * len(self.dataset.patterns))
        return Block(BlockName.DISTANCES, start, curvature, lowest=LOWEST_DISTANCE_A)

    def _aberrations(self) -> Block:
        """A coefficient turns the probe by its chi; a turn of all frequencies alike changes nothing."""
        power = (np.abs(self.modes) ** 2).sum(axis=0)
        spread = np.array([_variance(chi, power) for chi in self._chi_per_A()])
        curvature = 2 * self.strategy.stiffness * self._counts * len(self.dataset.patterns) * spread
        return Block(BlockName.ABERRATIONS, np.zeros(len(spread), np.float32), curvature.astype(np.float32))

    def _chi_per_A(self) -> DoubleArray:
        """(n, P, P) aberration phase of one Å of each refined coefficient."""
        k_row, k_col = self.window.k_row, self.window.k_col
        polynomials = [chi_polynomial(self.wavelength_A, {name: 1.0}) for name in REFINED_ABERRATIONS]
        return np.stack([np.polynomial.polynomial.polyval2d(k_row, k_col, each) for each in polynomials])

    def _prior_stiffness(self) -> float:
        """Curvature of the prior of the positions, loss over object pixels squared; 0 without one."""
        expected_A = self.preset.position_prior_A
        return 0.0 if expected_A is None else self._likelihood * self.grid.pixel_A**2 / expected_A**2


def _variance(values: Array, weights: Array | FloatArray) -> float:
    """Weighted variance of ``values``."""
    mean = float((values * weights).sum() / weights.sum())
    return float((weights * (values - mean) ** 2).sum() / weights.sum())
