"""Wigner distribution deconvolution with fixed probe and fixed eps: linear up to the final phase.

W_P(r, Q) = FFT_k[P*(k) P(k-Q)]; w(k, Q) = m^-2 FFT_r[W_P* / (|W_P|^2 + eps max|W_P(r, 0)|^2)];
D(Q) = sum_k w(k, Q) I_hat(k, Q) = O(Q) O*(0). The spectrum is not Hermitian, so full planes are needed, and the mean
pattern sets D(0), without which the phase is meaningless. Rodenburg & Bates 1992; docs/theory/live-maps.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import fft

from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.declaration import (
    DEPTH,
    THRESHOLD,
    WIENER,
    MapSetting,
    MapWords,
    Method,
    Needs,
    in_use,
    live_map,
    with_deviation,
)
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.pictures.colours import ColourMap
from ptylive.schema.model import ComplexArray, DoubleArray, IndexArray

EPSILON = 0.01
"""Default regularisation, as a share of the largest value of |W_P(r, 0)|^2: noise is damped where that is weaker."""
WINDOW = 1.5
"""Side of the square of detector frequencies deconvolved, in diameters of the disc: the disc and a margin around it."""
MOST_RADIUS = 24
"""Largest number of points along the radius of the disc; larger discs are divided into blocks of pixels."""
CHUNK = 256
"""Number of frequencies deconvolved together, which bounds the memory of their planes."""
DARKEST = 0.1
"""Amplitude (mean 1) below which phase noise is no longer that of a small angle."""


@live_map(
    Method(
        "wdd",
        title="the Wigner distribution deconvolution",
        needs=Needs.FILTERS,
        maps=(
            *with_deviation(
                MapWords(
                    "wdd_phase",
                    label="WDD phase",
                    units="rad",
                    shows="the phase of the specimen with the probe divided out; the specimen need not be weak",
                    trust="with known aberrations and much overlap of neighbouring probes; noisier than obf",
                    colours=ColourMap.MAGMA,
                    place=80,
                )
            ),
            *with_deviation(
                MapWords(
                    "wdd_amplitude",
                    label="WDD amplitude",
                    units="relative",
                    shows="the corresponding modulus, with mean 1: what is scattered out of the disc",
                    trust="as its phase",
                    place=90,
                )
            ),
        ),
        order=30,
        settings={
            "epsilon": MapSetting(
                EPSILON, 1e-6, 1e3, "added to the probe's power, as a fraction of its maximum", also=WIENER
            ),
            "threshold": THRESHOLD,
            "depth_A": DEPTH,
            "crop": MapSetting(WINDOW, 1, 4, "side of the detector square used, in diameters of the disc"),
        },
        planes=1.0,
    )
)
@dataclass(frozen=True, eq=False)
class WignerDeconvolution:
    """Filters: weights (nb, N) on the whole plane, and those of Q = 0 (N,)."""

    band: Band
    weights: ComplexArray
    at_zero: ComplexArray
    settings: dict[str, float]
    """Settings in use."""

    @classmethod
    def build(cls, conditions: ImagingConditions, _mean: DoubleArray) -> WignerDeconvolution:
        """Make filters, zero where probe discs don't overlap; the mean coefficients (N,) are not needed."""
        settings = in_use("wdd", conditions.settings, epsilon=EPSILON, crop=WINDOW)
        window = _DetectorWindow.around_disc(conditions, settings["crop"])
        strongest = float((np.abs(window.wigner(np.zeros((1, 2)))) ** 2).max())

        def deconvolved(q: DoubleArray) -> ComplexArray:
            weights = np.empty((conditions.basis.count, len(q)), dtype=np.complex64)
            for start in range(0, len(q), CHUNK):
                part = slice(start, start + CHUNK)
                wigner = window.wigner(q[part])
                inverse = _inverse(wigner, strongest, settings["epsilon"], settings.get("threshold"))
                kernel = np.asarray(fft.fft2(inverse, axes=(1, 2))).reshape(len(wigner), -1)
                kernel /= np.float32((window.side * window.stride) ** 2)
                weights[:, part] = conditions.basis.dual(conditions.basis.sums_at(window.pixel, kernel.T[window.point]))
            return weights

        band = conditions.band(half=False)
        at_zero = deconvolved(np.zeros((1, 2)))[:, 0]
        return cls(band, band.evaluate(deconvolved), at_zero, settings)

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """Make the maps ``wdd_phase`` and ``wdd_amplitude``."""
        field = self.field(spectra)
        method, settings = "Wigner distribution deconvolution", self.settings

        @cache
        def noise() -> ComplexArray:
            """Return the noise (Y, X) of the field's logarithm: i times that of the phase, plus that of amplitude."""
            shifted = spectra.contract_noise(self.band, self.weights)
            return np.asarray(self._relative(spectra, shifted) / np.maximum(np.abs(field), DARKEST) ** 2 * field.conj())

        phase, amplitude = np.angle(field).astype(np.float32), np.abs(field).astype(np.float32)
        yield Picture("wdd_phase", phase, "rad", method, settings, noise=lambda: noise().imag)
        yield Picture("wdd_amplitude", amplitude, "relative", method, settings, noise=lambda: noise().real * amplitude)

    def field(self, spectra: Spectra) -> ComplexArray:
        """Return the transmission (rows, cols), scaled to a mean of 1."""
        return self._relative(spectra, spectra.contract(self.band, self.weights)) + np.complex64(1)

    def _relative(self, spectra: Spectra, varying: ComplexArray) -> ComplexArray:
        """Return the map of a spectrum on the whole plane, divided by D(0)."""
        mean = complex(self.at_zero @ spectra.mean)
        turned = mean.conjugate() / max(abs(mean), 1e-12) ** 2
        return spectra.complex_image(self.band, varying / np.float32(spectra.density)) * np.complex64(turned)


