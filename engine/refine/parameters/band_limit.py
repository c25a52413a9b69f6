"""Band limits as in PyPty: A(q) = 1 up to kappa q_max, 0 beyond, with a roll-off of width rho in between.

    A = (1 + cos(pi (q^2 - r0^2) / (r1^2 - r0^2))) / 2   for r0 < |q| < r1,  r0 = (kappa - rho) q_max,  r1 = kappa q_max

q_max = 1 / (2 pixel). Waves, windows and far field are limited by A (kappa: ``damping_cutoff_multislice``, rho:
``smooth_rolloff``), object and probe as a whole at kappa - ``update_extra_cut``. PyPty filters these between epochs;
here the filter is part of the mapping from parameters to object and probe, so the loss being minimised is that of the
filtered ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.model import FloatArray


def band_limit(shape: tuple[int, int], cutoff: float, rolloff: float) -> FloatArray:
    """A (rows, columns), zero frequency at [0, 0]; ``cutoff`` and ``rolloff`` are shares of the largest frequency."""
    frequency = [2 * np.fft.fftfreq(size) for size in shape]
    squared = frequency[0][:, None] ** 2 + frequency[1][None, :] ** 2
    inner, outer = max(cutoff - rolloff, 0.0) ** 2, cutoff**2
    if outer <= inner:
        return np.asarray(squared <= outer, dtype=np.float32)
    share = np.clip((squared - inner) / (outer - inner), 0, 1)
    return np.asarray(0.5 * (1 + np.cos(np.pi * share)), dtype=np.float32)


@dataclass(frozen=True)
class Cleaning:
    """Filters that are applied to object and probe before use."""

    object_band: FloatArray
    """(Y, X)."""
    probe_band: FloatArray
    """(P, P)."""

    def clean_object(self, planes: Any, xp: Any) -> Any:
        """Filter planes (2, slices, Y, X) of real and imaginary parts."""
        spectrum = xp.fft.fft2(planes[0] + 1j * planes[1]) * xp.asarray(self.object_band)
        filtered = xp.fft.ifft2(spectrum)
        return xp.stack([filtered.real, filtered.imag]).astype(planes.dtype)

    def clean_probe(self, planes: Any, xp: Any) -> Any:
        """Filter planes (2, modes, P, P) in Fourier space."""
        return planes * xp.asarray(self.probe_band, dtype=planes.dtype)
