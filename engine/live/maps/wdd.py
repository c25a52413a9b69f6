"""Wigner distribution deconvolution at fixed probe and fixed eps: linear until the phase is taken.

W_P(r, Q) = FFT_k[P*(k) P(k-Q)]; w(k, Q) = m^-2 FFT_r[W_P* / (|W_P|^2 + eps max|W_P(r, 0)|^2)];
D(Q) = sum_k w(k, Q) I_hat(k, Q) = O(Q) O*(0). The spectrum is not Hermitian: full planes are needed, and the mean
pattern sets D(0), without which the phase means nothing. Rodenburg & Bates 1992; live-maths, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft

from ptylive.engine.live.band import Band
from ptylive.engine.live.bank import Picture, Spectra
from ptylive.engine.live.setting import Setting
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray

EPSILON = 0.01
WINDOW = 1.5
"""Side of the square of detector frequencies deconvolved, in aperture radii times two: the disc and room around it."""
CHUNK = 512


@dataclass(frozen=True, eq=False)
class WignerDeconvolution:
    """Filters: weights (nb, N) on the whole plane, and those of Q = 0 (N,)."""

    band: Band
    weights: ComplexArray
    at_zero: ComplexArray
    epsilon: float

    @classmethod
    def build(cls, setting: Setting, _mean: DoubleArray, epsilon: float = EPSILON) -> WignerDeconvolution:
        """Filters for a setting; zero where probe discs don't overlap."""
        window = _DetectorWindow.around_disc(setting)
        strongest = float((np.abs(window.wigner(setting, np.zeros((1, 2)))) ** 2).max())

        def deconvolved(q: DoubleArray) -> ComplexArray:
            weights = np.empty((setting.basis.count, len(q)), dtype=np.complex64)
            for start in range(0, len(q), CHUNK):
                part = slice(start, start + CHUNK)
                wigner = window.wigner(setting, q[part])
                inverse = wigner.conj() / (np.abs(wigner) ** 2 + np.float32(epsilon * strongest))
                kernel = np.asarray(fft.fft2(inverse, axes=(1, 2))).reshape(len(wigner), -1)
                kernel /= np.float32(window.side**2)
                weights[:, part] = setting.basis.dual(setting.basis.sums_at(window.pixel, kernel.T))
            return weights

        band = setting.band(half=False)
        at_zero = deconvolved(np.zeros((1, 2)))[:, 0]
        return cls(band, band.evaluate(deconvolved), at_zero, epsilon)

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """The maps ``wdd_phase`` and ``wdd_amplitude``."""
        phase, amplitude = self.images(spectra)
        method, settings = "Wigner distribution deconvolution", {"epsilon": self.epsilon}
        yield Picture("wdd_phase", phase, "rad", method, settings)
        yield Picture("wdd_amplitude", amplitude, "relative", method, settings)

    def images(self, spectra: Spectra) -> tuple[FloatArray, FloatArray]:
        """Phase in rad and amplitude (1 = the mean), both (rows, cols)."""
        mean = complex(self.at_zero @ spectra.mean)
        field = spectra.complex_image(self.band, spectra.contract(self.band, self.weights)) + np.complex64(mean)
        size = max(abs(mean), 1e-12)
        field = field * np.complex64(mean.conjugate() / size)
        return np.angle(field).astype(np.float32), (np.abs(field) / size).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _DetectorWindow:
    """A square of recorded pixels around the bright field on which P*(k) P(k-Q) is transformed."""

    side: int
    k: DoubleArray
    pixel: IndexArray
    """(side * side,) flat index of each window pixel on the detector, -1 outside it."""

    @classmethod
    def around_disc(cls, setting: Setting) -> _DetectorWindow:
        """The detector's own pixel positions, continued past its edge where the window is larger."""
        radius_px = setting.probe.semiangle_invA / setting.grid.pixel
        side = int(fft.next_fast_len(int(np.ceil(WINDOW * 2 * radius_px / 2) * 2)))
        # index of the pixel nearest the beam, and the unit steps of the recorded axes in the detector frame
        nearest = np.unravel_index(int(np.argmin(setting.grid.radius)), setting.grid.k_row.shape)
        origin = np.array([setting.grid.k_row[nearest], setting.grid.k_col[nearest]])
        d_row, d_col = _axis_steps(setting)
        offset = np.arange(side) - side // 2
        k = origin + offset[:, None, None] * d_row + offset[None, :, None] * d_col
        rows, cols = nearest[0] + offset, nearest[1] + offset
        shape = setting.grid.k_row.shape
        inside = ((rows >= 0) & (rows < shape[0]))[:, None] & ((cols >= 0) & (cols < shape[1]))[None]
        pixel = np.where(inside, rows[:, None] * shape[1] + cols[None], -1)
        return cls(side, np.ascontiguousarray(k.reshape(-1, 2)), pixel.ravel())

    def wigner(self, setting: Setting, q: DoubleArray) -> ComplexArray:
        """W_P(r, Q): (nq, side, side)."""
        product = setting.overlap_products(self.k, q).T.reshape(len(q), self.side, self.side)
        return np.asarray(fft.fft2(product, axes=(1, 2)))


def _axis_steps(setting: Setting) -> tuple[DoubleArray, DoubleArray]:
    """One recorded row and one recorded column as steps (row, col) in the detector frame, 1/Å."""
    k_row, k_col = setting.grid.k_row, setting.grid.k_col
    d_row = np.array([k_row[1, 0] - k_row[0, 0], k_col[1, 0] - k_col[0, 0]])
    d_col = np.array([k_row[0, 1] - k_row[0, 0], k_col[0, 1] - k_col[0, 0]])
    return d_row, d_col
