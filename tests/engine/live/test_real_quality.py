"""Live maps of the real cryo scan: half-data Fourier ring correlation (no truth exists)."""

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from shared_data import shared_data

from ptylive.engine.live.bank import Spectra, mean_bins
from ptylive.engine.live.engine import reconstruct
from ptylive.engine.live.filters import Filter
from ptylive.schema import Arm, FrameBatch
from ptylive.schema.metadata import build, sections_from

PERIODS_A = (90, 63, 43, 33)


@pytest.fixture(scope="module")
def engine():
    with h5py.File(shared_data("rotavirus_300kV_cryo_west")) as file:
        frames, metadata = file["data"][()], dict(file["metadata"].attrs)
    frames = frames.reshape(-1, *frames.shape[2:])
    sections = sections_from(metadata)
    sections["detector"].update(shape=frames.shape[1:], dtype=frames.dtype.str)
    arm = Arm("real", "rotavirus", len(frames), **{name: build(name, sections[name], "file") for name in sections})

    def source():
        for first in range(0, len(frames), 512):
            index = np.arange(first, min(first + 512, len(frames)))
            yield FrameBatch("real", index, frames[index])

    return reconstruct(arm, source, methods=["obf", "tcbf"])[0]


def halves(engine, method):
    """The maps of the even and the odd points of the checkerboard: sum and difference of c_hat and its alias."""
    made = Filter.build(method, engine._setting(), mean_bins(engine.store))
    spectra, linear = Spectra.of(engine.store, made.setting), made.linear_map
    band = linear.band
    whole, alias = spectra.contract_with_noise(band, linear.weights)
    if method == "tcbf":
        weight = linear.flip
    else:
        weight = 1 / np.sqrt(np.maximum(linear.information, 1e-3 * linear.information.max()))
    images = [spectra.image(band, ((whole + s * alias) * weight).astype(np.complex64)) for s in (1, -1)]
    return images, band.grid.finer_step_A[0]


def ring_correlation(one, other, sampling):
    hann = [np.minimum(1, 2 * np.hanning(n + 2)[1:-1]) for n in one.shape]
    window = hann[0][:, None] * hann[1][None]
    a, b = (np.fft.fft2((im - (im * window).sum() / window.sum()) * window) for im in (one, other))
    q = np.hypot(np.fft.fftfreq(one.shape[0], sampling)[:, None], np.fft.fftfreq(one.shape[1], sampling)[None])
    width = 1 / (min(one.shape) * sampling)
    ring, count = np.floor(q / width + 0.5).astype(int).ravel(), int(0.5 / sampling / width) + 1

    def over(values):
        return np.bincount(ring, values.ravel())[:count]

    curve = over((a * b.conj()).real) / np.sqrt(over(np.abs(a) ** 2) * over(np.abs(b) ** 2))
    return np.arange(count) * width, np.convolve(np.pad(curve, 1, mode="edge"), np.ones(3) / 3, "valid")


@pytest.mark.data
@pytest.mark.parametrize(("method", "least"), [("obf", (0.95, 0.75, 0.42, 0.27)), ("tcbf", (0.95, 0.70, 0.38, 0.22))])
def test_half_data_agree(engine, method, least):
    images, sampling = halves(engine, method)
    frequency, curve = ring_correlation(*images, sampling)
    for period, bound in zip(PERIODS_A, least, strict=True):
        assert np.interp(1 / period, frequency, curve) >= bound, period
    if method == "obf":
        assert 1 / frequency[2 + int(np.argmax(curve[2:] < 0.5))] <= 58.0
