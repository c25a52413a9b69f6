"""``ptylive refine`` with several files."""

import shutil

import h5py
import numpy as np
import pytest
from running import ptylive_here

from ptylive import open_scan
from ptylive.application.simulation import simulate_file
from ptylive.schema import MetadataError
from ptylive.schema.simulation.settings import SimulationSettings

SETTINGS = {
    "num_slices": 2, "total_thickness_A": 20, "epoch_max": 1, "sweeps": 1, "probe_modes": 1, "algorithm": "ml",
    "refine_drift": False, "phase_deviation": False, "scan_defocus": False,
}  # fmt: skip
TILTS = [[0, 0], [10, -5]]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """One scan twice, under two names."""
    folder = tmp_path_factory.mktemp("series")
    small = {"scan_shape": 10, "scan_step_A": 0.8, "detector_shape": 32, "detector_pixel_mrad": 3.0}
    flat = simulate_file(folder / "flat.h5", SimulationSettings.of({**small, "electrons_per_pattern": 2e4})).path
    shutil.copy(flat, folder / "left.h5")
    return flat, folder / "left.h5"


def refined(files, output, *more):
    given = [text for name, value in SETTINGS.items() for text in ("--set", f"{name}={value}")]
    return ptylive_here("refine", *files, "-o", output, *given, *more)


def test_scans_are_found_and_refined_together(scans, tmp_path):
    output = tmp_path / "r.h5"
    done = refined(scans, output, "--set", f"scan_tilts_mrad={TILTS}")
    assert done.returncode == 0, done.stderr
    said = done.stderr.replace("-0.00", "0.00")
    assert "left.h5 lies 0.00, 0.00 Å from flat.h5 (correlation 1.00)" in said
    assert "left.h5 holds the same patterns as flat.h5: a copy? each tilt needs a scan of its own" in said
    with h5py.File(output) as file:
        series = file["refinement/tilt_series"]
        assert list(series.attrs["scans"]) == ["flat.h5", "left.h5"]
        np.testing.assert_allclose(series["tilts_mrad"], TILTS)
        assert len(file["refinement/positions_A"]) == 200


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ((), "2 scans, and scan_tilts_mrad is not given"),
        (("--set", "scan_tilts_mrad=[[0,0],[80,0]]"), "cannot be modelled as shears"),
        (("--set", f"scan_tilts_mrad={TILTS}", "--cluster", "local:1"), "together on this machine"),
        (("--set", f"scan_tilts_mrad={TILTS}", "--set", "scan_shifts_A=[[0,0]]"), "scan_shifts_A"),
    ],
)
def test_what_does_not_go_together_is_named(scans, tmp_path, more, named):
    done = refined(scans, tmp_path / "r.h5", *more)
    assert done.returncode != 0 and named in done.stderr


def test_a_scan_that_is_there_twice_is_not_refined(scans, tmp_path):
    flat, _ = scans
    (tmp_path / "other.h5").symlink_to(flat)
    for again in (flat, tmp_path / "other.h5"):
        done = refined((flat, again), tmp_path / "r.h5", "--set", f"scan_tilts_mrad={TILTS}")
        assert done.returncode != 0 and f"{again} is listed twice: name each scan once" in done.stderr
    (tmp_path / "round.h5").symlink_to("round.h5")
    done = refined((flat, tmp_path / "round.h5"), tmp_path / "r.h5", "--set", f"scan_tilts_mrad={TILTS}")
    assert "round.h5: Too many levels of symbolic links" in done.stderr and "internal" not in done.stderr
    with pytest.raises(MetadataError, match="is listed twice"):
        open_scan(flat).refine(beside=[open_scan(flat)], scan_tilts_mrad=TILTS, **SETTINGS)


@pytest.mark.slow
def test_scans_in_python(scans):
    flat, left = (open_scan(path) for path in scans)
    found = flat.refine(beside=[left], scan_tilts_mrad=TILTS, scan_shifts_A=[[0, 0], [1.0, 0.5]], **SETTINGS)
    told = found.result.refined.scans
    away = found.positions_A[100:] - found.positions_A[:100]
    np.testing.assert_allclose(away, np.tile(told.shifts_A[1] + [1.0, 0.5], (100, 1)), atol=1e-9)
    assert told.names == ("flat.h5", "left.h5")
