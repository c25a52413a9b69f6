"""The overlaps of a bin are those of its samples, at frequencies whose disc covers all, some or none of them."""

import numpy as np
import pytest

from ptylive.engine.backend.imaging import filters_numba as kernels

RADIUS, EDGE = np.float32(1.0), np.float32(0.1)
CHI = np.array([[0, 0, 3, 0, 0], [0, 2, 0, 0, 0], [5, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)


def overlaps(samples, weights, offsets, q, kind):
    """Return the overlaps (bins, nq) of samples sorted by bin."""
    out = np.empty((len(offsets) - 1, len(q)), np.complex64)
    q_row, q_col = np.ascontiguousarray(q.T)
    kernels.overlaps(samples, weights, np.asarray(offsets, np.int64), q_row, q_col, RADIUS, EDGE, CHI, kind, out)
    return out


@pytest.mark.parametrize("kind", range(5))
def test_a_bin_is_the_sum_of_its_samples(kind):
    rng = np.random.default_rng(20268)
    corner = rng.uniform(-1.2, 1.2, (60, 1, 2))  # bins inside, across and outside the edge, of one to eight samples
    sizes = rng.integers(1, 9, 60)
    samples = np.concatenate(
        [at + rng.uniform(0, 0.25, (n, 2)) for at, n in zip(corner, sizes, strict=True)], dtype=np.float32
    )
    weights = rng.uniform(0.5, 4, len(samples)).astype(np.float32)
    offsets = np.append(0, np.cumsum(sizes))
    q = rng.uniform(-2.6, 2.6, (200, 2)).astype(np.float32)

    alone = overlaps(samples, weights, np.arange(len(samples) + 1), q, kind)
    together = overlaps(samples, weights, offsets, q, kind)

    # sums of at most eight products below 8 in single precision, in another order
    np.testing.assert_allclose(together, np.add.reduceat(alone, offsets[:-1], axis=0), atol=64 * 8 * 6e-8, rtol=0)


def test_a_bin_without_samples_and_one_outside_the_disc_are_zero():
    samples = np.array([[1.5, 0.0], [1.4, 0.1]], np.float32)
    q = np.array([[0.5, 0.0], [-2, 2]], np.float32)
    found = overlaps(samples, np.ones(2, np.float32), [0, 0, 2], q, kernels.FULL)
    assert not found.any()
