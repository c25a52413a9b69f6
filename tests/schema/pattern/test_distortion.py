"""Distortion: where places are recorded, and patterns moved back into place."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from ptylive.schema import Detector, MetadataError, Scan, ScanHeader
from ptylive.schema.metadata import overlay, to_attributes
from ptylive.schema.pattern.distortion import areas, distortion_of, numbers_of, recorded_at, true_place, true_places
from ptylive.schema.pattern.undistorted import Undistorted

SHAPE = (40, 48)
CUBIC = tuple(np.random.default_rng(0).uniform(-0.02, 0.02, 18).tolist())


def scan(numbers, **arrays):
    detector = Detector(shape=SHAPE, dtype="<u2", distortion=numbers, beam_center_px=(19.0, 24.0))
    return ScanHeader("a", "a", 4, Scan(shape=(2, 2)), detector=detector, arrays=arrays)


def test_numbers_of_every_order_and_back():
    assert numbers_of(distortion_of(CUBIC)) == pytest.approx(CUBIC)
    linear, quadratic = distortion_of(CUBIC[:4]), distortion_of(CUBIC[:10])
    assert not linear[2:].any()
    assert not quadratic[5:].any()
    np.testing.assert_array_equal(distortion_of(CUBIC)[:5], quadratic[:5])
    assert not distortion_of([0]).any()
    for wrong in ([1.0], [0.1] * 5, [np.nan] * 4, [0.5, 0, 0, 0]):
        with pytest.raises(ValueError, match="distortion"):
            distortion_of(wrong)


def test_a_linear_one_stretches_about_the_middle():
    middle = (np.array(SHAPE) - 1) / 2
    seen = recorded_at(
        np.array([[10.0, 0.0], [0.0, 10.0], [0.0, 0.0]]) + middle, distortion_of([0.1, 0, 0.05, -0.1]), SHAPE
    )
    np.testing.assert_allclose(seen - middle, [[11.0, 0.5], [0.0, 9.0], [0.0, 0.0]])


def test_counts_are_kept_and_spots_are_put_back():
    header = scan(CUBIC)
    flat = Undistorted.of(header)
    true = np.array([[12.0, 30.0], [25.0, 12.0], [20.0, 24.0]])
    rows, cols = np.indices(SHAPE)
    frames = np.zeros((3, *SHAPE), np.uint16)
    for frame, (row, col) in zip(frames, recorded_at(true, distortion_of(CUBIC), SHAPE), strict=True):
        frame[...] = np.rint(1e4 * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / 8))
    counts = flat.frames(frames)
    for frame, recorded, (row, col) in zip(counts, frames, true, strict=True):
        assert frame.sum() == pytest.approx(recorded.sum(), rel=5e-3)
        found = [(frame * axis).sum() / frame.sum() for axis in (rows, cols)]
        np.testing.assert_allclose(found, (row, col), atol=0.05)


def test_the_scan_in_place_tells_what_it_is():
    mask = np.zeros(SHAPE, bool)
    mask[10, 10] = True
    flat = Undistorted.of(scan(CUBIC, bad_pixel_mask=mask, dark_reference=np.full(SHAPE, 2.0, np.float32)))
    seen = flat.header
    assert seen.detector.distortion is None
    assert seen.frame_dtype == np.float32
    assert "dark_reference" not in seen.arrays
    assert seen.arrays["bad_pixel_mask"][5:-5, 5:-5].sum() <= 4
    back = recorded_at(np.array([seen.detector.beam_center_px]), distortion_of(CUBIC), SHAPE)[0]
    np.testing.assert_allclose(back, (19.0, 24.0), atol=1e-6)
    even = flat.frames(np.full((1, *SHAPE), 102, np.uint16))[0]
    assert even[5:-5, 5:-5][~seen.arrays["bad_pixel_mask"][5:-5, 5:-5]] == pytest.approx(100, rel=0.2)
    assert Undistorted.of(seen) is None


def test_a_hot_pixel_that_is_named_leaves_nothing():
    mask = np.zeros(SHAPE, bool)
    mask[20, 24] = True
    frames = np.full((1, *SHAPE), 10, np.uint16)
    frames[0, 20, 24] = 65535
    counts = Undistorted.of(scan(CUBIC, bad_pixel_mask=mask)).frames(frames)
    assert counts.max() < 13


def test_nothing_is_done_where_nothing_is_distorted():
    for numbers in (None, [0.0], [0.0] * 4):
        assert Undistorted.of(scan(numbers)) is None


def test_a_place_is_found_back():
    place = true_place((3.0, 40.0), distortion_of(CUBIC), SHAPE)
    np.testing.assert_allclose(recorded_at(np.array([place]), distortion_of(CUBIC), SHAPE), [(3.0, 40.0)], atol=1e-9)


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize("seed", range(8))
def test_places_up_to_the_corners_are_found_back_through_strong_distortions(seed, times):
    """Regression: fixed-point steps left up to 17 px of 48 at the corners of some."""
    rng = np.random.default_rng(seed)
    coefficients = distortion_of(rng.uniform(-0.2, 0.2, 18))
    for _ in range(20):
        with contextlib.suppress(MetadataError):
            areas(1.25 * coefficients, SHAPE)  # beyond a detector that is nearly folded, two points belong to one
            break
        coefficients *= 0.8
    shape = (times * SHAPE[0], times * SHAPE[1])
    places = np.array(
        [(row, col) for row in (0, shape[0] / 2, shape[0] - 1) for col in (0, shape[1] / 2, shape[1] - 1)]
    )
    back = true_places(recorded_at(places, coefficients, shape), coefficients, shape)
    np.testing.assert_allclose(back, places, atol=1e-8)


def test_it_is_metadata_like_any_other():
    header = overlay(replace(scan(None)), {"distortion": [0.02, 0, 0, -0.02]})
    assert to_attributes(header)["distortion"] == pytest.approx(header.detector.distortion)
    assert len(header.detector.distortion) == 18
    with pytest.raises(MetadataError, match="distortion"):
        overlay(header, {"distortion": [0.02] * 3})


def test_one_that_folds_is_refused():
    with pytest.raises(MetadataError, match="folds"):
        Undistorted.of(scan([0.0] * 10 + [-0.3, 0, -0.3, 0, 0, -0.3, 0, -0.3]))
