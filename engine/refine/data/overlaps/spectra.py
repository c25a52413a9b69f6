"""The patterns' transform over the scan, at half of its frequencies, which suffice as counts are real."""

from __future__ import annotations

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema.model import Array, DoubleArray

AT_ONCE = 64
"""Number of pixels transformed together."""


def _counts_at(patterns: Array, offsets_px: DoubleArray | None, pixels: Array) -> Array:
    """Counts (n, pixels) of patterns (n, P, P); interpolated between pixels if patterns are displaced."""
    if offsets_px is None:
        return np.asarray(patterns[:, pixels[:, 0], pixels[:, 1]])
    lower = np.floor(offsets_px).astype(int)
    part, size, number = offsets_px - lower, patterns.shape[-1], np.arange(len(patterns))[:, None]
    counts = np.zeros((len(patterns), len(pixels)))
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - part[:, :1]) * np.abs(1 - right - part[:, 1:])
            rows = (pixels[:, 0] + lower[:, :1] + down) % size  # zero frequency first
            counts += weight * patterns[number, rows, (pixels[:, 1] + lower[:, 1:] + right) % size]
    return counts


def half_spectra(dataset: Dataset, window: ScanWindow, pixels: Array) -> tuple[DoubleArray, Array]:
    """Orders (n, 2) of half of the scan's frequencies, and the chosen pixels there (n, 2 windows, pixels) complex64."""
    import scipy.fft

    rows, columns = dataset.scan_shape
    signal = np.zeros((rows * columns, len(pixels)), np.float32)
    for first in range(0, len(dataset.point), 256):
        part = slice(first, first + 256)
        offsets = None if dataset.offsets_px is None else dataset.offsets_px[part]
        counts = _counts_at(window.patterns[part], offsets, pixels)
        signal[dataset.point[part]] = counts if dataset.current is None else counts / dataset.current[part, None]
    arrived = np.zeros(rows * columns, dtype=bool)
    arrived[dataset.point] = True
    signal[arrived] -= signal[arrived].mean(axis=0)  # missing points stay at the mean
    cube = signal.reshape(rows, columns, -1)
    hann = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1]).astype(np.float32)
    orders = np.stack(np.meshgrid(np.fft.fftfreq(rows, 1 / rows), np.fft.fftfreq(columns, 1 / columns), indexing="ij"))
    flat = orders.reshape(2, -1).T
    half = (flat[:, 0] > 0) | ((flat[:, 0] == 0) & (flat[:, 1] > 0)) | (2 * flat[:, 0] == -rows)
    spectra = np.empty((np.count_nonzero(half), 2, len(pixels)), np.complex64)
    for number, taper in enumerate((np.ones_like(hann), hann / np.sqrt((hann**2).mean()))):
        for first in range(0, len(pixels), AT_ONCE):
            chunk = slice(first, first + AT_ONCE)
            transform = scipy.fft.fft2(cube[..., chunk] * taper[..., None], axes=(0, 1), overwrite_x=True)
            spectra[:, number, chunk] = transform.reshape(rows * columns, -1)[half]
    return flat[half], spectra
