"""What PyPty's create_pypty_data does to patterns, beyond the tests in test_convert."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ptylive.engine.preparation import Casts, Preparation, PreparedSource, kept_orientation, left_over
from ptylive.schema import Detector, MetadataError, Optics, Scan, ScanHeader
from ptylive.schema.metadata import overlay

PATTERNS = np.random.default_rng(0).poisson(20, (12, 8, 8)).astype(np.uint16)


@dataclass(frozen=True)
class Frames:
    """Patterns in memory in place of a file."""

    header: ScanHeader
    received: np.ndarray
    path: Path = Path("memory")

    def frames(self, index):
        assert np.all(np.diff(index) > 0)  # HDF5 reads ascending indices only
        return PATTERNS[index]


def source(**scan):
    detector = Detector(shape=(8, 8), dtype="<u2", beam_center_px=(3.0, 4.0))
    header = ScanHeader(
        uid="u", series="s", frames=12, scan=Scan(shape=(3, 4), **scan), optics=Optics(), detector=detector
    )
    received = np.ones(12, bool)
    received[1] = False
    return Frames(header, received)


def prepared(**options):
    return PreparedSource.of(source(), Preparation(**options))


def test_the_scan_is_read_backwards():
    grid = np.arange(12).reshape(3, 4)
    for words, order in (("rows", grid[::-1]), ("cols", grid[:, ::-1]), ("rows+cols", grid[::-1, ::-1])):
        seen = prepared(flip_scan=words)
        np.testing.assert_array_equal(seen.frames(np.arange(12)), PATTERNS[order.ravel()])
        np.testing.assert_array_equal(seen.frames(np.array([5, 7])), PATTERNS[order.ravel()[[5, 7]]])
        assert np.flatnonzero(~seen.received) == np.flatnonzero(order.ravel() == 1)
    for scan in ({"pattern": "snake"}, {"flyback_frames": 1}, {"repeats": 2}):
        with pytest.raises(MetadataError, match="raster"):
            PreparedSource.of(source(**scan), Preparation(flip_scan="rows"))


def test_references_are_used_up():
    plain = source()
    dark, gain = np.full((8, 8), 3.0), np.full((8, 8), 0.5)
    references = {"dark_reference": dark, "gain_reference": gain, "vacuum_pattern": PATTERNS[2]}
    recorded = replace(plain, header=replace(plain.header, arrays=references))
    seen = PreparedSource.of(recorded, Preparation(bin=2, divide="mean"))
    counts = (PATTERNS[:3] - 3.0) * 0.5
    binned = counts.reshape(3, 4, 2, 4, 2).sum(axis=(2, 4))
    mean = (np.delete(PATTERNS, 1, axis=0) - 3.0).sum(axis=(1, 2)).mean() * 0.5
    np.testing.assert_allclose(seen.frames(np.array([0, 2])), binned[[0, 2]] / mean, rtol=1e-5)
    assert set(seen.header.arrays) == {"vacuum_pattern"}
    np.testing.assert_allclose(seen.header.arrays["vacuum_pattern"], binned[2])
    unchanged = PreparedSource.of(recorded, Preparation())
    assert unchanged.header.frame_dtype == unchanged.frames(np.array([0])).dtype == np.float32
    np.testing.assert_array_equal(unchanged.frames(np.array([0]))[0], counts[0])


def test_pixels_far_from_the_centre_are_emptied():
    seen = prepared(cutoff_radius=0.5).frames(np.array([0]))[0]
    rows, cols = np.indices((8, 8))
    near = np.hypot(rows - 3, cols - 4) <= 2
    np.testing.assert_array_equal(seen, np.where(near, PATTERNS[0], 0))


def test_counts_are_divided():
    np.testing.assert_allclose(prepared(divide=4.0).frames(np.array([2]))[0], PATTERNS[2] / 4)
    scaled = prepared(divide="mean")
    assert scaled.header.frame_dtype == np.dtype("<f4")
    sums = scaled.frames(np.arange(12)).sum((1, 2))
    # divided by the mean of those received, which lacks one of 12: off by the counting noise of 1280 counts
    assert sums.mean() == pytest.approx(1, abs=3 / np.sqrt(1280) / 12)
    rounding = 64 * np.finfo(np.float32).eps  # sums of 64 pixels in single precision
    np.testing.assert_allclose(sums / sums[0], PATTERNS.sum((1, 2)) / PATTERNS[0].sum(), rtol=rounding)


@pytest.mark.parametrize("options", [{"divide": 0.0}, {"cutoff_radius": 0.0}, {"flip_scan": "rows+cols+x"}])
def test_the_impossible_is_refused(options):
    with pytest.raises(MetadataError, match="impossible"):
        Preparation(**options)


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        (
            {"rotation_deg": 30.0},
            {"flip_scan": "rows"},
            "rotation_deg 30 of .* although --flip",
        ),
        (
            {"rotation_deg": 30.0},
            {"transform": "transpose"},
            "rotation_deg 30 .* although --transform transpose",
        ),
        (
            {"detector_transform": "transpose"},
            {"flip_scan": "cols"},
            "detector_transform transpose of the recorded scan",
        ),
        ({"rotation_deg": 3.0, "detector_transform": "transpose"}, {"transform": "flip_rows"}, "rotation_deg 3"),
        ({"rotation_deg": 3.0, "detector_transform": "transpose"}, {"transform": "transpose"}, ""),
        ({"rotation_deg": 30.0}, {"bin": 2}, ""),
        ({}, {"flip_scan": "rows", "transform": "transpose"}, ""),
    ],
)
def test_an_orientation_that_is_kept_although_the_scan_is_turned_is_told(given, options, said):
    found = kept_orientation(overlay(source().header, given), Preparation(**options))
    assert bool(found) == bool(said)
    assert re.match(said, found), found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bin": 2}, ""),
        ({"bin": 3, "crop": (1, 1, 2, 0)}, ""),
        ({"bin": 3}, "--bin 3 leaves out the last 2 rows and 2 columns of 8 x 8 pixels"),
        ({"bin": 3, "crop": (0, 2, 0, 0)}, "--bin 3 leaves out the last 2 columns of 6 x 8 pixels"),
        (
            {"bin": 3, "crop": (0, 0, 1, 0), "pad": 3, "transform": "transpose"},
            "--bin 3 leaves out the last 2 rows and 1",
        ),
    ],
)
def test_pixels_that_binning_leaves_out_are_told(options, said):
    """Regression: ``convert --bin 3`` of 32 pixels dropped two rows and columns without a word."""
    found = left_over(source().header, Preparation(**options))
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("scale", "dtype", "said"),
    [
        (1.0, "<u2", ""),
        (1.3, "<u2", ""),
        (
            20.0,
            "|u1",
            "above the range of uint8 and are stored as 255: their counts are lost",
        ),
        (-1.0, "<u2", "below the range of uint16 and are stored as 0, which changes the sum of all counts"),
        (1e-3, "<u2", "to 0: the numbers are too small for integers; give --dtype f4"),
        (1e-3, "<f4", ""),
    ],
)
def test_counts_that_a_type_cannot_hold_are_told(scale, dtype, said):
    casts = Casts(np.dtype(dtype))
    for _ in range(2):  # patterns may be read more than once
        assert casts.cast(scale * PATTERNS).dtype == dtype
    assert (said in casts.problem) if said else casts.problem == ""
    assert not casts.numbers or casts.below + casts.above <= casts.numbers == 2 * PATTERNS.size
