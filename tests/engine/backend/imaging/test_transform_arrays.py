"""Transforms over the scan on a device: compared with their definition, in portions, and only where memory allows."""

import math

import numpy as np
import pytest
from strict_device import device

from ptylive.engine.backend.device import ArrayDevice, NoRoom
from ptylive.engine.backend.imaging.transform_arrays import ArrayTransforms

ROWS, COLS, COUNT, PADDED = 9, 11, 5, (16, 18)
SHAPE = (PADDED[1] // 2 + 1, ROWS, COUNT)


def plain(values):
    whole = np.zeros((*PADDED, COUNT))
    whole[:ROWS, :COLS] = values
    return np.fft.rfft2(whole, axes=(0, 1)).transpose(1, 0, 2)


def filled(values, free=math.inf):
    made = ArrayTransforms(ArrayDevice(device, lambda: free), SHAPE, PADDED)
    made.transform(np.arange(ROWS), values.astype(np.float32))
    return made


def test_planes_are_the_transform_over_the_scan():
    rng = np.random.default_rng(0)
    values, moved = rng.normal(size=(ROWS, COLS, COUNT)), rng.normal(size=COUNT).astype(np.float32)
    visited = rng.random((ROWS, COLS)) > 0.3
    values[~visited] = 0
    made = filled(values)
    found = made.planes(moved, visited.astype(np.float32))
    expected = plain(values - moved * visited[..., None])
    assert found.dtype == np.complex64
    # each of log2(n) passes rounds a few times: rms error below u (log2(16) + log2(18) + 3) of the norm
    assert np.linalg.norm(found.get() - expected) < 2**-24 * 12 * np.linalg.norm(expected)
    assert np.allclose(made.total(), values.sum(axis=(0, 1)), atol=2**-24 * 12 * np.abs(values).sum())


def test_rows_are_renewed_one_by_one():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(ROWS, COLS, COUNT))
    made = filled(values)
    values[[2, 7]] = rng.normal(size=(2, COLS, COUNT))
    made.transform(np.array([7, 2]), values[[7, 2]].astype(np.float32))
    nothing, everywhere = np.zeros(COUNT, np.float32), np.ones((ROWS, COLS), np.float32)
    assert np.array_equal(made.planes(nothing, everywhere).get(), filled(values).planes(nothing, everywhere).get())


def test_portions_give_the_same(monkeypatch):
    values = np.random.default_rng(2).normal(size=(ROWS, COLS, COUNT))
    nothing, everywhere = np.zeros(COUNT, np.float32), np.ones((ROWS, COLS), np.float32)
    whole = filled(values).planes(nothing, everywhere).get()
    monkeypatch.setattr("ptylive.engine.backend.device.WORK_BYTES", 8 * 5 * PADDED[0] * COUNT)  # one column at a time
    assert np.array_equal(filled(values).planes(nothing, everywhere).get(), whole)


def test_what_does_not_fit_is_not_allocated():
    with pytest.raises(NoRoom, match="transforms of the coefficients need"):
        ArrayTransforms(ArrayDevice(device, lambda: 1e6), (300, 512, 100), (600, 598))


def test_rows_are_brought_over_as_many_at_a_time_as_there_is_room_for(monkeypatch):
    made = ArrayTransforms(ArrayDevice(device, lambda: 2.0**30), SHAPE, PADDED)
    assert made.bytes == 8 * COUNT * SHAPE[0] * (ROWS + PADDED[0])
    roomy = made.rows_at_a_time(COLS)
    assert roomy > made.rows_at_a_time(1000 * COLS) >= 1
    monkeypatch.setattr("ptylive.engine.backend.device.WORK_BYTES", 1)
    assert made.rows_at_a_time(COLS) == 1
