"""The share of the bright-field signal that a phase explains linearly: small if scattering is multiple.

At every frequency Q of the scan one number phi(Q) has to explain all bright-field pixels, c_n(Q) = phi(Q) B_n(Q) with B
the weak-phase transfer. With the noise of each pixel scaled to 1, the best phi explains |B* c|^2 / |B|^2 of |c|^2; of
noise alone it would explain 1 of N, the number of pixels. The share is the ratio of what exceeds both, summed over the
frequencies that the discs' overlaps carry. Quadratic terms of the exit wave are distributed differently over the
detector.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import fft

from ptylive.engine.bases.binned import BinnedPixels
from ptylive.engine.geometry import single_columns
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.strength.bright_modulation import bright_modulation
from ptylive.schema import Calibration, MetadataError
from ptylive.schema.maps import Strength
from ptylive.schema.model import DoubleArray
from ptylive.schema.scan import rotation_matrix

FIELD, MOST_FREQUENCIES = 64, 2048
"""Side in points of the central part of the scan that is used, and number of its frequencies, the strongest ones."""
RING = (0.2, 1.9)
"""Range of frequencies used, in semi-angles: both overlaps exist within it."""
DIM = 0.05
"""Share of the brightest pixel's mean below which pixels lie outside the disc."""
LEAST_PIXELS = 12
"""Fewest bright pixels: of noise alone a phase would explain more than a twelfth."""
OVER_NOISE = 1.2
"""Power over noise from which there is something to explain."""


class KeptStrength:
    """The strength of a specimen, computed once for all maps made from the same frames and calibration."""

    def __init__(self) -> None:
        self._of: tuple[Store, Calibration, int] | None = None
        self._strength = Strength()

    def of(self, store: Store, calibration: Calibration) -> Strength:
        """See :func:`strength_of`."""
        state, previous = (store, calibration, store.total_frames), self._of
        if previous is None or not (previous[0] is store and previous[1] is calibration and previous[2] == state[2]):
            self._of, self._strength = state, strength_of(store, calibration)
        return self._strength


def strength_of(store: Store, calibration: Calibration) -> Strength:
    """Return how strongly the specimen scatters, as far as the bright field of a scan shows it."""
    return _strength(store, lambda: explained_share(store, calibration))


def strength_under(store: Store, conditions: ImagingConditions) -> Strength:
    """Return the same for a trial of the imaging conditions."""
    return _strength(store, lambda: _explained_share(store, conditions))


def _strength(store: Store, explained: Callable[[], float | None]) -> Strength:
    """Return the modulation of the bright field, with what a phase explains of it if it is strong enough."""
    modulation = bright_modulation(store)
    if modulation is None or not Strength(modulation).is_asked:
        return Strength(modulation)
    return Strength(modulation, explained())


def explained_share(store: Store, calibration: Calibration) -> float | None:
    """Return the share, at most about 1, or None if it cannot be determined: optics are missing, steps are so large
    that frequencies are aliases of others, the detector basis consists of masks, points are missing, or there is
    nothing but noise.
    """
    conditions = _conditions(store, calibration)
    return None if conditions is None else _explained_share(store, conditions)


def _explained_share(store: Store, conditions: ImagingConditions) -> float | None:
    """Return the share of the module's docstring, of the strongest frequencies in the middle of the scan."""
    if not isinstance(store.reduction.basis, BinnedPixels):
        return None
    k_alpha = conditions.probe.semiangle_invA
    if 0.5 / max(conditions.step_A) < k_alpha:
        return None
    rows, cols = (slice((n - min(n, FIELD)) // 2, (n + min(n, FIELD)) // 2) for n in store.shape)
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    if not store.visited[rows, cols].all():
        return None
    bins = store.coefficients().reshape(*store.shape, -1)[rows, cols].astype(np.float32)
    mean = bins.mean(axis=(0, 1))
    bright = np.flatnonzero(mean > DIM * mean.max())
    if len(bright) < LEAST_PIXELS:
        return None
    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in shape)).astype(np.float32)
    scaled = (bins[..., bright] - mean[bright]) / np.sqrt(mean[bright]) * taper[..., None]
    spectra = fft.fft2(scaled, axes=(0, 1)).reshape(-1, len(bright)) / np.sqrt((taper**2).sum())
    q = _frequencies(shape, conditions)
    radius = np.hypot(*single_columns(q)) / k_alpha
    power = (np.abs(spectra) ** 2).sum(axis=1)
    inside = np.flatnonzero((radius > RING[0]) & (radius < RING[1]))
    inside = inside[np.argsort(-power[inside])][:MOST_FREQUENCIES]
    if power[inside].sum() < OVER_NOISE * len(bright) * max(len(inside), 1):
        return None
    transfer = conditions.transfer(q[inside]).T[:, bright] / np.sqrt(mean[bright])
    matched = np.abs(np.einsum("qn,qn->q", transfer.conj(), spectra[inside])) ** 2
    explained = matched / np.maximum((np.abs(transfer) ** 2).sum(axis=1), np.finfo(np.float32).tiny)
    return float((explained - 1).sum() / (power[inside] - len(bright)).sum())


def _conditions(store: Store, calibration: Calibration) -> ImagingConditions | None:
    basis, step = store.reduction.basis, calibration.get("scan_step_A")
    if step is None:
        return None
    shapes = (store.header.detector_shape, store.shape)
    try:
        return ImagingConditions.of(calibration, basis, *shapes, (float(step[0]), float(step[1])))
    except MetadataError:
        return None


def _frequencies(shape: tuple[int, int], conditions: ImagingConditions) -> DoubleArray:
    """Return Q (rows * cols, 2) of a part of the scan, detector frame."""
    axes = [np.fft.fftfreq(n, step) for n, step in zip(shape, conditions.step_A, strict=True)]
    scan = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.asarray(scan @ rotation_matrix(conditions.rotation_deg).T)
