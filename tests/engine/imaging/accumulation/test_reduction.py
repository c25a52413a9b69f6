"""Reduction of frames to numbers: the sums of the compiled loops equal those of numpy, whatever the frames contain."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation import accumulators
from ptylive.engine.imaging.accumulation import store as store_module
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS, Numbers
from ptylive.engine.imaging.accumulation.reduction import PixelReduction
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.schema import Detector, EventBatch, EventFrames, FrameBatch, Scan, ScanHeader
from ptylive.schema.detector import below_saturation


def expected(reduction, frames):
    """Bins, regions and moments computed with numpy."""
    flat = frames.reshape(len(frames), -1).astype(float)
    flat[:, reduction.region_of < 0] = 0
    bins = np.zeros((len(frames), reduction.basis.count))
    for b in range(reduction.basis.count):
        bins[:, b] = flat[:, reduction.basis.bin_of.ravel() == b].sum(1)
    regions = np.stack([flat[:, reduction.region_of == r].sum(1) for r in range(len(REGIONS))], 1)
    return bins, regions, np.stack([flat.sum(1), flat @ reduction.row_of, flat @ reduction.col_of], 1)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    center=st.tuples(st.floats(-3, 45), st.floats(-3, 45)),
    radius=st.floats(0.5, 30),
    most_bins=st.integers(1, 400),
    bad=st.floats(0, 0.5),
    dtype=st.sampled_from(["u1", "u2", "u4", "f4"]),
    seed=st.integers(0, 2**31),
)
def test_sums_are_those_of_numpy(shape, center, radius, most_bins, bad, dtype, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < bad
    grid = DetectorGrid.of(shape, center, "none", 1.0)
    reduction = PixelReduction.of(grid, radius, mask, most_bins)
    frames = rng.integers(0, 120, (7, *shape)).astype(dtype)
    if dtype[0] == "u":
        frames[:, mask] = np.iinfo(dtype).max
    into = Numbers.zeros(9, reduction.basis.count)
    accumulator = reduction.accumulator(frames.dtype)
    point = np.array([8, -1, 2, 3, 0, 5, 6])
    accumulator.add(FrameBatch("u", np.arange(7), frames), slice(0, 7), point, into, repeats=False)
    kept = np.flatnonzero(point >= 0)
    bins, regions, moments = expected(reduction, frames[kept])
    assert np.array_equal(into.bins[point[kept]], bins.astype(np.float32))
    assert np.array_equal(into.regions[point[kept]], regions)  # integers
    rounding = frames[0].size * np.finfo(float).eps * 48 * regions.sum(axis=1).max()  # within 48 pixels of the centre
    assert np.allclose(into.moments[point[kept]], moments, rtol=0, atol=rounding)
    assert np.array_equal(accumulator.take_pattern(), frames[kept].reshape(len(kept), -1).sum(0, dtype=float))
    assert not accumulator.take_pattern().any()
    assert not into.bins[[1, 4, 7]].any()


def as_events(frames):
    """Patterns (n, Qy, Qx) as lists of the pixels with counts."""
    flat = frames.reshape(len(frames), -1)
    number, pixels = np.nonzero(flat)
    ends = np.cumsum(np.bincount(number, minlength=len(flat)))
    return EventFrames(ends, pixels.astype(np.uint32), flat[number, pixels], frames.shape[1:])


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    center=st.tuples(st.floats(-3, 45), st.floats(-3, 45)),
    radius=st.floats(0.5, 30),
    most_bins=st.integers(1, 400),
    bad=st.floats(0, 0.5),
    dtype=st.sampled_from(["u1", "u2", "u4", "f4"]),
    most=st.sampled_from([None, 3]),
    repeats=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_events_make_the_numbers_of_their_frames(shape, center, radius, most_bins, bad, dtype, most, repeats, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < bad
    grid = DetectorGrid.of(shape, center, "none", 1.0)
    reduction = replace(PixelReduction.of(grid, radius, mask, most_bins), saturation_value=most)
    frames = (rng.integers(0, 6, (9, *shape)) * (rng.random((9, *shape)) < 0.1)).astype(dtype)
    frames[4] = 0
    point = np.array([8, -1, 2, 3, 0, 5, 6, 2 if repeats else 7, 1])
    batches = FrameBatch("u", np.arange(9), frames), EventBatch("u", np.arange(9), as_events(frames))
    found = []
    for batch in batches:
        into, accumulator = Numbers.zeros(10, reduction.basis.count), reduction.accumulator(frames.dtype)
        for span in (slice(0, 4), slice(4, 9)):
            accumulator.add(batch, span, point, into, repeats=repeats)
        found.append((into, accumulator.take_pattern(), accumulator.saturated))
    (dense, pattern, full), (sparse, same_pattern, same_full) = found
    assert np.array_equal(dense.bins, sparse.bins)
    assert np.array_equal(dense.regions, sparse.regions)
    rounding = frames[0].size * np.finfo(float).eps * 48 * dense.regions.sum(axis=1).max()
    assert np.allclose(dense.moments, sparse.moments, rtol=0, atol=rounding)
    assert np.array_equal(pattern, same_pattern)
    assert full == same_full


def scan_of(frames, **scan):
    rows = cols = 16
    detector = Detector(shape=frames.shape[1:], dtype=frames.dtype.str)
    return ScanHeader("u", "u", len(frames), Scan(shape=(rows, cols), **scan), detector=detector)


def reduction_for(frames):
    grid = DetectorGrid.of(frames.shape[1:], (9.3, 10.2), "none", 1.0)
    return PixelReduction.of(grid, 6.0, np.zeros(frames.shape[1:], bool), 30)


def filled(header, frames, pool=None, size=100):
    store = Store(header, reduction_for(frames), pool)
    for first in range(0, len(frames), size):
        index = np.arange(first, min(first + size, len(frames)))
        store.add(FrameBatch("u", index, frames[index]))
    return store


def test_lanes_change_nothing(monkeypatch):
    monkeypatch.setattr(accumulators, "SUMMED", 37)
    frames = np.random.default_rng(0).integers(0, 65536, (256, 20, 22)).astype("u2")
    pool = ThreadPool(3)
    try:
        one, three = filled(scan_of(frames), frames), filled(scan_of(frames), frames, pool)
    finally:
        pool.close()
    for name in ("bins", "regions", "moments", "frames", "frame_sum"):
        assert np.array_equal(getattr(one, name), getattr(three, name)), name
    assert np.array_equal(one.frame_sum, frames.reshape(256, -1).sum(0, dtype=float))
    assert one.total_frames == 256


def test_frames_of_one_point_are_added_up():
    frames = np.random.default_rng(0).integers(0, 900, (512, 20, 22)).astype("u2")
    pool = ThreadPool(2)
    store = filled(scan_of(frames, repeats=2), frames, pool)
    pool.close()
    bins, regions, moments = expected(store.reduction, frames)
    assert np.array_equal(store.bins, bins.reshape(256, 2, -1).sum(1))  # integers below 2^24
    assert np.array_equal(store.regions, regions.reshape(256, 2, -1).sum(1))
    rounding = 2 * frames[0].size * np.finfo(float).eps * 13 * 2 * regions.sum(axis=1).max()  # at most 13 pixels off
    assert np.allclose(store.moments, moments.reshape(256, 2, -1).sum(1), rtol=0, atol=rounding)
    assert (store.frames == 2).all()


def test_a_snapshot_no_longer_changes():
    frames = np.ones((256, 20, 22), "u2")
    store = filled(scan_of(frames), frames[:100])
    kept = store.snapshot()
    store.add(FrameBatch("u", np.arange(100, 256), frames[100:]))
    assert (kept.total_frames, store.total_frames) == (100, 256)
    assert (kept.frame_sum.max(), store.frame_sum.max()) == (100.0, 256.0)
    assert (kept.frames.sum(), store.frames.sum()) == (100, 256)


def test_what_a_lane_raises_reaches_the_caller_once_all_have_ended():
    pool, ended = ThreadPool(3), []
    gate = threading.Event()

    def work(worker, start, stop):
        if worker == 1:
            gate.set()
            raise ValueError("no")
        assert gate.wait(60)
        ended.append((start, stop))

    with pytest.raises(ValueError, match="no"):
        pool.split(30, work)
    pool.close()
    assert sorted(ended) == [(0, 10), (20, 30)]


def test_small_batches_wake_nobody():
    pool, seen = ThreadPool(4), []
    pool.split(store_module.LEAST_PIECE, lambda *piece: seen.append(piece), least=store_module.LEAST_PIECE)
    pool.close()
    assert seen == [(0, 0, store_module.LEAST_PIECE)]


@pytest.mark.parametrize(("shape", "pieces"), [((362, 362), [(0, 8)]), ((363, 363), [(0, 4), (4, 8)])])
def test_of_large_frames_few_wake_a_helper(shape, pieces):
    frames, seen = np.ones((8, *shape), "u2"), []

    class Watched(ThreadPool):
        def split(self, items, work, *, least=1):
            super().split(items, lambda worker, *piece: (seen.append(piece), work(worker, *piece)), least=least)

    header = replace(scan_of(frames), scan=Scan(shape=(2, 4)))
    reduction = PixelReduction.of(DetectorGrid.of(shape, (90.0, 90.0), "none", 1.0), 60.0, np.zeros(shape, bool), 9)
    pool = Watched(2)
    Store(header, reduction, pool).add(FrameBatch("u", np.arange(8), frames))
    pool.close()
    assert sorted(seen) == pieces


@pytest.mark.parametrize(("frame_bytes", "held"), [(96 * 96 * 2, 20), (2**16, 4), (2**17, 4), (2**19, 4), (2**21, 2)])
def test_groups_are_several_times_as_many_as_are_added_together(frame_bytes, held):
    assert accumulators._frames_at_a_time(frame_bytes) == held


def test_full_pixels_add_up_exactly():
    """Sums of lines fit in 32 bits; sums of frames need more."""
    frames = np.full((1, 300, 300), 2**16 - 1, "u2")
    grid = DetectorGrid.of((300, 300), (150.0, 150.0), "none", 1.0)
    reduction = PixelReduction.of(grid, 500.0, np.zeros((300, 300), bool), 1)
    into = Numbers.zeros(1, reduction.basis.count)
    accumulator = reduction.accumulator(frames.dtype)
    accumulator.add(FrameBatch("u", np.arange(1), frames), slice(0, 1), np.array([0]), into, repeats=False)
    assert into.moments[0, 0] == into.regions[0].sum() == 300 * 300 * (2**16 - 1) > 2**32


def test_who_asks_for_the_mean_waits_while_frames_are_added():
    """A server's status thread asks for the mean; the accumulators must not change while it is computed."""
    frames = np.random.default_rng(5).integers(0, 50, (64, 20, 20)).astype("u2")
    header = scan_of(frames)
    answers = []

    class Disturbed(ThreadPool):
        def split(self, items, work, *, least=1):
            super().split(items, work, least=least)
            asking = threading.Thread(target=lambda: answers.append(store.frame_sum))
            asking.start()
            asking.join(0.05)
            assert asking.is_alive()

    store = Store(header, reduction_for(frames), Disturbed(2))
    store.add(FrameBatch("u", np.arange(64), frames))
    assert np.array_equal(store.frame_sum, frames.sum(0, dtype=float).ravel())
    assert all(np.array_equal(answer, store.frame_sum) for answer in answers)


