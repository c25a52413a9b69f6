"""``ptylive trotters``."""

import shutil

import h5py
import pytest
from PIL import Image
from running import last_json, ptylive_here

import ptylive


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("trotters") / "scan.h5"
    ptylive.simulate(
        path, seed=4, specimen="monolayer", energy_eV=80e3, convergence_semiangle_mrad=25, scan_shape=(24, 24),
        scan_step_A=(0.5, 0.5), detector_shape=48, electrons_per_pattern=1e5,
    )  # fmt: skip
    return path


def test_pictures_and_arrays_are_written(scan, tmp_path):
    picture, arrays = tmp_path / "t.png", tmp_path / "t.h5"
    both = ("--at", "strongest", "--at", "0.3,0.1")
    told = last_json(ptylive_here("trotters", scan, picture, "-o", arrays, *both, "--json"))
    assert len(told["trotters"]) == 2
    with Image.open(picture) as shown:
        assert shown.width > 3 * 480
    with h5py.File(arrays) as file:
        assert sorted(file["trotters"]) == ["trotter1", "trotter2"]
    other = last_json(ptylive_here("trotters", scan, "--set", "C10=300", "--json"))
    assert other["trotters"][0]["flat_after"] < told["trotters"][0]["flat_after"] - 0.2, "other aberrations taken out"


def test_only_earlier_arrays_are_replaced(scan, tmp_path):
    arrays, other = tmp_path / "t.h5", tmp_path / "other.h5"
    for _ in range(2):
        assert ptylive_here("trotters", scan, "-o", arrays).returncode == 0
    shutil.copy(scan, other)
    refused = ptylive_here("trotters", scan, "-o", other)
    assert "other.h5 exists and was not written by ptylive trotters" in refused.stderr
    assert other.read_bytes() == scan.read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--at", "0.3"), "'0.3' is not a frequency: give ROW,COLUMN"),
        (("--at", "strongst"), "'strongst' is not a frequency"),
        (("t.jpg",), "t.jpg is not the name of a picture"),
        (("-o", "SCAN"), "would overwrite the input"),
    ],
)
def test_what_cannot_be_is_one_line(scan, options, words):
    options = [scan if one == "SCAN" else one for one in options]
    refused = ptylive_here("trotters", scan, *options)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1
