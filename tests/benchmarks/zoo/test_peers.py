"""Input of other programs: prepared patterns, or the reason why a program did not run."""

import json
import sys

import numpy as np
import pytest
from zoo_scans import small_draw, written_scan

from benchmarks.zoo.peers import centred, filled, prepared, run


def disc(row, col, side=16):
    y, x = np.indices((side, side))
    return (1000 * np.exp(-((y - row) ** 2 + (x - col) ** 2) / 8)).astype(np.uint16)


def middle(pattern):
    y, x = np.indices(pattern.shape)
    return (pattern * y).sum() / pattern.sum(), (pattern * x).sum() / pattern.sum()


@pytest.mark.parametrize(
    ("words", "centre"), [("none", (7.25, 9.0)), ("transpose", (9.0, 7.25)), ("flip_rows", (15 - 7.25, 9.0))]
)
def test_the_beam_comes_to_the_middle(words, centre):
    pattern = disc(*centre)[None]
    found = centred(pattern, None, words, np.array(centre))
    assert middle(found[0]) == pytest.approx((8, 8), abs=0.02)  # the disc is rounded to whole counts
    assert found.sum() == pytest.approx(pattern.sum(), rel=0.01)  # the disc's tail leaves the detector


def test_bad_pixels_are_filled_from_good_ones():
    patterns = np.full((2, 5, 5), 10, np.float32)
    bad = np.zeros((5, 5), bool)
    bad[0, 0] = bad[0, 1] = bad[3, 3] = True
    patterns[:, bad] = 65535
    np.testing.assert_array_equal(filled(patterns, bad), 10)


def test_patterns_lie_on_the_grid_in_order(tmp_path):
    """A snake scan is straightened, flyback frames are removed, and positions count from the first point."""
    path, scan = written_scan(tmp_path, small_draw(pattern="snake", flyback=1))
    given = prepared(path)
    assert given["patterns"].shape == (10, 12, 16, 16)
    positions = given["positions_A"].reshape(10, 12, 2)
    np.testing.assert_allclose(positions[3, 5], (3 * 1.5, 5 * 1.5), atol=1e-5)
    told = json.loads(given["calibration"])
    assert told["slices"] == 1 and told["slice_A"] == scan.thickness_A


def test_a_program_that_is_not_there_is_left_out_with_a_reason(tmp_path):
    path, _ = written_scan(tmp_path, small_draw())
    found = run("ptyrad", path, tmp_path / "out", None, None)
    assert found["skipped"] and "--ptyrad-python" in found["error"]
    found = run("ptyrad", path, tmp_path / "out", tmp_path / "nowhere" / "python", None)
    assert found["skipped"] and "cannot be imported" in found["error"]


def test_a_program_that_fails_is_told_with_its_last_line(tmp_path, monkeypatch):
    """Bypasses the check, with an interpreter that lacks the program."""
    from pathlib import Path

    from benchmarks.zoo import peers

    monkeypatch.setattr(peers, "installed", lambda python, package: True)
    path, _ = written_scan(tmp_path, small_draw())
    found = run("py4dstem", path, tmp_path / "out", Path(sys.executable), 2)
    assert "py4DSTEM" in found["error"] and found["iterations"] == 2
    assert not list((tmp_path / "out").glob("*_input.npz"))