def test_who_asks_for_a_recent_sum_waits_for_nobody():
    """The command `status` is answered while a batch is reduced, however long that takes."""
    frames = np.random.default_rng(5).integers(0, 50, (20, 20, 20)).astype("u2")
    header = scan_of(frames)
    store = Store(header, reduction_for(frames))
    store.add(FrameBatch(header.uid, np.arange(10), frames[:10]))
    before, count = store.recent_sum(60.0)
    assert (before.sum(), count) == (frames[:10].sum(), 10)
    store.add(FrameBatch(header.uid, np.arange(10, 20), frames[10:]))
    with store._summing:
        assert store.recent_sum(0.0)[0] is before
    now, count = store.recent_sum(60.0)
    assert (now.sum(), count) == (frames.sum(), 20)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4"])
def test_full_pixels_are_cut_before_anything_is_summed(dtype):
    """A full pixel holds a value specific to the detector; bad pixels, here always full, do not count."""
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 90, (6, 16, 16)).astype(dtype)
    bad = np.zeros((16, 16), bool)
    bad[3, 4] = True
    frames[:, 3, 4] = 255
    frames[1, 8, 8], frames[4, 2, 2], frames[5, 7, 7] = 255, 100, 101
    grid = DetectorGrid.of((16, 16), (7.5, 7.5), "none", 1.0)
    limited = replace(PixelReduction.of(grid, 5.0, bad, 40), saturation_value=100.0)
    header = scan_of(frames)
    store, wanted = Store(header, limited), Store(header, PixelReduction.of(grid, 5.0, bad, 40))
    store.add(FrameBatch("u", np.arange(6), frames))
    wanted.add(FrameBatch("u", np.arange(6), np.minimum(frames, np.asarray(100, dtype))))
    assert np.array_equal(store.bins, wanted.bins)
    assert np.array_equal(store.moments, wanted.moments)
    assert np.array_equal(store.mean_pattern, wanted.mean_pattern)
    assert (store.saturated_frames, wanted.saturated_frames) == (3, 0)
    assert not limited.same_as(wanted.reduction)
    assert np.array_equal(below_saturation(frames, 100.0), np.minimum(frames, np.asarray(100, dtype)))
    assert below_saturation(frames, None) is frames
