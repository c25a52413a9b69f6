"""The tilt-corrected bright field has the right sign at every frequency, also for atoms that absorb."""

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
