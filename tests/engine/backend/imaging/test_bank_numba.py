"""The compiled pieces of the filter bank, compared with whole arrays."""

import numpy as np

from ptylive.engine.backend.imaging.bank_numba import less_mean


def test_a_moved_mean_is_taken_off_some_columns():
    """One product and one difference of numbers near 1 in single precision: a few units in the last place."""
    rng = np.random.default_rng(0)
    rows, mask = (
        (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64) for shape in ((2, 5, 3), (5, 2))
    )
    mean = rng.normal(size=3).astype(np.float32)
    moved = np.zeros((2, 3, 2), np.float32)
    moved[0, :, 0] = moved[1, :, 1] = mean
    out = np.full((2, 8, 3), 9, np.complex64)
    less_mean(rows.view(np.float32), mask, moved.reshape(2, -1), out.view(np.float32))
    wanted = rows - mask.T[:, :, None] * mean
    assert np.abs(out[:, :5] - wanted).max() < 8 * np.finfo(np.float32).eps * np.abs(wanted).max()
    assert not out[:, 5:].any()
