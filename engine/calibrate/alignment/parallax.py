"""Defocus, astigmatism and rotation by aligning the images of the bright field's bins: another start for the fit.

Each detector pixel k of a defocused scan shows the specimen shifted by s(k) = grad chi(k) / 2 pi. The images of bins
are correlated with their aligned mean, coarse bins first, and a matrix is fitted to the shifts, s = A k. Its polar
decomposition is a rotation and a symmetric part lam [[C10 + C12a, C12b], [C12b, C10 - C12a]]. The method needs neither
a model of the contrast nor a grid of trial values, but an amorphous specimen: on a lattice the correlation has many
equal peaks. Varnavides et al. 2023 (parallax, py4DSTEM); docs/theory/calibration.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.calibrate.modulation import edge_taper
from ptylive.engine.geometry import parabola_vertex
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray

CELLS_ACROSS = (3, 3, 5, 5, 7, 7, 9, 9, 11)
"""Bins along the disc's diameter in each round, coarse first: early images must be strong, the last ones sharp."""
LEAST_ROWS = 8
"""Fewest visited rows of a scan whose images are correlated: they must be larger than their shifts."""
LEAST_CELLS = 4
"""Fewest bins inside the disc: the four elements of the matrix need two shifts, and the mean shift is free."""
LEAST_CORRELATION = 0.2
"""Correlation of the images with their aligned mean below which the alignment is not believed."""


@dataclass(frozen=True)
class Alignment:
    """Start (C10, C12a, C12b in Å, rotation in rad, within half a turn) and the agreement of the images."""

    start: DoubleArray
    correlation: float


def align(store: Store, conditions: ImagingConditions) -> Alignment | None:
    """Align the bins' images of a store; None for other bases than bins, few rows, or images that do not agree."""
    basis = store.reduction.basis
    rows = np.flatnonzero(store.visited.any(axis=1))
    if not isinstance(basis, BinnedPixels) or len(rows) < LEAST_ROWS:
        return None
    images = images_of_bins(store, slice(rows[0], rows[-1] + 1))
    position = bin_positions(basis, conditions)
    matrix = np.zeros((2, 2))
    correlation = 0.0
    for across in CELLS_ACROSS:
        k, spectra = cells(images, position, basis.pixels_per_bin, conditions.probe.semiangle_invA, across)
        if len(k) < LEAST_CELLS:
            return None
        fitted, correlation = _round(k, spectra, matrix, conditions.step_A)
        matrix = fitted
    if correlation < LEAST_CORRELATION:
        return None
    return Alignment(_optics(matrix, conditions.probe.wavelength_A), correlation)


def images_of_bins(store: Store, rows: slice) -> FloatArray:
    """Return mean-free, edge-tapered images (N, rows, cols) of the bins, each of unit mean; 0 if without counts."""
    bins = store.coefficients().reshape(*store.shape, -1)
    mean = bins[store.visited].mean(axis=0, dtype=np.float64).astype(bins.dtype)
    usable = store.visited[..., None] & (mean > 0)
    cube = np.where(usable, bins / np.where(mean > 0, mean, 1.0) - 1.0, 0.0)[rows]
    window = edge_taper(cube.shape[0])[:, None] * edge_taper(cube.shape[1])[None]
    return np.ascontiguousarray((cube * window[..., None]).transpose(2, 0, 1), dtype=np.float32)


def bin_positions(basis: BinnedPixels, conditions: ImagingConditions) -> DoubleArray:
    """Return the centre (N, 2) of each bin, 1/Å, detector frame."""
    label = basis.bin_of.ravel()
    inside = label >= 0
    sums = [np.bincount(label[inside], k.ravel()[inside]) for k in (conditions.grid.k_row, conditions.grid.k_col)]
    return np.stack(sums, -1) / basis.pixels_per_bin[:, None]


def cells(
    images: FloatArray, position: DoubleArray, weight: DoubleArray, radius: float, across: int
) -> tuple[DoubleArray, ComplexArray]:
    """Return centres (c, 2) of square cells of bins inside the disc, and transforms (c, rows, cols) of mean images."""
    side = 2 * radius / across
    index = np.floor(position / side + 0.5).astype(int)
    inside = np.hypot(position[:, 0], position[:, 1]) < radius
    names, cell = np.unique(index[inside], axis=0, return_inverse=True)
    share = np.zeros((len(names), inside.sum()), dtype=np.float32)
    share[cell.ravel(), np.arange(inside.sum())] = weight[inside]
    share /= share.sum(axis=1, keepdims=True)
    means = (share @ images[inside].reshape(inside.sum(), -1)).reshape(len(names), *images.shape[1:])
    return share @ position[inside], np.asarray(fft.fft2(means)).astype(np.complex64)


def _round(
    k: DoubleArray, spectra: ComplexArray, matrix: DoubleArray, step_A: tuple[float, float]
) -> tuple[DoubleArray, float]:
    """Make one round: shifts of all cells against their aligned mean, and the matrix (2, 2), Å^2, fitted to them."""
    rows, cols = spectra.shape[1:]
    q = np.stack(np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(cols), indexing="ij"))
    expected = (k @ matrix.T) / np.asarray(step_A)
    aligned = spectra * np.exp(-2j * np.pi * np.tensordot(expected, q, 1))
    total = aligned.sum(axis=0)
    measured, agreement = np.empty_like(expected), np.empty(len(k))
    for n, spectrum in enumerate(aligned):
        rest = total - spectrum
        power = np.sqrt((np.abs(spectrum) ** 2).sum() * (np.abs(rest) ** 2).sum())
        field = fft.ifft2(spectrum * rest.conj()).real * (rows * cols / max(float(power), 1e-30))
        peak, agreement[n] = peak_of(field)
        measured[n] = expected[n] - peak
    shift_A = measured * np.asarray(step_A)
    weight = np.maximum(agreement, 1e-3)[:, None]
    fitted, *_ = np.linalg.lstsq(k * weight, shift_A * weight, rcond=None)
    return np.asarray(fitted.T), float(agreement.mean())


def peak_of(field: DoubleArray) -> tuple[DoubleArray, float]:
    """Return the place (2,), in points, of a periodic field's maximum, interpolated by parabolas, and its height."""
    top = np.unravel_index(int(np.argmax(field)), field.shape)
    place = []
    for axis, n in enumerate(field.shape):
        values = [field[tuple((top[a] + (d if a == axis else 0)) % field.shape[a] for a in (0, 1))] for d in (-1, 0, 1)]
        place.append((top[axis] + parabola_vertex(*values) + n / 2) % n - n / 2)
    return np.array(place), float(field[top])


def _optics(matrix: DoubleArray, wavelength_A: float) -> DoubleArray:
    """Return (C10, C12a, C12b, rotation) of s_scan = R(-rotation) lam H k, H the symmetric part."""
    u, scale, vt = np.linalg.svd(matrix)
    if np.linalg.det(u @ vt) < 0:
        # astigmatism exceeds defocus: to keep a proper rotation, one axis is focused the other way
        scale[1], u[:, 1] = -scale[1], -u[:, 1]
    rotor = u @ vt
    symmetric = (vt.T * scale) @ vt / wavelength_A
    rotation = -np.arctan2(rotor[1, 0], rotor[0, 0])
    return np.array(
        [
            0.5 * (symmetric[0, 0] + symmetric[1, 1]),
            0.5 * (symmetric[0, 0] - symmetric[1, 1]),
            symmetric[0, 1],
            rotation,
        ]
    )
