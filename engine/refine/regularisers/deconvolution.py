"""Sharpening of atoms: deconvolution of images with the Gaussian shape assumed for an atom."""

from __future__ import annotations

from typing import Any

import numpy as np

WIENER_NOISE = 1e-3
"""Wiener's constant: frequencies that the Gaussian transmits with less than its square root are not amplified."""
SETTLED = 1e-3
"""Richardson-Lucy iteration ends when no image's correction changes by more than this sum of squares (PyPty's)."""
MOST_ITERATIONS = 100
"""Most iterations; those left after it has settled are not made."""
FAINTEST = 1e-5
"""Share of an image's largest value: fainter pixels are rounding of the transforms, and are not divided by."""


def gaussian(shape: tuple[int, int], sigma_px: float, xp: Any) -> Any:
    """Transform of a Gaussian with unit sum; standard deviation in pixels (Y, X)."""
    f_y, f_x = xp.fft.fftfreq(shape[0])[:, None], xp.fft.fftfreq(shape[1])[None, :]
    return xp.exp(-2 * np.pi**2 * sigma_px**2 * (f_y**2 + f_x**2)).astype(np.float32)


def filtered(values: Any, transfer: Any, xp: Any) -> Any:
    """Multiply real or complex values (…) by ``transfer`` over its axes in Fourier space."""
    axes = tuple(range(-transfer.ndim, 0))
    result = xp.fft.ifftn(transfer * xp.fft.fftn(values, axes=axes), axes=axes)
    return (result if values.dtype.kind == "c" else result.real).astype(values.dtype)


def wiener(values: Any, sigma_px: float, xp: Any) -> Any:
    """Values (…, Y, X) times g (1 + c) / (g^2 + c), g the Gaussian's transform; their mean is preserved."""
    shape = gaussian(values.shape[-2:], sigma_px, xp)
    return filtered(values, shape * (1 + WIENER_NOISE) / (shape**2 + WIENER_NOISE), xp)


def richardson_lucy(values: Any, sigma_px: float, xp: Any) -> Any:
    """Richardson-Lucy deconvolution of values (…, Y, X) at or above 0 (Richardson 1972, Lucy 1974).

    u <- u * (g conv (d / (g conv u))), from u = d. Values stay at or above 0 and keep their sum; periodic.
    """
    shape = gaussian(values.shape[-2:], sigma_px, xp)
    sharp, last = values, None
    faintest = xp.maximum(FAINTEST * values.max(axis=(-2, -1), keepdims=True), 1e-30)
    for _ in range(MOST_ITERATIONS):
        expected = filtered(sharp, shape, xp)
        correction = filtered(values / xp.maximum(expected, faintest), shape, xp)
        if last is not None and float(((correction - last) ** 2).sum(axis=(-2, -1)).max()) <= SETTLED:
            break
        sharp, last = sharp * correction, correction
    return sharp
