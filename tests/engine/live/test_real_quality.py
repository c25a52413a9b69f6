"""Live maps of the real cryo scan: half-data Fourier ring correlation (no truth exists).

Requirements and measured values are given in docs/accuracy.md (real data).
"""

from functools import cache

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from quick_first import quick_first
from shared_data import shared_data

from ptylive.engine.calibrate.sign import contrast_of
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS
from ptylive.engine.imaging.bank import Spectra, mean_bins
from ptylive.engine.imaging.filters import Filter
from ptylive.engine.imaging.maps.tcbf import TiltCorrected
from ptylive.engine.live.engine import reconstruct
from ptylive.schema import FrameBatch, ScanHeader
from ptylive.schema.metadata import build, sections_from

PERIODS_A = (90, 63, 43, 33)


@pytest.fixture(scope="module")
def engine():
    with h5py.File(shared_data("rotavirus_300kV_cryo_west")) as file:
        frames, metadata = file["data"][()], dict(file["metadata"].attrs)
    frames = frames.reshape(-1, *frames.shape[2:])
    sections = sections_from(metadata)
    sections["detector"].update(shape=frames.shape[1:], dtype=frames.dtype.str)
    header = ScanHeader(
        "real", "rotavirus", len(frames), **{name: build(name, sections[name], "file") for name in sections}
    )

    def source():
        for first in range(0, len(frames), 512):
            index = np.arange(first, min(first + 512, len(frames)))
            yield FrameBatch("real", index, frames[index])

    return reconstruct(header, source, methods=["bf"])[0]


@pytest.fixture(scope="module")
def filters(engine):
    """The filter of a map, made once."""
    conditions, mean = engine._conditions(), mean_bins(engine.store)
    return cache(lambda method: Filter.build(method, conditions, mean))


def half_spectra(store, made):
    """Spectra of the even and the odd points of the checkerboard.

    They are sum and difference of c_hat and its alias, with equal noise at every frequency.
    """
    linear = made.linear_map
    whole, alias = Spectra.of(store, made.conditions).contract_with_noise(linear.band, linear.weights)
    if isinstance(linear, TiltCorrected):
        weight = linear.gain
    else:
        weight = 1 / np.sqrt(np.maximum(linear.information, 1e-3 * linear.information.max()))
    return (whole + alias) * weight, (whole - alias) * weight


def halves(store, made):
    """The maps of the two halves, and their sampling."""
    spectra, band = Spectra.of(store, made.conditions), made.linear_map.band
    images = [spectra.image(band, half.astype(np.complex64)) for half in half_spectra(store, made)]
    return images, band.grid.finer_step_A[0]


def ring_correlation(one, other, sampling):
    hann = [np.minimum(1, 2 * np.hanning(n + 2)[1:-1]) for n in one.shape]
    window = hann[0][:, None] * hann[1][None]
    one, other = (np.asarray(image, dtype=float) for image in (one, other))
    a, b = (np.fft.fft2((im - (im * window).sum() / window.sum()) * window) for im in (one, other))
    q = np.hypot(np.fft.fftfreq(one.shape[0], sampling)[:, None], np.fft.fftfreq(one.shape[1], sampling)[None])
    width = 1 / (min(one.shape) * sampling)
    ring, count = np.floor(q / width + 0.5).astype(int).ravel(), int(0.5 / sampling / width) + 1

    def over(values):
        return np.bincount(ring, values.ravel())[:count]

    power = np.sqrt(over(np.abs(a) ** 2) * over(np.abs(b) ** 2))
    curve = over((a * b.conj()).real) / np.maximum(power, 1e-12 * power.max())  # a map may leave rings empty
    return np.arange(count) * width, np.convolve(np.pad(curve, 1, mode="edge"), np.ones(3) / 3, "valid")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("method", "least"), [("obf", (0.95, 0.75, 0.42, 0.27)), ("tcbf", (0.95, 0.70, 0.38, 0.22))])
def test_half_data_agree(engine, filters, method, least):
    images, sampling = halves(engine.store, filters(method))
    frequency, curve = ring_correlation(*images, sampling)
    for period, bound in zip(PERIODS_A, least, strict=True):
        assert np.interp(1 / period, frequency, curve) >= bound, period
    if method == "obf":
        assert 1 / frequency[2 + int(np.argmax(curve[2:] < 0.5))] <= 58.0


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("method", quick_first(["obf", "tcbf"]))
def test_shuffled_frames_agree_in_nothing(engine, filters, method):
    """The null test: frames at the wrong points contain no object, so the halves must not agree."""
    store = engine.store.snapshot()
    shuffled = np.random.default_rng(3).permutation(len(store.frames))
    for name in ("bins", "regions", "moments", "frames"):
        getattr(store, name)[:] = getattr(store, name)[shuffled]
    images, sampling = halves(store, filters(method))
    frequency, curve = ring_correlation(*images, sampling)
    assert np.abs(curve[frequency > 1 / 120]).max() < 0.15


@pytest.mark.slow
@pytest.mark.data
def test_wiener_filter_beyond_the_scan_nyquist_frequency(engine, filters):
    """The filter made from the even half is scored on the odd one; 1 is the best filter that is constant on rings."""
    made = filters("obf")
    obf, store = made.linear_map, engine.store
    whole, alias = Spectra.of(store, made.conditions).contract_with_noise(obf.band, obf.weights)
    floor = obf._rings.floor(2 * np.abs(alias) ** 2)
    excess = obf._rings.sum(np.abs(whole + alias) ** 2) - floor
    ratio = obf._noise_to_signal(obf._rings.signal(excess, floor, 1.0))
    wiener = obf.information / (obf.information + ratio)
    even, odd = half_spectra(store, made)
    beyond = np.hypot(*obf.band.q.T) > 0.5 / min(made.conditions.step_A)
    beyond &= obf.information > 1e-3 * obf.information.max()
    cross, power = (even.conj() * odd).real, np.abs(even) ** 2
    score = (2 * wiener * cross - wiener**2 * power)[beyond].sum()
    rings = [(cross[part].sum(), power[part].sum()) for part in ring_members(obf.ring, beyond)]
    best = sum(max(c, 0.0) ** 2 / p for c, p in rings)
    assert score / best >= 0.95


def ring_members(ring, use):
    return [use & (ring == r) for r in np.unique(ring[use])]


@pytest.mark.slow
@pytest.mark.data
def test_denser_matter_is_bright(engine):
    """The data alone settle the sign of the phase, clearly."""
    dark = engine.store.per_frame(engine.store.regions)[:, REGIONS.index("dark")].reshape(engine.store.shape)
    found = contrast_of(engine.store, engine._conditions(), dark, undersampled=False, ended=False).agreement
    assert found.correlation > 0.1 and found.settles
