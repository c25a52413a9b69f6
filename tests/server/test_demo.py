"""The demo, from its first line to its results file."""

import h5py
from running import ptylive

MAPS = {"bf", "adf", "com_row", "com_col", "idpc", "tcbf", "wdd_phase"}


def test_demo_runs_to_its_end(tmp_path):
    done = ptylive("demo", "--no-browser", "--exit-when-done", "--port", "0", "--output", tmp_path, timeout_s=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("http://127.0.0.1:")
    (results,) = tmp_path.glob("*_results.h5")
    with h5py.File(results) as file:
        assert set(file["maps"]) >= MAPS
        assert set(file["refinement"]) >= {"object", "probe", "positions_A", "loss"}
        assert file["refinement"].attrs["state"] == "done"
