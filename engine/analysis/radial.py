"""Ring averages: of the object's power by frequency, of the probe's intensity by distance from its centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import Array, ComplexArray, DoubleArray, FloatArray


@dataclass(frozen=True)
class RadialMean:
    """Means over rings one pixel wide."""

    radius: DoubleArray
    """Radius of each ring's centre line: 1/Å, or Å."""
    mean: DoubleArray


def object_power(phase: FloatArray, pixel_A: float) -> RadialMean:
    """Return the power spectrum of the phase of all slices together (slices, Y, X), Hann window, up to Nyquist.

    Mean |F|² over rings, F the discrete Fourier transform divided by the number of pixels: power at a frequency, rad².
    """
    plane = phase.sum(axis=0, dtype=np.float64)
    window = np.hanning(plane.shape[0])[:, None] * np.hanning(plane.shape[1])
    weight = window.sum()
    level = (plane * window).sum() / weight if weight > 0 else 0.0
    power = np.abs(np.fft.fft2((plane - level) * window) / max(weight, 1e-300)) ** 2
    row, column = (np.fft.fftfreq(n, pixel_A) for n in plane.shape)
    step = 1 / (max(plane.shape) * pixel_A)
    return _rings(power, np.hypot(row[:, None], column), step, 0.5 / pixel_A)


def probe_intensity(probe: ComplexArray, pixel_A: float) -> RadialMean:
    """Return the intensity of all modes of a probe (modes, P, P) around its centre of mass, relative to the maximum."""
    intensity = (np.abs(probe) ** 2).sum(axis=0, dtype=np.float64)
    pixel = np.arange(intensity.shape[-1])
    total = max(float(intensity.sum()), 1e-300)
    middle = [(intensity.sum(axis=1 - axis) * pixel).sum() / total for axis in (0, 1)]
    distance_A = np.hypot((pixel - middle[0])[:, None], pixel - middle[1]) * pixel_A
    profile = _rings(intensity, distance_A, pixel_A, (len(pixel) // 2) * pixel_A)
    return RadialMean(profile.radius, profile.mean / max(float(profile.mean.max()), 1e-300))


def _rings(values: Array, radius: Array, step: float, largest: float) -> RadialMean:
    """Return means of values over rings of a width, up to the largest radius."""
    ring = np.rint(radius / step).astype(int).ravel()
    count = int(np.floor(largest / step)) + 1
    sums = np.bincount(ring, weights=values.ravel(), minlength=count)[:count]
    pixels = np.bincount(ring, minlength=count)[:count]
    radii = np.asarray(step * np.arange(count), dtype=np.float64)
    return RadialMean(radii, np.asarray(sums / np.maximum(pixels, 1), dtype=np.float64))
