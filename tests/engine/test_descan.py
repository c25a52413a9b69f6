"""Patterns moved back by the descan."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan

from ptylive.engine.dataset import dataset_of
from ptylive.engine.descan import descan_of, given_descan, interpolated, lying_still, moved, moved_back
from ptylive.schema import Basis, Calibration, Origin, Quantity
from ptylive.schema.detector import Descan

RNG = np.random.default_rng(11)


def header(**detector):
    scan = WeakPhaseScan.make({}, n=8).header()
    return replace(scan, detector=scan.detector.model_copy(update=detector))


def spot(row, col, shape=(24, 28)):
    """A Gaussian wide enough to be sampled without loss: exp(-2 (pi s / 1)^2) = 2e-9 beyond the highest frequency."""
    rows, cols = np.indices(shape)
    return np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 1.5**2))


def test_the_pattern_is_read_where_it_lies():
    for row, col in ((0.0, 0.0), (2.0, -3.0), (1.37, 2.61), (-2.25, 0.5)):
        still = moved(spot(12 + row, 14 + col)[None], np.array([[row, col]]))[0]
        assert np.abs(still - spot(12, 14))[4:-4, 4:-4].max() < 1e-4, (row, col)  # single precision, and the tails


def test_what_was_outside_the_detector_is_empty():
    still = moved(np.ones((2, 8, 8)), np.array([[2.5, 0.0], [0.0, -1.0]]))
    assert not still[0, -3:].any()
    assert not still[1, :, :1].any()
    assert not moved(np.ones((1, 8, 8)), np.array([[99.0, 0.0]])).any()


def test_interpolated_counts_stay_counts():
    counts = RNG.poisson(0.3, (6, 16, 18)).astype(np.uint16)
    counts[:, :5] = counts[:, -5:] = counts[:, :, :5] = counts[:, :, -5:] = 0
    displacement = RNG.uniform(-4, 4, (6, 2))
    still = interpolated(counts, displacement)
    assert still.min() >= 0
    rounding = 8 * float(np.finfo(np.float32).eps)  # of the four weights, their products and sums
    assert np.allclose(still.sum(axis=(1, 2), dtype=float), counts.sum(axis=(1, 2)), rtol=rounding, atol=0)
    rows, cols = np.indices((16, 18))
    for axis, coordinate in enumerate((rows, cols)):
        middle = [(pattern * coordinate).sum() / pattern.sum() for pattern in (counts.sum(0), still.sum(0))]
        assert middle[0] - middle[1] == pytest.approx(
            np.average(displacement[:, axis], weights=counts.sum(axis=(1, 2))), abs=18 * rounding
        )
    assert not interpolated(counts, np.full((6, 2), 99.0)).any()
    assert np.array_equal(interpolated(counts, np.full((6, 2), -2.0))[:, 2:, 2:], counts[:, :-2, :-2])


def test_noise_stays_as_strong_as_it_was():
    """Linear interpolation would leave a quarter of the variance at half a pixel."""
    noise = RNG.normal(size=(40, 32, 32))
    still = moved(noise, np.full((40, 2), 0.5))[:, :-1, :-1]
    assert still.var() == pytest.approx(noise.var(), rel=0.06)  # the highest frequency is halved: 2 of 32 rows


def test_bad_pixels_are_filled_before_they_are_moved():
    frames = np.full((1, 8, 8), 3.0)
    mask = np.zeros((8, 8), bool)
    mask[4, 4] = True
    frames[0, 4, 4] = 1e6
    scan = header()
    scan = replace(scan, arrays={"bad_pixel_mask": mask})
    still = moved_back(scan, Descan.of([2.0, 0.0, 0.0, 0.0]), np.array([60]), frames)
    assert np.abs(still[0, :6] - 3.0).max() < 1e-5  # transforms in single precision
    assert "bad_pixel_mask" not in lying_still(scan, Descan.of([1, 0, 0, 0])).arrays
    assert lying_still(scan, None) is scan


def test_what_counts_as_a_descan():
    nothing, some = (0.0,) * 10, Descan.of([1, 0, 0, 0]).numbers
    assert given_descan(header()) is None
    assert given_descan(header(descan_px=nothing)) is None
    assert given_descan(header(descan_px=some)) == Descan.of(some)
    assert descan_of(Calibration()) is None
    assert descan_of(Calibration({"descan_px": Quantity(nothing, Origin.GIVEN)})) is None
    assert descan_of(Calibration({"descan_px": Quantity(some, Origin.ESTIMATED)})) == Descan.of(some)
    compressed = header(descan_px=some)
    compressed = replace(compressed, basis=Basis(kind="zernike", n_bright=3, n_dark=0))
    assert given_descan(compressed) is None


def test_a_refinement_gets_patterns_that_lie_still():
    scan, index = header(), np.arange(64)
    descan = Descan.of([3.0, 0.0, 1.0, 2.0])
    frames = RNG.poisson(3.0, (64, 8, 8)).astype(np.uint16)
    known = {"beam_center_px": Quantity((4.0, 4.0), Origin.GIVEN)}
    assert np.array_equal(dataset_of(scan, Calibration(known), index, frames).patterns, frames)
    seen = Calibration({**known, "descan_px": Quantity(descan.numbers, Origin.ESTIMATED)})
    got = dataset_of(replace(scan, arrays={"bad_pixel_mask": np.eye(8) > 0}), seen, index[5:], frames[5:])
    assert got.patterns.min() >= 0
    assert not got.bad_pixels.any()
    filled = replace(scan, arrays={"bad_pixel_mask": np.eye(8) > 0})
    assert np.array_equal(got.patterns, moved_back(filled, descan, index[5:], frames[5:], positive=True))
    straight = dataset_of(scan, seen, index, frames).patterns
    assert np.array_equal(straight, interpolated(frames, descan.at_points(index, (8, 8))))
