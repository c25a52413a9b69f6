"""Transforms along the rows, kept from one refresh to the next, against those of the whole scan."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.imaging.accumulation.rows import REFERENCE_DRIFT, RowTransforms
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.schema import Detector, Optics, Scan, ScanHeader

SHAPE, COUNT, PADDED = (5, 6), 3, (8, 10)
VALUES = np.random.default_rng(0).normal(10.0, 1.0, (*SHAPE, COUNT)).astype(np.float32)


def store(repeats=1):
    header = ScanHeader(
        "u", "s", 30 * repeats, Scan(shape=SHAPE, repeats=repeats), Optics(), Detector(shape=(1, COUNT))
    )
    basis = SimpleNamespace(count=COUNT)
    return Store(header, SimpleNamespace(basis=basis, frame_size=COUNT))


def arrive(into, points, values=VALUES, times=1):
    into.bins[points] += times * values.reshape(30, COUNT)[points]
    into.frames[points] += times


def check(rows, of):
    """Compare with a transform of all coefficients, with the mean where nothing has arrived."""
    mean = rows.update(of, PADDED)
    visited = (of.frames > 0).reshape(SHAPE)
    coefficients = (of.bins / np.maximum(of.frames, 1)[:, None]).reshape(*SHAPE, COUNT).astype(float)
    exact = coefficients[visited].mean(axis=0)
    np.testing.assert_allclose(mean, exact, rtol=1e-5)  # in single precision
    deviations = np.where(visited[..., None], coefficients - exact, 0.0)
    expected = np.fft.fft2(deviations, s=PADDED, axes=(0, 1))[:, : PADDED[1] // 2 + 1].transpose(1, 0, 2)
    planes = rows.planes(mean, visited.astype(np.float32))
    np.testing.assert_allclose(planes, expected, atol=1e-3)
    return mean


@pytest.mark.parametrize("repeats", [1, 2])
def test_rows_that_arrive_in_any_order_are_those_of_the_whole_scan(repeats):
    rows, of = RowTransforms(), store(repeats)
    for points in (np.arange(12, 15), np.arange(6), np.arange(24, 30), np.arange(15, 18), np.arange(6, 12)):
        arrive(of, points, times=repeats)
        check(rows, of)


def test_only_rows_in_which_frames_have_arrived_are_transformed_again(monkeypatch):
    rows, of = RowTransforms(), store()
    arrive(of, np.arange(12))
    check(rows, of)
    again, put = [], rows._put
    monkeypatch.setattr(rows, "_put", lambda which, values: again.extend(which.tolist()) or put(which, values))
    arrive(of, np.arange(18, 21))
    check(rows, of)
    assert again == [3]
    check(rows, of)
    assert again == [3], "nothing has arrived since"
    rows.forget()
    check(rows, of)
    assert set(again[1:]) == {0, 1, 3}


def test_a_mean_that_moves_far_is_a_new_reference(monkeypatch):
    rows, of = RowTransforms(), store()
    arrive(of, np.arange(6))
    check(rows, of)
    again, put = [], rows._put
    monkeypatch.setattr(rows, "_put", lambda which, values: again.extend(which.tolist()) or put(which, values))
    arrive(of, np.arange(6, 12), values=(1 + 4 * REFERENCE_DRIFT) * VALUES)
    check(rows, of)
    assert again == [1, 0, 1]


def test_another_store_or_size_begins_anew():
    rows, of = RowTransforms(), store()
    arrive(of, np.arange(30))
    check(rows, of)
    other = store()
    arrive(other, np.arange(6), values=2 * VALUES)
    check(rows, other)
    assert rows.bytes > 0 and rows.bytes_in_files == 0
