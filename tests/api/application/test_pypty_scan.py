"""``ptylive convert --to pypty``: calibrated, written, and rewritten."""

import h5py
from running import last_json, ptylive_here

import ptylive
from ptylive.simulators.data import bundled


def test_a_scan_for_pypty(tmp_path):
    scan, target = tmp_path / "scan.h5", tmp_path / "for_pypty.h5"
    ptylive.simulate(scan, scan_shape=(8, 8), detector_shape=(32, 32), scan_step_A=(1.0, 1.0))
    for _ in range(2):  # the second time over a file from the first
        said = last_json(ptylive_here("convert", scan, target, "--to", "pypty", "--json"))
    with h5py.File(target) as file:
        assert len(file["data"]) == said["frames"] == len(file["positions_A"])
    assert "pypty.iterative.run" in (tmp_path / "for_pypty.py").read_text(encoding="utf-8")
    assert max(map(abs, said["beam_off_px"])) <= 0.5


def test_a_script_of_somebody_else_is_not_replaced(tmp_path):
    """Its name is made from that of the patterns: nobody named it."""
    scan, script = tmp_path / "scan.h5", tmp_path / "analysis.py"
    ptylive.simulate(scan, scan_shape=(4, 4), detector_shape=(32, 32))
    script.write_text("print('a week of work')\n")
    done = ptylive_here("convert", scan, tmp_path / "analysis.h5", "--to", "pypty")
    assert done.returncode == 1
    assert "analysis.py exists and is not a preset that ptylive wrote: choose another name" in done.stderr
    assert script.read_text() == "print('a week of work')\n"
    assert not (tmp_path / "analysis.h5").exists()


def test_nothing_else_is_done_to_it(tmp_path):
    done = ptylive_here("convert", bundled("au_ac_300kV_parallax"), tmp_path / "a.h5", "--to", "pypty", "--bin", "2")
    assert done.returncode == 1
    assert "prepare the scan first" in done.stderr
    assert not any(tmp_path.iterdir())
