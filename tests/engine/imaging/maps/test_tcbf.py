"""The tilt-corrected bright field has the right sign at every frequency, also for atoms that absorb."""

from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.imaging.maps import tcbf
from ptylive.engine.live.engine import reconstruct
from ptylive.schema.metadata import overlay

DEFOCUS = {"C10": -120.0}
N, STEP_A = 48, 0.45
RINGS = 14


def scan_of(absorbed_per_rad):
    """Scan of a phase object with absorption proportional to the phase."""
    plain = WeakPhaseScan.make(DEFOCUS, n=N, step_A=STEP_A, strength=0.02)
    return WeakPhaseScan.make(DEFOCUS, n=N, step_A=STEP_A, strength=0.02, absorption=absorbed_per_rad * plain.phase)


def by_rings(scan, patterns):
    """Correlation between frequencies of the map and of the true phase, in each ring of |Q|."""
    header = overlay(scan.header(lies_still=True), {**DEFOCUS, "C12a": 0.0, "C12b": 0.0, "rotation_deg": 0.0})
    _, rendering = reconstruct(header, lambda: batches(patterns), ("tcbf",), settings={"tcbf.upsample": 1})
    made = {one.name: one for one in rendering.maps}["tcbf"].data
    seen, true = np.fft.fft2(made), np.fft.fft2(scan.phase)
    f = np.fft.fftfreq(N, STEP_A)
    ring = (np.hypot(f[:, None], f[None]) * 2 * STEP_A * RINGS).astype(int)
    use = (ring > 0) & (ring < 11) & (np.abs(true) > 1e-3 * np.abs(true).max())
    ring, product = ring[use], (seen * true.conj()).real[use]
    power = np.bincount(ring, np.abs(seen[use]) ** 2) * np.bincount(ring, np.abs(true[use]) ** 2)
    return (np.bincount(ring, product) / np.sqrt(np.maximum(power, 1e-30)))[1:]


def test_the_flip_takes_the_sign_of_the_transfer():
    transfer = np.array([-2.0, -0.1, 0.0, 0.3])
    np.testing.assert_array_equal(tcbf._gain(transfer, tcbf.Correction.FLIPPED, None), [-1, -1, 1, 1])
    np.testing.assert_array_equal(tcbf._gain(transfer, tcbf.Correction.NONE, None), 1)


def test_only_rings_that_clearly_contradict_obf_are_turned_over():
    """Chance makes two pictures of a weak ring correlate a little, in either direction; TURNED_OVER is 0.3."""
    correlations = np.array([1.0, 0.25, 0.0, -0.25, -0.35, -1.0])
    ring = np.repeat(np.arange(len(correlations)), 4)
    rng = np.random.default_rng(5)
    spectrum, other = rng.normal(size=(2, len(correlations), 4, 2)).view(complex)[..., 0]
    spectrum /= np.linalg.norm(spectrum, axis=1, keepdims=True)
    other -= (spectrum.conj() * other).sum(axis=1, keepdims=True) * spectrum
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    obf = correlations[:, None] * spectrum + np.sqrt(1 - correlations[:, None] ** 2) * other
    gain = np.where(np.arange(ring.size) % 2, -1.0, 1.0)  # the flip comes before the comparison
    basis = SimpleNamespace(per_noise=lambda mean: lambda transfer: transfer)
    spectra = SimpleNamespace(
        mean=None, planes=None, scale=1.0, conditions=SimpleNamespace(basis=basis, transfer=lambda q: np.ones(len(q))),
        contraction=SimpleNamespace(contract=lambda *given: obf.ravel()),
    )  # fmt: skip
    band = SimpleNamespace(q=np.zeros((ring.size, 2)), kept=(np.arange(ring.size), np.ones(ring.size)))
    made = tcbf.TiltCorrected(band, None, gain, ring, None, tcbf.Correction.FLIPPED, None, {})
    upright = made._measured_uprightness(spectra, spectrum.ravel() * gain)
    np.testing.assert_array_equal(upright, [1, 1, 1, 1, -1, -1])


@pytest.fixture(scope="module")
def absorbing():
    return scan_of(1.0)


def test_absorption_turns_no_ring_over(absorbing):
    assert by_rings(absorbing, absorbing.patterns).min() > 0


@pytest.mark.slow
def test_without_the_question_absorption_turns_rings_over(absorbing, monkeypatch):
    monkeypatch.setattr(tcbf, "TURNED_OVER", 2.0)  # nothing is considered reversed
    assert by_rings(absorbing, absorbing.patterns).min() < -0.2


@pytest.mark.slow
def test_nothing_is_turned_over_where_nothing_absorbs(monkeypatch):
    """Nor does noise, which has the sign of the phase contrast in both; the very edge of the band does not matter."""
    scan = scan_of(0.0)
    for patterns in (scan.patterns, np.random.default_rng(3).poisson(scan.patterns * 30).astype(np.float32)):
        asked = by_rings(scan, patterns)
        with monkeypatch.context() as patched:
            patched.setattr(tcbf, "TURNED_OVER", 2.0)
            np.testing.assert_allclose(by_rings(scan, patterns), asked, atol=5e-3)
