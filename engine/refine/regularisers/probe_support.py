"""Support of the probe: inside the aperture, and inside a window in real space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.errors import MetadataError
from ptylive.schema.files.npy import read_npy
from ptylive.schema.model import DoubleArray, FloatArray


@regulariser("probe_reg_constraint", acts_on="probe", switches=("probe_reg_constraint_weight",), order=60)
@dataclass(frozen=True)
class OutsideAperture:
    """weight * sum over unwanted frequencies of |P(k)|^2 (PyPty: probe_reg_constraint, its documented L2 norm)."""

    weight: float
    unwanted: FloatArray
    """(P, P), zero frequency at [0, 0]: 1 outside the aperture, 0 inside."""

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> OutsideAperture | None:
        """The penalty for one epoch; None if its weight is 0. Raises MetadataError for an unusable mask."""
        weight, settings = context.weight("probe_reg_constraint_weight"), context.settings
        if weight <= 0:
            return None
        if settings.probe_constraint_mask is not None:
            return cls(weight, outside_mask(settings.probe_constraint_mask, context.layout.window))
        return cls(weight, outside_circle(context.k_radius, settings.probe_constraint_radius * context.semiangle_invA))

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        pull = self.weight * xp.asarray(self.unwanted) * wave
        return Penalised((pull * wave.conj()).real.sum(dtype="float64"), 2 * pull)


@regulariser("window", acts_on="probe", switches=("window_weight",), order=70)
@dataclass(frozen=True)
class OutsideWindow:
    """weight * sum W(r) |P(r)|^2 with P(r) = F^H P(k) unitary (PyPty: window)."""

    weight: float
    window: FloatArray
    """W (P, P), centred on pixel P // 2: 0 where the probe is free, up to 1 outside."""

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> OutsideWindow | None:
        """The penalty for one epoch; None if its weight is 0. Raises MetadataError for an unusable file."""
        weight, window, size = context.weight("window_weight"), context.settings.window, context.layout.window
        if weight <= 0:
            return None
        return cls(weight, window_weights(window, size) if isinstance(window, str) else outside_radii(size, *window))

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        real_space = xp.fft.ifft2(wave, norm="ortho")
        pull = self.weight * xp.asarray(self.window) * real_space
        value = (pull * real_space.conj()).real.sum(dtype="float64")
        return Penalised(value, 2 * xp.fft.fft2(pull, norm="ortho"))


def outside_circle(k_radius: DoubleArray, radius_invA: float) -> FloatArray:
    """1 beyond a spatial frequency, 0 within it."""
    return (k_radius > radius_invA).astype(np.float32)


def outside_mask(path: str, size: int) -> FloatArray:
    """1 where the mask in a npy file (P, P), zero frequency at P // 2, is false; FFT order."""
    return np.asarray(np.fft.ifftshift(_load_array("probe_constraint_mask", path, size) == 0), dtype=np.float32)


def outside_radii(size: int, inner: float, outer: float) -> FloatArray:
    """0 within ``inner`` half widths of the centre, 1 beyond ``outer``, sin^2 between (P, P)."""
    coordinates = np.arange(size) - size // 2
    radius = np.hypot(coordinates[:, None], coordinates[None, :]) / (size / 2)
    share = np.clip((radius - inner) / max(outer - inner, 1e-9), 0, 1)
    return np.asarray(np.sin(np.pi / 2 * share) ** 2, dtype=np.float32)


def window_weights(path: str, size: int) -> FloatArray:
    """Weights of a window from a npy file (P, P), centred on pixel P // 2."""
    return np.asarray(_load_array("window", path, size), dtype=np.float32)


def _load_array(name: str, path: str, size: int) -> DoubleArray:
    values = read_npy(name, path, "give an npy file of numbers", dtype=np.float64)
    if values.shape != (size, size):
        raise MetadataError(f"{name} {path} has shape {values.shape}", f"the window has {size} x {size} pixels")
    return values
