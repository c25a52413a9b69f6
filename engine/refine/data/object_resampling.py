"""Conversion of a transmission to other slices, other pixels or another number of object modes.

Along the beam the logarithm of the transmission is redistributed, so that phase and absorption of the whole depth are
preserved; in the plane the transmission is interpolated, and surrounded by vacuum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptylive.schema.model import ComplexArray, DoubleArray

MODE_SPREAD_RAD = 0.02
"""Size of the random phases by which object modes differ at the start: equal modes would stay equal."""
FAINTEST = 1e-6
"""Smallest modulus: fainter transmissions are raised to it, so that their logarithm is finite."""


def depth_shares(old_A: Sequence[float], new_A: Sequence[float], depth_A: float = 0.0) -> DoubleArray:
    """(new slices, old slices) share of each old slice in each new one, from the thicknesses of both.

    Each slice keeps its depth below the entrance; ``depth_A``: depth of the old entrance below the new one. Anything
    deeper than the last old slice, or above the first, is vacuum; the last new slice gets everything below it, so every
    column sums to 1, except for parts above the new entrance, which are cut off. A single slice represents the whole
    depth, whatever that is, from the old entrance on.
    """
    old, new = np.asarray(old_A, dtype=float), np.asarray(new_A, dtype=float)
    if len(old) == 1 or not (old > 0).all():  # of unknown depth: all of it is distributed
        depth = float(new.sum()) - depth_A
        old = np.full(len(old), (depth if depth > 0 else 1.0) / len(old))
    if not (new > 0).all():
        new = np.full(len(new), old.sum() / len(new))
    top, bottom = (edge + depth_A for edge in _edges(old))
    new_top, new_bottom = _edges(new)
    new_bottom[-1] = max(new_bottom[-1], bottom[-1])
    common = np.minimum(bottom, new_bottom[:, None]) - np.maximum(top, new_top[:, None])
    return np.asarray(np.maximum(common, 0.0) / old)


def _edges(thickness_A: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Depth of the top and of the bottom of each slice, Å."""
    bottom = np.cumsum(thickness_A)
    return np.concatenate([[0.0], bottom[:-1]]), bottom


def in_slices(
    transmission: ComplexArray, old_A: Sequence[float], new_A: Sequence[float], depth_A: float = 0.0
) -> ComplexArray:
    """Convert a transmission (modes, slices, Y, X) to slices of other thicknesses, Å, by :func:`depth_shares`.

    The product of all slices is preserved if nothing is cut off. Phases are unwrapped before they are divided.
    """
    shares = depth_shares(old_A, new_A, depth_A)
    if shares.shape[0] == shares.shape[1] and np.allclose(shares, np.eye(len(shares)), atol=1e-6):
        return transmission
    resampled = np.empty((len(transmission), len(shares), *transmission.shape[2:]), np.complex64)
    for mode, planes in zip(resampled, transmission, strict=True):
        absorbed = np.log(np.maximum(np.abs(planes), FAINTEST))
        logarithm = absorbed + 1j * np.stack([unwrapped(np.angle(plane)) for plane in planes])
        mode[:] = np.exp(np.tensordot(shares, logarithm, 1))
    return resampled


def unwrapped(phase: DoubleArray) -> DoubleArray:
    """A phase (Y, X) without its jumps of 2 pi; the median along its border, where vacuum is, is nearest to 0.

    Least squares fit of the wrapped differences (Ghiglia and Romero, J. Opt. Soc. Am. A 11, 107, 1994), by cosine
    transforms; the nearest multiples of 2 pi are then added to the phase, so that it describes the same wave.
    """
    from scipy.fft import dctn, idctn

    phase = np.asarray(phase, dtype=np.float64)
    divergence = np.zeros_like(phase)
    for axis in (0, 1):
        step = np.angle(np.exp(1j * np.diff(phase, axis=axis)))
        padding = [(1, 1) if each == axis else (0, 0) for each in (0, 1)]
        divergence += np.diff(np.pad(step, padding), axis=axis)
    y, x = (np.cos(np.pi * np.arange(n) / n) for n in phase.shape)
    laplacian = 2 * (y[:, None] + x[None, :] - 2)
    laplacian[0, 0] = 1.0
    fit = idctn(dctn(divergence, norm="ortho") / laplacian, norm="ortho")
    difference = phase - fit
    difference -= np.angle(np.exp(1j * difference).sum())
    turns = -np.rint(difference / (2 * np.pi))
    border = np.concatenate([(phase + 2 * np.pi * turns)[edge] for edge in _BORDER])
    return np.asarray(phase + 2 * np.pi * (turns - np.rint(np.median(border) / (2 * np.pi))))


_BORDER = (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1])


def in_modes(transmission: ComplexArray, modes: int) -> ComplexArray:
    """Convert a transmission (modes, slices, Y, X) to another number of modes.

    Fewer modes are means of the existing ones; additional modes repeat these with small differences, so that they can
    diverge.
    """
    present = len(transmission)
    if modes <= present:
        return np.asarray(np.stack([transmission[mode::modes].mean(axis=0) for mode in range(modes)]), np.complex64)
    repeated = transmission[np.arange(modes) % present]
    phase = MODE_SPREAD_RAD * np.random.default_rng(0).random((modes - present, *transmission.shape[1:]), np.float32)
    repeated[present:] *= np.exp(1j * phase)
    return repeated


def on_pixels(
    transmission: ComplexArray,
    sampling_A: tuple[float, float],
    first_px: tuple[float, float],
    shape: tuple[int, int],
) -> ComplexArray:
    """Resample a transmission (modes, slices, Y, X) to other pixels; surrounded by vacuum, which is 1.

    sampling_A: of the old and of the new pixels; first_px: place of the new pixel (0, 0), in old pixels; shape:
    (rows, columns) of the new ones. For coarser pixels, details are blurred to the pixel size.
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    scale = sampling_A[1] / sampling_A[0]
    blur_px = 0.5 * np.sqrt(max(scale**2 - 1, 0.0))  # Gaussian widths add in squares: half a pixel becomes half a pixel
    matrix = np.diag([scale, scale])  # SciPy before 1.14 warns if two numbers are given instead
    resampled = np.empty((*transmission.shape[:2], *shape), np.complex64)
    for index in np.ndindex(*transmission.shape[:2]):
        deviation = transmission[index] - 1
        deviation = gaussian_filter(deviation, blur_px) if blur_px > 0.5 else deviation
        resampled[index] = 1 + affine_transform(deviation, matrix, first_px, shape, order=3, mode="constant")
    return resampled
