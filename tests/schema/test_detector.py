"""Values of the detector: descan in its three spellings, and how it changes when patterns or scans are rotated."""

import numpy as np
import pytest

from ptylive.schema import MetadataError, ScanHeader
from ptylive.schema.detector import Descan, undo_transform
from ptylive.schema.metadata import build, overlay, to_attributes
from ptylive.schema.scan import Scan

NUMBERS = (2.0, 0.5, 0.25, -0.5, 0.125, -1.0, 3.0, 0.0, 0.75, 0.25)
WORDS = ("none", "transpose", "flip_rows", "flip_cols", "transpose+flip_rows", "flip_cols+transpose")


def test_a_plane_is_told_by_its_changes_across_the_field() -> None:
    plane = Descan.of([4.0, 0.0, 0.0, -2.0])
    places = plane.at_points(np.array([0, 4, 20, 24]), (5, 5))
    assert np.allclose(places, [[-2, 1], [-2, -1], [2, 1], [2, -1]])
    assert plane.extent_px == pytest.approx(np.hypot(4, 2))


def test_the_mean_over_the_field_is_nothing() -> None:
    places = Descan.of(NUMBERS).at_points(np.arange(200 * 300), (200, 300))
    assert np.abs(places.mean(axis=0)).max() < 0.02  # sums of squares over points instead of an integral: 1 / 200


def test_a_scan_of_one_row_has_no_slope_along_it() -> None:
    assert np.allclose(Descan.of([4.0, 2.0, 0.0, 0.0]).at_points(np.arange(3), (1, 3))[:, 0], [-1, 0, 1])


def test_sums_and_differences() -> None:
    one, other = Descan.of(NUMBERS), Descan.of([1.0, 2.0, 3.0, 4.0])
    assert one.plus(other).minus(other).numbers == pytest.approx(NUMBERS)
    assert one.minus(None) is one
    assert one.plus(None) is one


def test_each_line_of_a_scan_may_have_an_offset() -> None:
    jumping = Descan.of([*NUMBERS, 0.0, 0.0, 1.0, -2.0, -1.0, 2.0, 0.0, 0.5])
    point = np.array([0, 5, 9, 12, 19])
    smooth = Descan.of(NUMBERS)
    assert jumping.lines == ((0.0, 0.0), (1.0, -2.0), (-1.0, 2.0), (0.0, 0.5))
    left = jumping.at_points(point, (4, 5)) - smooth.at_points(point, (4, 5))
    assert left == pytest.approx(np.array([[0, 0], [1, -2], [1, -2], [-1, 2], [0, 0.5]]))
    assert jumping.smooth == smooth
    assert jumping.minus(smooth).extent_px == pytest.approx(2 * np.hypot(1, 2), rel=1e-4)
    assert jumping.minus(jumping).extent_px == 0
    assert smooth.minus(jumping).plus(jumping).at_points(point, (4, 5)) == pytest.approx(
        smooth.at_points(point, (4, 5))
    )
    assert jumping.scaled(2.0).lines[1] == (2.0, -4.0)
    with pytest.raises(MetadataError, match="offsets of 4 lines, the scan has 5"):
        jumping.at_points(point, (5, 4))
    with pytest.raises(ValueError, match="11 numbers"):
        Descan.of([*NUMBERS, 1.0])


@pytest.mark.parametrize("words", WORDS)
def test_undone_transforms_move_the_pattern_alike(words: str) -> None:
    """A spot at the recorded place, and its place in the pattern after the inverse transform."""
    descan, shape = Descan.of(NUMBERS), (11, 13)
    row, col = (5 + 2, 6 - 1)
    recorded, middle = np.zeros(shape), np.zeros(shape)
    recorded[row, col], middle[5, 6] = 1, 1
    found = [np.argwhere(undo_transform(pattern, words))[0] for pattern in (recorded, middle)]
    two = Descan(((2.0, 0, 0, 0, 0), (-1.0, 0, 0, 0, 0))).undone(words)
    assert np.allclose(two.at(np.ones(1), np.zeros(1))[0], found[0] - found[1])
    assert descan.undone(words).extent_px == pytest.approx(descan.extent_px)
    lines = Descan.of([0.0] * 10 + [2.0, -1.0] * 3).undone(words).lines
    assert np.allclose(lines, found[0] - found[1])


@pytest.mark.parametrize(("words", "axes"), [("rows", (0,)), ("cols", (1,)), ("rows+cols", (0, 1)), ("", ())])
def test_a_scan_read_backwards(words: str, axes: tuple[int, ...]) -> None:
    descan = Descan.of([*NUMBERS, *np.arange(8.0)])
    field = descan.at_points(np.arange(20), (4, 5)).reshape(4, 5, 2)
    backwards = descan.read_backwards(words).at_points(np.arange(20), (4, 5)).reshape(4, 5, 2)
    assert np.allclose(backwards, np.flip(field, axes) if axes else field)


def test_metadata_keep_it() -> None:
    header = overlay(ScanHeader(uid="", series="", frames=0, scan=Scan()), {"descan_px": "4, 0, 0, -2"})
    assert header.detector.descan_px == Descan.of([4, 0, 0, -2]).numbers
    again = build("detector", {"descan_px": to_attributes(header)["descan_px"]}, "file")
    assert again.descan_px == header.detector.descan_px
    assert overlay(header, {"descan_px": 0}).detector.descan_px == (0.0,) * 10
    assert overlay(header, {"descan_px": None}).detector.descan_px is None


@pytest.mark.parametrize("value", [1.0, [1, 2], [1, 2, 3], [0] * 9, "much", [1, 2, 3, float("nan")], [1e9, 0, 0, 0]])
def test_what_is_no_descan_is_refused_by_name(value: object) -> None:
    with pytest.raises(MetadataError, match="descan"):
        overlay(ScanHeader(uid="", series="", frames=0, scan=Scan()), {"descan_px": value})


def test_nobody_gives_the_jumps_of_lines() -> None:
    with pytest.raises(MetadataError, match="descan_px has 12 numbers: give 0, the 4 of a plane, or 10"):
        build("detector", {"descan_px": [*NUMBERS, 1.0, 2.0]}, "a file")
