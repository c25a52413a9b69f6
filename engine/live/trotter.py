"""Trotters: the 4D data at one spatial frequency of the scan, over the detector.

G(k, Q) = sum_R I(k, R) exp(-2 pi i Q . R). Where two of the discs at k, k - Q and k + Q overlap, G carries the
specimen's phi_hat(Q) multiplied by a product of probe waves: P*(k) P(k - Q) on one side, -P(k) P*(k + Q) on the other
(Rodenburg, McCallum & Nellist 1993). With the right aberrations the phase over each of the two areas is flat, and they
differ by pi.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation.reduction import VectorReduction
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.maps.com import center_of_mass
from ptylive.engine.probe import Probe
from ptylive.schema import Calibration, MetadataError
from ptylive.schema.model import BoolArray, ComplexArray, DoubleArray, FloatArray, LabelArray
from ptylive.schema.scan import rotation_matrix

OUTSIDE, MINUS, PLUS, BOTH = 0, 1, 2, 3
"""Where a detector pixel lies: in no double overlap, in that with the disc at k - Q, at k + Q, or in all three."""
LOWEST, HIGHEST = 0.25, 1.5
"""Range in which the strongest frequency is searched for, over the aperture radius."""
_MARGIN = 1.12
"""Radius of the displayed part of the detector, over the disc radius."""

Frequency = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Trotter:
    """G(k, Q) over the part of the detector that holds the bright field, recorded orientation.

    q_invA: the frequency (row, col) along the scan axes, on the scan's own grid; values: (rows, cols) complex64,
    largest amplitude 1; origin_px: recorded pixel of values[0, 0]; area: which overlap each pixel belongs to;
    aberration: phase contributed by the probe there, rad, NaN elsewhere. flatness: mean resultant length of the phase
    over both areas, each separately, before and after the aberrations are removed: 1 flat, 0 anything.
    """

    q_invA: Frequency
    values: ComplexArray
    origin_px: tuple[int, int]
    area: LabelArray
    aberration: FloatArray
    flatness: tuple[float, float]

    @property
    def compensated(self) -> ComplexArray:
        """G (rows, cols) without the phase of the aberrations; 0 outside the two areas."""
        turned = self.values * np.exp(-1j * np.nan_to_num(self.aberration))
        return np.where(np.isnan(self.aberration), 0, turned).astype(np.complex64)


def trotter(store: Store, calibration: Calibration, q_invA: Frequency | None = None) -> Trotter:
    """Return G at the scan frequency nearest to ``q_invA`` (row, col; 1/Å, scan axes), or at the strongest.

    Unvisited points count as the mean. Raises MetadataError naming what the areas need (energy, semi-angle, step), or
    if no pixel lies in an overlap of two discs.
    """
    if isinstance(store.reduction, VectorReduction) and store.reduction.square_root:
        raise MetadataError("trotters need intensities, not their square roots", "send intensities")
    step = calibration.require("scan_step_A", "a trotter")
    conditions = ImagingConditions.of(
        calibration,
        store.reduction.basis,
        store.mean_pattern.shape,
        store.shape,
        (float(step[0]), float(step[1])),
    )
    wanted = strongest_frequency(store, conditions) if q_invA is None else q_invA
    q_scan = _on_grid(wanted, conditions)
    window = _window(conditions)
    values = _over_detector(store, _at_frequency(store, q_scan, conditions.step_A))[window]
    q = np.asarray(q_scan) @ rotation_matrix(conditions.rotation_deg).T
    grid = conditions.grid
    k = DetectorGrid(grid.k_row[window], grid.k_col[window], grid.pixel)
    area = overlap_areas(conditions.probe, k, q)
    if any(q_scan) and not ((area == MINUS) | (area == PLUS)).any():
        raise MetadataError(
            f"at frequency ({q_scan[0]:.4g}, {q_scan[1]:.4g}) 1/Å no two discs overlap without the third",
            f"give one between a detector pixel, {grid.pixel:.2g}, and {2 * conditions.probe.semiangle_invA:.3g}",
        )
    area[values == 0] = OUTSIDE
    aberration = aberration_phase(conditions.probe, k, q, area)
    largest = float(np.abs(values).max()) or 1.0
    return Trotter(
        q_invA=q_scan,
        values=(values / largest).astype(np.complex64),
        origin_px=(window[0].start, window[1].start),
        area=area,
        aberration=aberration.astype(np.float32),
        flatness=(_flatness(values, area), _flatness(values * np.exp(-1j * np.nan_to_num(aberration)), area)),
    )


def overlap_areas(probe: Probe, grid: DetectorGrid, q: DoubleArray) -> LabelArray:
    """Classify each pixel as OUTSIDE, MINUS, PLUS or BOTH, for a frequency q (row, col) in the detector frame."""

    def inside(sign: float) -> BoolArray:
        radius = np.hypot(grid.k_row + sign * q[0], grid.k_col + sign * q[1])
        return np.asarray(radius < probe.semiangle_invA - 0.5 * probe.edge_invA)

    direct = inside(0.0)
    return (MINUS * (direct & inside(-1.0)) + PLUS * (direct & inside(1.0))).astype(np.int32)


def aberration_phase(probe: Probe, grid: DetectorGrid, q: DoubleArray, area: LabelArray) -> DoubleArray:
    """Return the phase on the grid of the product of probe waves at frequency ``q`` (2,), 1/Å; NaN outside both areas.

    In rad: chi(k) - chi(k - Q) in one area, chi(k + Q) - chi(k) in the other.
    """
    direct = probe.chi(grid.k_row, grid.k_col)
    minus = direct - probe.chi(grid.k_row - q[0], grid.k_col - q[1])
    plus = probe.chi(grid.k_row + q[0], grid.k_col + q[1]) - direct
    return np.where(area == MINUS, minus, np.where(area == PLUS, plus, np.nan))


def strongest_frequency(store: Store, conditions: ImagingConditions) -> Frequency:
    """Return the frequency (row, col; scan axes) at which the centre of mass has the most power.

    Between LOWEST and HIGHEST of the aperture radius, where both overlaps are large enough to be visible.
    """
    power = (np.abs(np.fft.fft2(center_of_mass(store.moments, store.visited))) ** 2).sum(axis=0)
    rows, cols = (np.fft.fftfreq(n, step) for n, step in zip(store.shape, conditions.step_A, strict=True))
    radius = np.hypot(rows[:, None], cols[None, :]) / conditions.probe.semiangle_invA
    power[(radius < LOWEST) | (radius > HIGHEST)] = 0.0
    row, col = np.unravel_index(int(np.argmax(power)), power.shape)
    return float(rows[row]), float(cols[col])


def _on_grid(q: Frequency, conditions: ImagingConditions) -> Frequency:
    """Return the nearest frequency at which every unvisited or constant part of the scan sums to zero."""
    period = [n * step for n, step in zip(conditions.scan_shape, conditions.step_A, strict=True)]
    row, col = (round(value * length) / length for value, length in zip(q, period, strict=True))
    return float(row), float(col)


def _at_frequency(store: Store, q: Frequency, step_A: Frequency) -> ComplexArray:
    """Return the sum over visited points of (c_n - mean) exp(-2 pi i Q . R), (N,)."""
    rows, cols = store.shape
    ramp = q[0] * step_A[0] * np.arange(rows)[:, None] + q[1] * step_A[1] * np.arange(cols)[None, :]
    wave = np.exp(-2j * np.pi * ramp).ravel()
    visited = store.frames > 0
    share = np.where(visited, 1.0 / np.maximum(store.frames, 1), 0.0)  # bins hold sums over repeated frames
    share = share if store.beam is None else share / store.beam.relative
    weights = np.stack([share, share * wave.real, share * wave.imag]).astype(np.float32)
    total, real, imaginary = (weights @ store.bins).astype(float)
    mean = total / max(int(visited.sum()), 1)
    return np.asarray(real + 1j * imaginary - mean * wave[visited].sum())


def _over_detector(store: Store, coefficients: ComplexArray) -> ComplexArray:
    """Return what coefficients (N,) state about every recorded pixel, (Qy, Qx); 0 for pixels without information."""
    basis = store.reduction.basis
    if isinstance(basis, BinnedPixels):
        per_pixel = coefficients / basis.pixels_per_bin
        return np.asarray(np.where(basis.bin_of >= 0, per_pixel[basis.bin_of], 0))
    real, imaginary = (store.reduction.pattern(part) for part in (coefficients.real, coefficients.imag))
    return np.asarray(real + 1j * imaginary)


def _window(conditions: ImagingConditions) -> tuple[slice, slice]:
    """Return rows and columns of the detector around the bright field."""
    inside = conditions.grid.radius < _MARGIN * conditions.probe.semiangle_invA
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows) or not len(cols):
        return slice(0, inside.shape[0]), slice(0, inside.shape[1])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _flatness(values: ComplexArray, area: LabelArray) -> float:
    """Return |sum G| / sum |G|, numerator and denominator summed over both areas; 0 if there is no area."""
    coherent = total = 0.0
    for side in (MINUS, PLUS):
        inside = values[area == side]
        coherent, total = coherent + float(abs(inside.sum())), total + float(np.abs(inside).sum())
    return coherent / total if total else 0.0
