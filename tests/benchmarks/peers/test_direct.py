"""Direct methods of other programs: their input, how their maps are judged, and the reason given if one is missing."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from zoo_scans import small_draw, written_scan

from benchmarks.peers import direct
from benchmarks.zoo.map_score import MapTruth


def spot(row, col, side=16):
    pattern = np.zeros((1, side, side), np.float32)
    pattern[0, row, col] = 1
    return pattern


@pytest.mark.parametrize(
    ("words", "centre"),
    [("none", (5.0, 12.0)), ("transpose", (12.0, 5.0)), ("flip_rows", (10.0, 12.0)), ("flip_cols", (5.0, 3.0))],
)
def test_the_beam_comes_to_the_middle_by_whole_pixels(words, centre):
    """Each pattern was recorded with the beam at (5, 12) of the detector's frame."""
    recorded = spot(*map(int, centre))
    found, place = direct.in_detector_frame(recorded, words, np.array(centre))
    assert place == [8, 8]
    assert found[0, 8, 8] == 1 and found.sum() == 1


def test_what_is_left_of_a_pixel_is_told():
    found, place = direct.in_detector_frame(spot(7, 9), "none", np.array([6.75, 9.4]))
    assert place == pytest.approx([7.75, 8.4])
    assert found[0, 8, 8] == 1


def test_nothing_comes_in_from_the_other_side():
    found, _ = direct.in_detector_frame(np.ones((2, 16, 16), np.float32), "none", np.array([5.0, 12.0]))
    assert found[:, 3:, :12].all() and not found[:, :3].any() and not found[:, :, 12:].any()


def test_patterns_lie_on_the_grid_in_order(tmp_path):
    """A snake scan is straightened, flyback frames are removed, and the bad pixel is filled in."""
    path, scan = written_scan(tmp_path, small_draw(pattern="snake", flyback=1))
    numbered = np.arange(10 * 13, dtype=np.uint16).reshape(10, 13)
    scan.counts[...] = numbered[:, :, None, None]
    from benchmarks.zoo.files import write

    write(path, small_draw(pattern="snake", flyback=1), scan)
    given = direct.prepared(path)
    rows = given["patterns"][:, :, 8, 8]
    np.testing.assert_array_equal(rows[0], numbered[0, :12])
    np.testing.assert_array_equal(rows[1], numbered[1, 11::-1])
    told = json.loads(given["calibration"])
    assert told["step_A"] == 1.5 and told["centre_px"] == [8, 8]


def test_the_best_setting_of_a_method_counts(tmp_path):
    path, scan = written_scan(tmp_path, small_draw(shape=(14, 18)))
    truth = MapTruth.read(path)
    good = scan.slices.sum(0)[tuple((scan.positions.transpose(2, 0, 1) / 0.2).round().astype(int))]
    written = {
        "DPC, 8": good,
        "DPC, 64": -good,
        "SSB, default": -good,
        "version": "1",
        "failed": '{"WDD": "too large"}',
    }
    found = direct.judged(truth, written)
    assert found["maps"]["DPC"] == found["settings"]["DPC, 8"] > 0.9
    assert found["maps"]["SSB"] == -found["maps"]["DPC"]
    assert found["version"] == "1" and found["failed"] == {"WDD": "too large"}


def test_a_program_that_is_not_there_is_left_out_with_a_reason_and_asked_for_again(tmp_path):
    path, _ = written_scan(tmp_path, small_draw())
    for python, word in ((None, "--py4dstem-python"), (tmp_path / "nowhere" / "python", "cannot be imported")):
        found = direct.cached_figures("py4dstem", path, python, tmp_path / "cache")
        assert found["skipped"] and word in found["error"]
    assert not (tmp_path / "cache").exists()


def test_a_program_that_fails_is_told_with_its_last_line(tmp_path, monkeypatch):
    """Bypasses the check, with an interpreter that lacks the program."""
    monkeypatch.setattr(direct, "installed", lambda python, package: True)
    path, _ = written_scan(tmp_path, small_draw())
    assert "libertem" in direct.run("ptychography40", path, Path(sys.executable))["error"]


def test_figures_are_kept_for_the_file_as_it_is(tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(direct, "run", lambda *_: runs.append(1) or {"maps": {"DPC": 0.5}})
    path = tmp_path / "scan.h5"
    for content in (b"one", b"one", b"two"):
        path.write_bytes(content)
        assert direct.cached_figures("py4dstem", path, None, tmp_path)["maps"] == {"DPC": 0.5}
    assert len(runs) == 2


def test_every_program_has_its_runner():
    for peer in direct.PEERS.values():
        assert Path(direct.__file__).with_name(f"{peer.runner()}.py").is_file()
