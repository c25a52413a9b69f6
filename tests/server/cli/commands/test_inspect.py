"""``ptylive inspect``: measurements on request."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here

from ptylive.engine.descan import moved
from ptylive.schema.detector import Descan
from ptylive.simulators.data import bundled

POINTS, SIDE, RADIUS_PX = 24, 40, 9.0
JUMPS = np.random.default_rng(5).normal(0.0, 0.5, (POINTS, 2))
BOW = Descan.of([1.5, -0.6, 0.2, 0.3, -0.2, 0.4, -2.0, 0.0, 0.1, 0.5])


@pytest.fixture
def vacuum(tmp_path):
    """A scan of vacuum: the disc where the descan moves it, with counting noise."""
    rows, cols = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    disc = np.clip(RADIUS_PX + 0.5 - np.hypot(rows, cols), 0, 1)
    still = np.repeat(4000 / disc.sum() * disc[None], POINTS**2, axis=0)
    frames = moved(still, -BOW.at_points(np.arange(POINTS**2), (POINTS, POINTS))).clip(0)
    counts = np.random.default_rng(0).poisson(frames).astype(np.uint16).reshape(POINTS, POINTS, SIDE, SIDE)
    with h5py.File(tmp_path / "vacuum.h5", "w") as file:
        file.create_dataset("data", data=counts)
        jumps = np.repeat(JUMPS, POINTS, axis=0)
        jumping = moved(frames, -jumps).clip(0).reshape(counts.shape)
        file.create_dataset("jumping", data=np.random.default_rng(1).poisson(jumping).astype(np.uint16))
        file.create_dataset("still", data=counts[:1, :1].repeat(POINTS, 0).repeat(POINTS, 1))
    return tmp_path / "vacuum.h5"


def test_what_a_plan_would_question_is_told():
    assert last_json(ptylive_here("inspect", bundled("mos2_svac_80kV_focus"), "--json"))["questioned"] == []
    asked = last_json(ptylive_here("inspect", bundled("au_ac_300kV_parallax"), "--json"))["questioned"]
    assert [line.split(" (")[0] for line in asked] == [
        "window filled by the probe 75 %",
        "extent of the detector 34.0 mrad, 1.7 semi-angles",
    ]
    assert asked[0].endswith("(questioned): a defocus of at most 37.3 nm, or detector pixels of 0.801 mrad")


def test_implausible_values_of_a_file_are_questioned_a_line_each(tmp_path):
    path = Path(shutil.copy(bundled("mos2_svac_80kV_focus"), tmp_path / "scan.h5"))
    path.chmod(0o600)
    with h5py.File(path, "a") as file:
        file["metadata"].attrs["energy_eV"] = 80.0
    told = last_json(ptylive_here("inspect", path, "--json"))
    assert told["questioned"][0] == "is this right? energy_eV = 80 eV? did you mean 80 keV?"
    assert not any("is this right" in one for one in told["notes"])
    lines = ptylive_here("inspect", path).stdout.splitlines()
    assert [line for line in lines if line.startswith("questioned: ")] == [
        f"questioned: {one}" for one in told["questioned"]
    ]


def test_the_descan_of_a_vacuum_scan_is_told_as_others_take_it(vacuum, tmp_path):
    assert "descan_px" not in last_json(ptylive_here("inspect", vacuum, "--json"))
    told = last_json(ptylive_here("inspect", vacuum, "--descan", "--json"))
    found = Descan.of(told["descan_px"])
    every = np.arange(POINTS**2)
    away = found.at_points(every, (POINTS, POINTS)) - BOW.at_points(every, (POINTS, POINTS))
    error = np.sqrt((away**2).sum(axis=1).mean())
    assert error < 0.05
    # one draw of ten coefficients: measured 0.5 to 1.2 of the stated value, in nine draws of 400 to 40 000 counts
    assert error / 3 < told["descan_uncertainty_px"] < 3 * error
    given = ",".join(str(number) for number in told["descan_px"])
    again = last_json(ptylive_here("inspect", vacuum, "--set", f"descan_px={given}", "--json"))
    assert again["descan_px"] == told["descan_px"]
    refused = ptylive_here("inspect", vacuum, "--descan", "--set", f"descan_px={given}")
    assert refused.returncode == 1
    assert "its descan_px is already given" in refused.stderr


def test_a_beam_that_lies_still_has_none(vacuum, tmp_path):
    with h5py.File(vacuum) as file, h5py.File(tmp_path / "still.h5", "w") as other:
        other["data"] = file["still"][()]
    told = last_json(ptylive_here("inspect", tmp_path / "still.h5", "--descan", "--json"))
    assert told["descan_px"] == [0.0] * 10


@pytest.mark.slow
def test_jumps_between_lines_are_told_apart(vacuum, tmp_path):
    with h5py.File(vacuum) as file, h5py.File(tmp_path / "jumping.h5", "w") as other:
        other["data"] = file["jumping"][()]
    told = last_json(ptylive_here("inspect", tmp_path / "jumping.h5", "--descan", "--json"))
    assert len(told["descan_px"]) == 10
    every = np.arange(POINTS**2)
    away = Descan.of(told["descan_px"]).minus(BOW).at_points(every, (POINTS, POINTS))
    assert np.sqrt(((away - away.mean(axis=0)) ** 2).sum(axis=1).mean()) < 0.3  # jumps have a slope and a bow, too
    assert told["line_jumps_px"] == pytest.approx(np.sqrt((JUMPS**2).sum(axis=1).mean()), rel=0.2)  # without those


def test_what_keeps_a_value_from_being_estimated_is_told(tmp_path):
    frames = np.ones((90, 8, 8), np.uint8)
    np.save(tmp_path / "scan.npy", frames)
    options = ("--set", "scan_step_A=0.5", "--json")
    estimated = " ".join(last_json(ptylive_here("inspect", tmp_path / "scan.npy", *options))["estimated"])
    assert "rotation_deg (taken as 0: needs scan_shape)" in estimated
    estimated = " ".join(
        last_json(ptylive_here("inspect", tmp_path / "scan.npy", "--set", "scan_shape=2,45", *options))["estimated"]
    )
    assert "fewer than 64 points, or fewer than 3 rows or columns" in estimated


@pytest.mark.parametrize("option", ["--rings", "--square"])
def test_a_reference_without_a_measurement_is_refused(option):
    """Regression: it was ignored."""
    refused = ptylive_here("inspect", bundled("mos2_svac_80kV_focus"), option)
    assert refused.returncode == 1
    assert f"{option} says what --distortion is measured on: add --distortion" in refused.stderr
