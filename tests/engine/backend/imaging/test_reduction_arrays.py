"""Reduction of frames on a device against the compiled loops: integer results agree to the last bit for any frames."""

import math

import numpy as np
import pytest
from strict_device import device

from ptylive.engine.backend.device import ArrayDevice, NoRoom
from ptylive.engine.backend.imaging.reduction_arrays import ArrayReduction, PixelTables
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS, Numbers
from ptylive.engine.imaging.accumulation.reduction import PixelReduction
from ptylive.schema import FrameBatch

STRICT = ArrayDevice(device, lambda: math.inf)


def tables_of(reduction):
    return PixelTables.of(
        reduction.basis.bin_of.ravel(), reduction.region_of, len(REGIONS), reduction.row_of, reduction.col_of
    )


def compiled(reduction, frames):
    """Numbers computed by the compiled loops, used as the reference."""
    into, accumulator = Numbers.zeros(len(frames), reduction.basis.count), reduction.accumulator(frames.dtype)
    batch = FrameBatch("u", np.arange(len(frames)), frames)
    accumulator.add(batch, slice(0, len(frames)), np.arange(len(frames)), into, repeats=False)
    return into, accumulator.take_pattern(), accumulator.saturated


@pytest.mark.parametrize(
    "dtype", ["u1", "u2", "f4", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("u4", "i4"))]
)
@pytest.mark.parametrize(
    ("shape", "center", "radius", "most", "limit"),
    [
        ((21, 18), (9.3, 10.2), 6.0, 30, None),
        ((16, 24), (-2.0, 30.0), 20.0, 400, 100.0),  # the beam is off the detector
        ((12, 12), (6.0, 6.0), 0.5, 1, 70.5),
        ((9, 9), (400.0, 400.0), 3.0, 10, None),  # no bins at all
    ],
)
def test_sums_are_those_of_the_processor(dtype, shape, center, radius, most, limit):
    rng = np.random.default_rng(7)
    bad = rng.random(shape) < 0.2
    made = PixelReduction.of(DetectorGrid.of(shape, center, "none", 1.0), radius, bad, most)
    reduction = PixelReduction(made.basis, made.region_of, made.row_of, made.col_of, limit)
    frames = rng.integers(0, 120, (13, *shape)).astype(dtype)
    if dtype == "f4":
        frames += rng.random(frames.shape, dtype=np.float32)
    frames[:, bad] = 127
    into, pattern, saturated = compiled(reduction, frames)
    found = ArrayReduction(STRICT, tables_of(reduction), frames.dtype, limit).reduce(
        frames.reshape(13, -1), np.arange(13)
    )
    assert found.full == saturated
    moments, regions = found.numbers[:, len(REGIONS) :], found.numbers[:, : len(REGIONS)]
    # two sums of n products in double precision, each within n u of the sum of magnitudes
    size = np.abs(frames.reshape(13, -1).astype(float)) @ np.stack(
        [np.ones(made.row_of.size), np.abs(made.row_of), np.abs(made.col_of)], axis=1
    )
    assert (np.abs(moments - into.moments) <= 2 * made.row_of.size * 2.0**-53 * size + 1e-300).all()
    if dtype == "f4":
        assert (np.abs(regions - into.regions) <= 2 * made.row_of.size * 2.0**-53 * size[:, :1]).all()
        assert (np.abs(found.bins - into.bins) <= 2.0**-23 * np.abs(into.bins)).all()  # one rounding to single each
        assert np.allclose(found.pattern, pattern, rtol=13 * np.finfo(float).eps)  # 13 frames, all of one sign
    else:
        for ours, theirs in ((found.bins, into.bins), (regions, into.regions), (found.pattern, pattern)):
            assert np.array_equal(ours, theirs)
        assert np.array_equal(moments[:, 0], into.moments[:, 0])


def test_chosen_frames_in_portions(monkeypatch):
    rng = np.random.default_rng(8)
    grid = DetectorGrid.of((20, 22), (9.3, 10.2), "none", 1.0)
    reduction = PixelReduction.of(grid, 6.0, np.zeros((20, 22), bool), 30)
    frames = rng.integers(0, 65536, (40, 440)).astype("u2")
    chosen = np.array([7, 9, 8, 10, 0, 1, 2, 30])
    whole = ArrayReduction(STRICT, tables_of(reduction), frames.dtype).reduce(frames, chosen)
    expected, pattern, _ = compiled(reduction, frames[chosen].reshape(-1, 20, 22))
    assert np.array_equal(whole.bins, expected.bins)
    assert np.array_equal(whole.pattern, pattern)
    monkeypatch.setattr("ptylive.engine.backend.device.WORK_BYTES", 15_000)  # room for two frames at a time
    device.traffic.reset()
    parts = ArrayReduction(STRICT, tables_of(reduction), frames.dtype).reduce(frames, chosen)
    assert device.traffic.to_host == 12
    assert np.array_equal(parts.bins, whole.bins)
    assert np.array_equal(parts.pattern, whole.pattern)
    # products of another shape are summed in another order: rounding of 440 terms, all of one sign
    assert np.allclose(parts.numbers, whole.numbers, rtol=440 * np.finfo(float).eps, atol=0)


def test_a_limit_that_no_pixel_can_reach_cuts_nothing():
    frames = np.full((3, 6), 255, "u1")
    tables = PixelTables.of(np.zeros(6, np.int32), np.zeros(6, np.int32), 4, np.zeros(6), np.zeros(6))
    found = ArrayReduction(STRICT, tables, frames.dtype, 70_000.0).reduce(frames, np.arange(3))
    assert found.full == 0
    assert (found.bins == 6 * 255).all()


def test_tables_that_do_not_fit_are_not_sent():
    tables = PixelTables.of(np.zeros(6, np.int32), np.zeros(6, np.int32), 4, np.zeros(6), np.zeros(6))
    with pytest.raises(NoRoom, match="tables of the detector need"):
        ArrayReduction(ArrayDevice(device, lambda: 100), tables, np.dtype("u1"))


def test_a_frame_is_full_where_a_good_pixel_reaches_the_limit():
    region_of = np.array([0, 1, -1, 3])
    tables = PixelTables.of(np.array([0, 0, -1, -1]), region_of, 4, np.zeros(4), np.zeros(4))
    frames = np.array([[100, 3, 0, 0], [99, 3, 255, 99], [101, 200, 0, 100], [5, 5, 100, 5]], "u1")
    found = ArrayReduction(STRICT, tables, frames.dtype, 100.0).reduce(frames, np.arange(4))
    assert found.full == 2, "the first and the third; of the others only a bad pixel"
    assert np.array_equal(found.bins[:, 0], [103, 102, 200, 10])
    assert np.array_equal(found.pattern, np.minimum(frames, 100).sum(axis=0)), "as recorded, bad pixels too"
