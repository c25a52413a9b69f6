"""Descan measured from one recording for use with others: a simulated vacuum scan whose truth is known."""

import json

import h5py
import numpy as np
import pytest

from ptylive.application.analysis.descan_files import descan_of_file
from ptylive.application.simulation import simulate_file
from ptylive.schema import InputFileError, MetadataError
from ptylive.schema.detector import Descan
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.server.cli.values import parse_assignments

PLANE = [2.0, -1.0, 0.5, 1.5]


@pytest.fixture(scope="module")
def vacuum(tmp_path_factory):
    """A scan whose file states only energy, semi-angle, step and detector pixel."""
    path = tmp_path_factory.mktemp("vacuum") / "vacuum.h5"
    simulate_file(path, SimulationSettings.of({"specimen": "vacuum", "scan_shape": (16, 16), "descan_px": PLANE}))
    return path


def test_it_is_measured_and_taken_like_numbers(vacuum):
    numbers = parse_assignments([f"descan_px={vacuum}"])["descan_px"]
    wanted = Descan.of(PLANE)
    assert np.abs(np.subtract(numbers, wanted.numbers)).max() < 0.1
    assert parse_assignments([f"detector.descan_px={vacuum}"]) == {"detector.descan_px": numbers}


def test_what_was_told_is_believed(vacuum, tmp_path):
    path = tmp_path / "told.h5"
    path.write_bytes(vacuum.read_bytes())
    with h5py.File(path, "r+") as file:
        file["metadata"].attrs["descan_px"] = PLANE
    assert descan_of_file(path) == list(Descan.of(PLANE).numbers)


def test_one_line_for_what_tells_none(vacuum, tmp_path):
    with pytest.raises(InputFileError, match=r"nowhere\.h5"):
        parse_assignments([f"descan_px={tmp_path / 'nowhere.h5'}"])
    path = tmp_path / "list.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.ones((30, 16, 16), np.uint16)
    with pytest.raises((InputFileError, MetadataError), match="scan_shape"):
        parse_assignments([f"descan_px={path}"])
    assert json.dumps(parse_assignments(["descan_px=0"])) == '{"descan_px": 0}'
