"""Integrated DPC: the phase whose gradient is the centre of mass, by one Fourier division.

phi_hat(Q) = (Q . g_hat) / (2 pi i |Q|^2), g = 2 pi CoM along the scan axes (Lazić et al. 2016, eq. 21). The field is
mirrored to 2Ry x 2Rx (g_row odd in y and even in x, g_col the other way round), so that nothing wraps around.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy import fft

from ptylive.engine.imaging.accumulation.reduced_numbers import MOMENTS
from ptylive.engine.imaging.bank import Picture
from ptylive.engine.imaging.declaration import MapSetting, MapWords, Method, Needs, in_use, live_map, with_deviation
from ptylive.engine.imaging.instant import Instant
from ptylive.engine.imaging.maps.com import com_invA, noise_of_integrated
from ptylive.pictures.colours import ColourMap
from ptylive.schema.model import BoolArray, DoubleArray

PASSES = {
    "highpass_invA": MapSetting(
        None, 1e-6, 100, "frequencies below are damped (Butterworth, order 2)", also=("q_highpass",)
    ),
    "lowpass_invA": MapSetting(
        None, 1e-6, 100, "frequencies above are damped (Butterworth, order 2)", also=("q_lowpass",)
    ),
}
"""Settings of maps that integrate the centre of mass."""
PassBand = Callable[[DoubleArray], DoubleArray]
DRAWN = 8
"""Number of noise pictures drawn: one contains few of the slow waves that dominate the noise."""
MIRROR_FROM = 0.5
"""Share of visited points above which the visited rows are mirrored; below it unvisited points have zero gradient."""


@live_map(
    Method(
        "idpc",
        title="iDPC",
        needs=Needs.MOMENTS,
        maps=with_deviation(
            MapWords(
                "idpc",
                label="iDPC phase",
                units="rad",
                shows="the phase whose gradient is the centre of mass",
                trust="near focus; slow variations across the field are the least reliable",
                colours=ColourMap.MAGMA,
                place=30,
            )
        ),
        order=50,
        optics=("detector_pixel_invA", "scan_step_A"),
        from_roots=MOMENTS,
        settings=PASSES,
    )
)
def integrated_dpc_map(now: Instant) -> Iterator[Picture]:
    """Make the map ``idpc``: phase in rad."""
    settings = in_use("idpc", now.settings)

    def integrated(com: DoubleArray) -> DoubleArray:
        return integrated_dpc(com, now.step_A, now.visited, *(settings.get(name) for name in PASSES))

    phase, method = integrated(now.once(com_invA)), "integrated DPC, Fourier, mirror-padded"
    noise = noise_of_integrated(now, integrated, DRAWN)
    yield Picture("idpc", phase, "rad", method, settings, noise=noise)


def integrated_dpc(
    com: DoubleArray,
    step_A: tuple[float, float],
    visited: BoolArray,
    highpass_invA: float | None = None,
    lowpass_invA: float | None = None,
) -> DoubleArray:
    """Return the phase (rows, cols) in rad from CoM (2, rows, cols), 1/Å, scan axes; zero mean over visited points."""
    passed = partial(butterworth, highpass_invA=highpass_invA, lowpass_invA=lowpass_invA)
    if visited.mean() > MIRROR_FROM:
        rows = np.flatnonzero(visited.any(axis=1))
        inside = slice(rows[0], rows[-1] + 1)
        phase = np.zeros(visited.shape)
        phase[inside] = _integrate_mirrored(com[:, inside], step_A, passed)
    else:
        phase = _integrate(com, step_A, passed)
    return phase - phase[visited].mean() if visited.any() else phase


def butterworth(q2: DoubleArray, highpass_invA: float | None, lowpass_invA: float | None) -> DoubleArray:
    """Return the second-order Butterworth amplitude (…) at squares of frequencies (…) in 1/Å^2, none of them 0."""
    high = 1.0 if highpass_invA is None else 1.0 / np.sqrt(1.0 + (highpass_invA**2 / q2) ** 2)
    low = 1.0 if lowpass_invA is None else 1.0 / np.sqrt(1.0 + (q2 / lowpass_invA**2) ** 2)
    return np.asarray(high * low)


def _integrate_mirrored(com: DoubleArray, step_A: tuple[float, float], passed: PassBand) -> DoubleArray:
    """Integrate the field mirrored at its borders, using cosine and sine series, which need no larger array.

    phi = sum a_mn cos cos, so CoM = -sum a_mn q sin cos: a = -(q_row S_row + q_col S_col)/|q|^2.
    """
    rows, cols = com.shape[1:]
    q_row, q_col = np.arange(rows)[:, None] / (2 * rows * step_A[0]), np.arange(cols)[None] / (2 * cols * step_A[1])
    series_row = np.zeros((rows, cols))
    series_row[1:] = fft.dct(fft.dst(com[0], axis=0, norm="ortho")[:-1], axis=1, norm="ortho")
    series_col = np.zeros((rows, cols))
    series_col[:, 1:] = fft.dct(fft.dst(com[1], axis=1, norm="ortho")[:, :-1], axis=0, norm="ortho")
    q2 = q_row**2 + q_col**2
    q2[0, 0] = 1.0
    return np.asarray(fft.idctn(-(q_row * series_row + q_col * series_col) / q2 * passed(q2), norm="ortho"))


def _integrate(com: DoubleArray, step_A: tuple[float, float], passed: PassBand) -> DoubleArray:
    rows, cols = com.shape[1:]
    q_row, q_col = fft.fftfreq(rows, step_A[0])[:, None], fft.rfftfreq(cols, step_A[1])[None]
    q2 = q_row**2 + q_col**2
    q2[0, 0] = 1.0
    if rows % 2 == 0:
        q_row[rows // 2] = 0.0  # the derivative of the highest frequency of an even grid is not a real image
    if cols % 2 == 0:
        q_col[:, -1] = 0.0
    spectrum = (q_row * fft.rfft2(com[0]) + q_col * fft.rfft2(com[1])) / (1j * q2)
    spectrum *= passed(q2)
    spectrum[0, 0] = 0.0
    return np.asarray(fft.irfft2(spectrum, s=(rows, cols)))
