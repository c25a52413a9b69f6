"""Scans with gaps: points that were not visited must neither be mistaken for noise nor weaken the rest."""

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine.imaging.bank import density
from ptylive.engine.imaging.noise.rings import quiet_shift
from ptylive.engine.live.engine import reconstruct

N = 32
ROW, COL = np.indices((N, N))
CHESS = (ROW + COL) % 2 == 0


@pytest.fixture(scope="module")
def scan():
    made = WeakPhaseScan.make({"C10": -60.0}, n=N, strength=0.05)
    made.patterns = np.random.default_rng(0).poisson(made.patterns * 20000).astype(np.float32)
    return made


def maps_of(scan, visited, **scan_words):
    chosen = np.flatnonzero(visited)
    methods = ["obf", "tcbf", "ssb", "wdd"]
    _, rendering = reconstruct(
        scan.header(lies_still=True, **scan_words), lambda: batches(scan.patterns, chosen), methods
    )
    return {m.name: m for m in rendering.maps}


@pytest.mark.parametrize(
    ("visited", "shift", "share"),
    [
        (np.ones((N, N), bool), (2, 2), 1.0),
        (ROW < 11, (2, 2), 1.0),
        (ROW * N + COL < 5 * N + 7, (2, 2), 1.0),
        (CHESS, (2, 0), 0.5),
        (~CHESS & (ROW < 20), (2, 0), 0.5),
        (ROW % 2 == 0, (2, 2), N / (2 * N - 1)),
        ((ROW % 2 == 0) & (COL % 2 == 0), (1, 1), (N / (2 * N - 1)) ** 2),
        (np.random.default_rng(1).random((N, N)) < 0.95, (2, 2), 0.95),
    ],
)
def test_what_the_gaps_are(visited, shift, share):
    assert quiet_shift(visited) == shift
    # the share lost at random scatters by sqrt(0.05 x 0.95 / 1024) = 0.007; three of these
    assert density(visited) == pytest.approx(share, abs=0.02)


def test_a_chessboard_half_shows_what_the_whole_scan_shows(scan):
    """The signal repeats half a sampling frequency away, where noise is measured, and was mistaken for noise."""
    whole, half = maps_of(scan, np.ones((N, N), bool)), maps_of(scan, CHESS)
    # half the points have half the counts: found 0.94 to 0.99, contrast within 7 %; mistaken for noise, nothing is left
    for name, least in (("obf", 0.9), ("tcbf", 0.9), ("ssb", 0.9), ("wdd_phase", 0.9)):
        one, other = whole[name].data, half[name].data
        assert correlation(one, other) > least, name
        expected = 1.0 if name != "tcbf" else 0.5  # tcbf is no phase
        assert np.std(other) / np.std(one) == pytest.approx(expected, rel=0.15), name
    share = half["obf"].quality.signal_share
    assert share[1:6].mean() > 0.7 * whole["obf"].quality.signal_share[1:6].mean()


def test_every_second_row_and_column_is_not_all_noise(scan):
    part = maps_of(scan, (ROW % 2 == 0) & (COL % 2 == 0))["obf"]
    assert part.quality.signal_share[1:5].mean() > 0.3  # all noise: 0; found 0.9


def test_lost_frames_do_not_weaken_a_map(scan):
    arrived = np.random.default_rng(2).random((N, N)) < 0.8
    whole, lossy = maps_of(scan, np.ones((N, N), bool))["obf"].data, maps_of(scan, arrived)["obf"].data
    slope = (lossy * whole).sum() / (whole * whole).sum()
    assert slope == pytest.approx(1.0, abs=0.05)  # a fifth of the frames is lost: 0.8 if that weakened the map