@dataclass(frozen=True, eq=False)
class _DetectorWindow:
    """A square of detector points around the bright field on which P*(k) P(k-Q) is transformed."""

    conditions: ImagingConditions
    """Conditions with a disc edge as wide as the spacing of the points."""
    side: int
    stride: int
    """Number of recorded pixels from one point to the next."""
    k: DoubleArray
    pixel: IndexArray
    """(p,) flat indices of recorded pixels."""
    point: IndexArray
    """(p,) point that each of these pixels belongs to."""

    @classmethod
    def around_disc(cls, conditions: ImagingConditions, crop: float = WINDOW) -> _DetectorWindow:
        """Return the detector's own pixels, or blocks of them on large detectors, continued past the detector's edge.

        ``crop``: side of the square, in diameters of the disc.
        """
        radius_px = conditions.probe.semiangle_invA / conditions.grid.pixel
        stride = max(1, math.ceil(radius_px / MOST_RADIUS))
        side = int(fft.next_fast_len(int(np.ceil(crop * 2 * radius_px / stride / 2) * 2)))
        # index of the pixel nearest the beam, and the unit steps of the recorded axes in the detector frame
        nearest = np.unravel_index(int(np.argmin(conditions.grid.radius)), conditions.grid.k_row.shape)
        origin = np.array([conditions.grid.k_row[nearest], conditions.grid.k_col[nearest]])
        d_row, d_col = _axis_steps(conditions)
        offset = (np.arange(side) - side // 2) * stride
        middle = offset + 0.5 * (stride - 1)
        k = origin + middle[:, None, None] * d_row + middle[None, :, None] * d_col
        shape = conditions.grid.k_row.shape
        row, col = (np.arange(n) - center - offset[0] for n, center in zip(shape, nearest, strict=True))
        inside = [np.flatnonzero((x >= 0) & (x < side * stride)) for x in (row, col)]
        pixel = inside[0][:, None] * shape[1] + inside[1][None]
        point = (row[inside[0]] // stride)[:, None] * side + (col[inside[1]] // stride)[None]
        soft = conditions.with_probe(replace(conditions.probe, edge_invA=stride * conditions.probe.edge_invA))
        return cls(soft, side, stride, np.ascontiguousarray(k.reshape(-1, 2)), pixel.ravel(), point.ravel())

    def wigner(self, q: DoubleArray) -> ComplexArray:
        """Return W_P(r, Q): (nq, side, side)."""
        product = self.conditions.overlap_products(self.k, q).T.reshape(len(q), self.side, self.side)
        return np.asarray(fft.fft2(product, axes=(1, 2))) * np.float32(self.stride**2)


def _inverse(wigner: ComplexArray, strongest: float, epsilon: float, threshold: float | None) -> ComplexArray:
    """Return 1 / W_P, regularised by eps times the strongest power (Wiener), or set to 0 below a threshold."""
    power = np.abs(wigner) ** 2
    if threshold is None:
        return np.asarray(wigner.conj() / (power + np.float32(epsilon * strongest)))
    passed = power >= np.float32(threshold * strongest)
    return np.where(passed, wigner.conj() / np.where(passed, power, np.float32(1)), np.complex64(0))


def _axis_steps(conditions: ImagingConditions) -> tuple[DoubleArray, DoubleArray]:
    """Return one recorded row and one recorded column as steps (row, col) in the detector frame, 1/Å.

    A detector of a single row or column defines no step across it; that step is set equal to the other, rotated by 90°.
    """
    k = np.stack([conditions.grid.k_row, conditions.grid.k_col], axis=-1)
    rows, columns = k.shape[:2]
    d_row = k[1, 0] - k[0, 0] if rows > 1 else None
    d_col = k[0, 1] - k[0, 0] if columns > 1 else None
    if d_col is None:
        d_col = np.array([0.0, conditions.grid.pixel]) if d_row is None else np.array([-d_row[1], d_row[0]])
    if d_row is None:
        d_row = np.array([d_col[1], -d_col[0]])
    return d_row, d_col
