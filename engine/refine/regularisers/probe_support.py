"""Where the probe may be: inside the aperture, and inside a window in real space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray, FloatArray


@dataclass(frozen=True)
class OutsideAperture:
    """weight * sum over unwanted frequencies of |P(k)|^2 (PyPty: probe_reg_constraint, its documented L2 norm)."""

    weight: float
    unwanted: FloatArray
    """(P, P), zero frequency at [0, 0]: 1 outside the aperture, 0 inside."""

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        pull = self.weight * xp.asarray(self.unwanted) * wave
        return Penalised((pull * wave.conj()).real.sum(dtype="float64"), 2 * pull)


@dataclass(frozen=True)
class OutsideWindow:
    """weight * sum W(r) |P(r)|^2 with P(r) = F^H P(k) unitary (PyPty: window)."""

    weight: float
    window: FloatArray
    """W (P, P), centred on pixel P // 2: 0 where the probe is free, up to 1 outside."""

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        real_space = xp.fft.ifft2(wave, norm="ortho")
        pull = self.weight * xp.asarray(self.window) * real_space
        value = (pull * real_space.conj()).real.sum(dtype="float64")
        return Penalised(value, 2 * xp.fft.fft2(pull, norm="ortho"))


def outside_circle(k_radius: DoubleArray, radius_invA: float) -> FloatArray:
    """1 beyond a spatial frequency, 0 within."""
    return (k_radius > radius_invA).astype(np.float32)


def outside_mask(path: str, size: int) -> FloatArray:
    """1 where the mask in a npy file (P, P), zero frequency at P // 2, is not true; FFT order."""
    return np.asarray(np.fft.ifftshift(_read(path, size) == 0), dtype=np.float32)


def outside_radii(size: int, inner: float, outer: float) -> FloatArray:
    """0 within ``inner`` half widths of the centre, 1 beyond ``outer``, sin^2 between (P, P)."""
    away = np.arange(size) - size // 2
    radius = np.hypot(away[:, None], away[None, :]) / (size / 2)
    share = np.clip((radius - inner) / max(outer - inner, 1e-9), 0, 1)
    return np.asarray(np.sin(np.pi / 2 * share) ** 2, dtype=np.float32)


def window_weights(path: str, size: int) -> FloatArray:
    """Weights of a window from a npy file (P, P), centred on pixel P // 2."""
    return np.asarray(_read(path, size), dtype=np.float32)


def _read(path: str, size: int) -> DoubleArray:
    try:
        values = np.asarray(np.load(Path(path), allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise MetadataError(f"{path}: {error}", "give a npy file of numbers") from None
    if values.shape != (size, size):
        raise MetadataError(f"{path} has shape {values.shape}", f"the window has {size} x {size} pixels")
    return values
