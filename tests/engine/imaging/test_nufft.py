"""The transform at arbitrary positions, compared with the sum it represents."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.imaging import nufft
from ptylive.engine.imaging.nufft import spread_planes

ROWS, COLS, COUNT, PADDED = 6, 7, 3, (12, 14)
POINTS = ROWS * COLS


def scan(jitter, visited=None, seed=0):
    """Coefficients at grid points that were moved by up to ``jitter`` pixels."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.divmod(np.arange(POINTS), COLS), 1) + jitter * rng.uniform(-1, 1, (POINTS, 2))
    there = np.ones((ROWS, COLS), bool) if visited is None else visited
    bins = rng.normal(size=(POINTS, COUNT)).astype(np.float32)
    store = SimpleNamespace(visited=there, bins=bins, coefficients=lambda: bins)
    placement = SimpleNamespace(at=at.astype(np.float32), weight=rng.uniform(0.5, 1.5, POINTS).astype(np.float32))
    return store, placement, rng.normal(size=COUNT)


def written_out(store, placement, mean, sign=1.0):
    """sum_j w_j (c_j - mean) exp(-2 pi i Q . R_j) at the frequencies of the padded grid."""
    weight = placement.weight.astype(float) * sign * store.visited.ravel()
    values = weight[:, None] * (store.bins.astype(float) - mean)
    row = np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(PADDED[0]), placement.at[:, 0].astype(float)))
    col = np.exp(-2j * np.pi * np.outer(np.fft.rfftfreq(PADDED[1]), placement.at[:, 1].astype(float)))
    return np.einsum("yj,xj,jn->xyn", row, col, values)


def close(found, expected):
    """The kernel's own error is 1e-5 of the sum of magnitudes (Barnett et al., width 6); single precision adds less."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 3e-5 * np.abs(expected).max()


@pytest.mark.parametrize("jitter", [0.0, 0.3, 2.0])
def test_it_is_the_sum_over_the_true_positions(jitter):
    store, placement, mean = scan(jitter)
    close(spread_planes(store, placement, PADDED, mean), written_out(store, placement, mean))


def test_points_nobody_visited_count_nothing_whatever_they_hold():
    visited = np.random.default_rng(3).random((ROWS, COLS)) > 0.4
    store, placement, mean = scan(0.3, visited)
    store.bins[~visited.ravel()] = 1e9
    close(spread_planes(store, placement, PADDED, mean), written_out(store, placement, mean))


def test_signs_move_the_signal():
    store, placement, mean = scan(0.3)
    sign = np.where(np.arange(POINTS) % 2, -1, 1).astype(np.float32)
    close(spread_planes(store, placement, PADDED, mean, sign), written_out(store, placement, mean, sign))


def test_portions_give_the_same(monkeypatch):
    store, placement, mean = scan(0.3)
    whole = spread_planes(store, placement, PADDED, mean)
    monkeypatch.setattr(nufft, "GRID_BYTES", 1)  # one coefficient at a time
    # transforms of one and of three planes side by side may round differently
    np.testing.assert_allclose(spread_planes(store, placement, PADDED, mean), whole, atol=1e-6 * np.abs(whole).max())
