"""Patterns moved back by the descan."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan

from ptylive.engine.dataset import dataset_of
from ptylive.engine.descan import (
    beyond_detector,
    descan_of,
    given_descan,
    header_at_rest,
    moved,
    moved_back,
    moved_by_whole_pixels,
    offsets_px,
    seen_everywhere,
)
from ptylive.schema import Basis, Calibration, MetadataError, Origin, Quantity
from ptylive.schema.detector import Descan, undo_transform, undo_transform_of_center

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


def test_counts_that_are_moved_by_whole_pixels_stay_as_they_are():
    scan, index = header(), np.arange(64)
    counts = RNG.poisson(3.0, (64, 8, 8)).astype(np.uint16)
    descan = Descan.of([5.0, -3.0, 1.0, 2.0])
    still = moved_by_whole_pixels(scan, descan, index, counts)
    assert still.dtype == counts.dtype
    for n, (row, col) in enumerate(np.rint(descan.at_points(index, (8, 8))).astype(int)):
        wanted = np.zeros((24, 24), np.uint16)
        wanted[8 - row : 16 - row, 8 - col : 16 - col] = counts[n]
        assert np.array_equal(still[n], wanted[8:16, 8:16]), (row, col)
    assert not moved_by_whole_pixels(scan, Descan.of([99.0, 0, 0, 0]), index[:8], counts[:8]).any()


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
    assert "bad_pixel_mask" not in header_at_rest(scan, Descan.of([1, 0, 0, 0])).arrays
    assert header_at_rest(scan, None) is scan


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


@pytest.mark.parametrize("foreign", [(0.5, 0.1, 0.2), (float("nan"),) * 4, "0.1, 0.2", ("a", "b", "c", "d")])
def test_a_descan_that_a_foreign_file_holds_wrongly_is_refused_in_words(foreign: object) -> None:
    with pytest.raises(MetadataError, match="the calibration cannot be used") as refused:
        descan_of(Calibration({"descan_px": Quantity(foreign, Origin.ESTIMATED)}))
    assert "descan_px" in refused.value.line()


def test_a_refinement_gets_patterns_that_lie_still():
    scan, index = header(), np.arange(64)
    descan = Descan.of([3.0, 0.0, 1.0, 2.0])
    frames = RNG.poisson(3.0, (64, 8, 8)).astype(np.uint16)
    known = {"beam_center_px": Quantity((4.0, 4.0), Origin.GIVEN)}
    assert np.array_equal(dataset_of(scan, Calibration(known), index, frames).patterns, frames)
    seen = Calibration({**known, "descan_px": Quantity(descan.numbers, Origin.ESTIMATED)})
    got = dataset_of(replace(scan, arrays={"bad_pixel_mask": np.eye(8) > 0}), seen, index[5:], frames[5:])
    assert got.patterns.min() >= 0
    assert np.array_equal(got.bad_pixels, beyond_detector(scan, descan))
    assert not np.diag(got.bad_pixels)[2:6].any()  # filled
    assert got.patterns.dtype == np.uint16
    filled = replace(scan, arrays={"bad_pixel_mask": np.eye(8) > 0})
    assert np.array_equal(got.patterns, moved_by_whole_pixels(filled, descan, index[5:], frames[5:]))
    straight = dataset_of(scan, seen, index, frames)
    assert np.array_equal(straight.patterns, moved_by_whole_pixels(scan, descan, index, frames))
    every = descan.at_points(index, (8, 8))
    assert np.allclose(straight.offsets_px, every - np.rint(every))
    assert np.array_equal(straight.part(index[7:9]).offsets_px, straight.offsets_px[7:9])


def test_filled_counts_are_rounded():
    frames, mask = np.full((1, 8, 8), 2, np.uint16), np.eye(8) > 7
    mask[4, 4], frames[0, 3:6, 3:6] = True, 3
    frames[0, 2], frames[0, :, 2] = 3, 3  # a square of five pixels has 16 times 3 and 8 times 2
    frames[0, 4, 4] = 60_000
    found = moved_by_whole_pixels(
        replace(header(), arrays={"bad_pixel_mask": mask}), Descan.of([0]), np.zeros(1, int), frames
    )
    assert found[0, 4, 4] == 3


@pytest.mark.parametrize("words", ["none", "transpose", "flip_rows", "transpose+flip_cols"])
def test_what_is_left_of_a_descan_is_told_in_the_detector_frame(words):
    """The remaining displacement of a spot equals its offset from the middle of the recorded frame."""
    scan, descan, point = header(), Descan.of([3.3, -0.4, 1.2, 2.1]), np.array([3, 47])
    recorded = np.stack([spot(12 + row, 12 + col, (24, 24)) for row, col in descan.at_points(point, (8, 8))])
    still = undo_transform(moved_by_whole_pixels(scan, descan, point, recorded), words)
    rows, cols = np.indices((24, 24))
    middle = undo_transform_of_center((12.0, 12.0), (24, 24), words)
    for pattern, offset in zip(still, offsets_px(scan, descan, point, words, recorded), strict=True):
        place = [(pattern * axis).sum() / pattern.sum() for axis in (rows, cols)]
        assert np.array(place) - middle == pytest.approx(offset, abs=1e-6)  # tails of the spot


def test_coefficients_stay_and_all_of_a_descan_is_told():
    scan = replace(header(), basis=Basis(kind="zernike", n_bright=3, n_dark=0))
    descan = Descan.of([3.3, -0.4, 1.2, 2.1])
    every, vectors = descan.at_points(np.arange(64), (8, 8)), np.ones((64, 3), np.float32)
    assert np.allclose(offsets_px(scan, descan, np.arange(64), "none", vectors), every)
    assert offsets_px(scan, None, np.arange(64), "none", vectors) is None


def test_of_coefficients_that_followed_what_is_left_is_told():
    """Masks at (15, 15), centre of mass at rest at (15.2, 15); all patterns are displaced by (1, -2), and wander."""
    words = Basis(kind="zernike", n_bright=1, n_dark=0, extra=("sum", "k_row", "k_col", "moved_row", "moved_col"))
    words = words.model_copy(update={"center_px": (15.0, 15.0), "com_px": (15.2, 15.0)})
    scan, descan, point = replace(header(), basis=words), Descan.of([3.3, -0.4, 1.2, 2.1]), np.arange(64)
    place = descan.at_points(point, (8, 8)) + np.array([1.0, -2.0])
    followed = np.round(4 * place) / 4
    counts = np.random.default_rng(1).uniform(90, 110, (64, 1))
    vectors = np.concatenate([counts, counts, counts * (place + np.array([0.2, 0.0])), followed], axis=1)
    found = offsets_px(scan, descan, point, "transpose+flip_cols", vectors)
    left = place - followed
    assert found == pytest.approx(np.stack([-left[:, 1], left[:, 0]], 1), abs=1e-6)
    assert np.abs(found).max() <= 0.125 + 1e-6


def test_pixels_that_leave_the_detector_in_some_pattern_are_not_seen_everywhere():
    seen = seen_everywhere((8, 10), np.array([[-1.2, 0.0], [0.3, 2.0], [0.0, 0.4]]))
    assert seen.sum(axis=0).max() == 8 - 2 - 1
    assert np.flatnonzero(seen.any(axis=1)).tolist() == [2, 3, 4, 5, 6]
    assert np.flatnonzero(seen.any(axis=0)).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert seen_everywhere((8, 10), np.zeros((3, 2))).all()


def test_pixels_read_from_beyond_the_detector_are_bad_where_a_tenth_of_the_patterns_lacks_them():
    """One jumping line of eight is an eighth of the patterns; one of sixteen is less than a tenth."""
    scan = header()
    rows = beyond_detector(scan, Descan.of([4.0, 0.0, 0.0, 0.0]))  # whole pixels from -2, -1.43, -0.86, -0.29 ... 2
    assert np.flatnonzero(rows.any(axis=1)).tolist() == [0, 1, 6, 7]
    assert rows[[0, 1, 6, 7]].all()
    jumps = np.zeros((8, 2))
    jumps[3, 1] = 3.0
    assert np.flatnonzero(
        beyond_detector(scan, Descan.of([0.0] * 10 + jumps.ravel().tolist())).any(axis=0)
    ).tolist() == [
        5,
        6,
        7,
    ]
    larger = replace(scan, scan=scan.scan.model_copy(update={"shape": (16, 8)}))
    jumps = np.concatenate([jumps, np.zeros((8, 2))])
    assert not beyond_detector(larger, Descan.of([0.0] * 10 + jumps.ravel().tolist())).any()  # a sixteenth
    assert not beyond_detector(scan, Descan.of([0.4, 0.0, 0.0, 0.4])).any()
