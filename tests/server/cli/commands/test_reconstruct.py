"""``ptylive reconstruct``: what only the command line does."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.random.default_rng(5).poisson(4, (4, 5, 16, 16)).astype("<u2")
        file.create_group("metadata").attrs.update({"scan_step_A": 0.5, "beam_center_px": (7.5, 7.5)})
    return path


def test_virtual_detectors_are_maps_of_the_results(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps.h5"
    asked = ("--methods", "bf", "--detector", "mid=disc:3", "--detector", "side=ring:1,2,3,4")
    done = last_json(ptylive_here("reconstruct", scan, "-o", out, *asked, "--json"))
    assert done["maps"][-2:] == ["vd_mid", "vd_side"]
    with h5py.File(out) as file, h5py.File(scan) as source:
        rows, columns = np.indices((16, 16))
        inside = np.hypot(rows - 7.5, columns - 7.5) < 3
        assert np.array_equal(file["maps/vd_mid"][()], source["data"][()][..., inside].sum(-1))


@pytest.mark.parametrize(
    ("text", "says"), [("disc:3", "has no name"), ("a=blob:3", "neither a disc"), ("a=gone.npy", "gone.npy")]
)
def test_a_detector_that_cannot_be_understood_is_one_line(scan: Path, tmp_path: Path, text: str, says: str) -> None:
    refused = ptylive_here("reconstruct", scan, "-o", tmp_path / "maps.h5", "--detector", text)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "maps.h5").exists()


def test_settings_of_maps(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps.h5"
    ptylive_here("reconstruct", scan, "-o", out, "--methods", "bf", "--set", "wdd.epsilon=0.5")
    assert out.exists()
    refused = ptylive_here("reconstruct", scan, "-o", tmp_path / "no.h5", "--set", "wdd.epsilon=-1")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "wdd.epsilon=-1 is not possible: give a number from 1e-06 to 1000" in refused.stderr


def test_an_empty_list_of_methods_is_refused(scan: Path, tmp_path: Path) -> None:
    """Regression: an unset variable of a script made every map."""
    for command, out in (("reconstruct", "maps.h5"), ("batch", "batch")):
        done = ptylive_here(command, scan, "-o", tmp_path / out, "--methods", "")
        assert (done.returncode, (tmp_path / out).exists()) == (1, False)
        assert "'' names nothing: write names separated by commas" in done.stderr


def test_maps_that_are_not_made_again_are_named(scan: Path, tmp_path: Path) -> None:
    """Regression: a second run with fewer methods removed the other maps without a word."""
    out = tmp_path / "maps.h5"
    first = ptylive_here("reconstruct", scan, "-o", out, "--methods", "bf,adf")
    again = ptylive_here("reconstruct", scan, "-o", out, "--methods", "bf")
    assert (first.returncode, again.returncode) == (0, 0)
    assert "not made again" not in first.stderr
    assert f"{out}: earlier maps are replaced, and these are not made again: adf\n" in again.stderr
