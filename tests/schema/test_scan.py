"""Which frame belongs to which scan point, and where that lies: against the order in which a beam visits them."""

import itertools

import numpy as np
import pytest

from ptylive.schema import MetadataError, Scan
from ptylive.schema.scan import MAX_SCAN_POSITIONS, rotation_matrix, two_whole_numbers


def visited(scan: Scan) -> list[int]:
    """Flat scan point of every frame, one after the other; -1 for frames of no point."""
    rows, columns = scan.require_shape()
    points = [-1] * scan.skip_first
    for row in range(rows):
        order = range(columns) if scan.pattern == "raster" or row % 2 == 0 else reversed(range(columns))
        for column in order:
            points += [row * columns + column] * scan.repeats
        points += [-1] * (scan.flyback_frames * scan.repeats)
    return points


@pytest.mark.parametrize(
    ("pattern", "flyback", "skipped", "repeats"), [*itertools.product(("raster", "snake"), (0, 2), (0, 3), (1, 2))]
)
def test_frames_and_points_are_each_other_s_inverse(pattern, flyback, skipped, repeats):
    scan = Scan(shape=(3, 4), pattern=pattern, flyback_frames=flyback, skip_first=skipped, repeats=repeats)
    points = np.array(visited(scan))
    assert scan.frames == len(points)
    np.testing.assert_array_equal(scan.point_of(np.arange(-2, len(points) + 2)), [-1, -1, *points, -1, -1])
    acquired = scan.acquired_at(np.arange(12))
    assert acquired.shape == (12, repeats)
    np.testing.assert_array_equal(points[acquired], np.arange(12)[:, None].repeat(repeats, axis=1))


def test_points_are_covered_by_any_of_their_frames():
    scan = Scan(shape=(2, 2), repeats=2, skip_first=1)
    received = np.zeros(scan.frames, dtype=bool)
    received[[0, 2, 7]] = True  # one that is skipped, the second of point 0, the first of point 3
    np.testing.assert_array_equal(scan.coverage(received), [[True, False], [False, True]])


@pytest.mark.parametrize(
    ("given", "frames", "shape"),
    [
        ({}, 16, (4, 4)),
        ({}, 15, (1, 15)),
        ({"repeats": 2}, 32, (4, 4)),
        ({"skip_first": 3}, 19, (4, 4)),
        ({"flyback_frames": 2}, 24, (4, 4)),
        ({"flyback_frames": 2}, 25, (1, 23)),
        ({"shape": (2, 3)}, 100, (2, 3)),
        ({}, 0, (1, 1)),
    ],
)
def test_a_missing_shape_is_guessed_from_the_number_of_frames(given, frames, shape):
    assert Scan(**given).with_frames(frames).shape == shape


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ("48,64", (48, 64)),
        ("48x64", (48, 64)),
        ("48 × 64", (48, 64)),
        ("(48, 64)", (48, 64)),
        ([48, 64.0], (48, 64)),
        (np.array([[48], [64]]), (48, 64)),
        ("48", None),
        ("48,64,2", None),
        ([48.5, 64], None),
        ([True, 64], None),
        ("a,b", None),
        (None, None),
    ],
)
def test_two_whole_numbers_as_people_write_them(written, numbers):
    assert two_whole_numbers(written) == numbers


def test_a_matrix_is_two_steps_if_it_is_diagonal():
    scan = Scan(shape=(2, 2), step_A=9.0, matrix=[[2.0, 0.0], [0.0, 3.0]])
    assert (scan.step_A, scan.matrix) == ((2.0, 3.0), None)
    skewed = Scan(shape=(2, 2), step_A=9.0, matrix=[2.0, 1.0, 0.0, 3.0])
    assert (skewed.step_A, skewed.matrix) == (None, ((2.0, 1.0), (0.0, 3.0)))
    np.testing.assert_allclose(skewed.positions_A(0.0), [[0, 0], [1, 3], [2, 0], [3, 3]])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"matrix": [1, 2, 2, 4]}, "on one line"),
        ({"matrix": [0, 0, 0, 0]}, "on one line"),
        ({"matrix": [1, 2, 3]}, "not four numbers"),
        ({"step_A": [1, 2, 3]}, "one or two positive numbers"),
        ({"step_A": -1.0}, "one or two positive numbers"),
        ({"shape": [0, 5]}, "impossible scan shape"),
        ({"shape": [2, MAX_SCAN_POSITIONS]}, "impossible scan shape"),
        ({"shape": "many"}, "not two whole numbers"),
        ({"shape": (4, 3), "beam_current": (1.0, 1.1)}, "beam_current has 2 numbers, the scan has 4 rows"),
        ({"beam_current": (1.0, 0.0)}, "beam_current must be numbers above 0"),
        ({"beam_current": ()}, "beam_current must be numbers above 0"),
    ],
)
def test_impossible_geometries_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        Scan.model_validate(given)


def test_beam_currents_are_relative_to_their_mean():
    assert Scan(shape=(2, 3), beam_current=[90, 110]).beam_current == pytest.approx((0.9, 1.1))
    assert Scan(shape=(2, 3), beam_current=1).beam_current == (1.0,)


def test_a_field_of_view_is_a_step_once_the_shape_is_known():
    scan = Scan(field_of_view_A=32.0)
    assert scan.step_A is None
    assert scan.with_shape((4, 16)).step_A == (2.0, 2.0)


def test_positions_are_rotated_about_the_first_point():
    scan = Scan(shape=(2, 3), step_A=(1.0, 2.0))
    positions = scan.positions_A(90.0)
    np.testing.assert_allclose(positions[:3], [[0, 0], [-2, 0], [-4, 0]], atol=1e-12)
    np.testing.assert_allclose(positions[3], [0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation_matrix(30.0) @ rotation_matrix(-30.0), np.eye(2), atol=1e-15)


def test_what_is_missing_is_named():
    with pytest.raises(MetadataError, match="scan_shape is not known"):
        _ = Scan().frames
    with pytest.raises(MetadataError, match="scan_step_A is not known"):
        Scan(shape=(2, 2)).positions_A(0.0)
