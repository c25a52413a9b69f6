"""Other programs refine the scan of tests/earlier_scans.py and save it; the reader finds the specimen in its place.

The files in tests/fixtures/earlier were made in the same way.
"""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from earlier_scans import FIXTURES, Truth, described, judge, simulated
from other_programs import pip

from ptylive.engine.earlier_results.formats import read_earlier

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]
WRITER = Path(__file__).with_name("write_earlier_results.py")
NEEDED = {
    "py4dstem": ["py4DSTEM==0.14.18"],
    "ptyrad": ["ptyrad==1.0.0"],
    "phaser": ["phaserem==0.3.1"],
    "ptychodus": ["ptychodus==1.7.0", "--no-deps"],
}
BESIDE = {"ptychodus": ["h5py", "numpy", "scipy", "pydantic", "scikit-image"]}
MADE_BY = {
    "py4dstem.h5": "py4dstem",
    "py4dstem_transposed.h5": "py4dstem",
    "ptyrad.hdf5": "ptyrad",
    "phaser.h5": "phaser",
}


@pytest.fixture(scope="module")
def python_with(tmp_path_factory):
    """A Python with a program: that of $PTYLIVE_<PROGRAM>_PYTHON, or a new one."""
    made = {}

    def python(program):
        told = os.environ.get(f"PTYLIVE_{program.upper()}_PYTHON")
        if told is None and program not in made:
            folder = tmp_path_factory.mktemp(program)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            for packages in (BESIDE.get(program), NEEDED[program]):
                if packages:
                    pip("--python", folder / "bin" / "python", "install", *packages)
            made[program] = folder / "bin" / "python"
        return told or made[program]

    return python


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """The scan, its patterns and its description."""
    folder = tmp_path_factory.mktemp("scan")
    path = simulated(folder / "scan.h5")
    with h5py.File(path) as file:
        np.save(folder / "data.npy", file["data"][()])
    (folder / "told.json").write_text(described())
    return path


def written(python, how, scan, path):
    command = [python, WRITER, how, scan.with_name("data.npy"), scan.with_name("told.json"), path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return path


@pytest.mark.parametrize("name", MADE_BY)
def test_a_result_of_today_s_program(name, python_with, scan, tmp_path):
    judge(written(python_with(MADE_BY[name]), Path(name).stem, scan, tmp_path / name), Truth(scan))


def test_a_product_of_ptychodus(python_with, scan, tmp_path):
    """Nothing in it is random: it equals the fixture."""
    found = read_earlier(written(python_with("ptychodus"), "ptychodus", scan, tmp_path / "ptychodus.h5"))
    known = read_earlier(FIXTURES / "ptychodus.h5")
    np.testing.assert_allclose(found.object, known.object)
    np.testing.assert_allclose(found.positions_A, known.positions_A)
    assert found.origin_A == pytest.approx(known.origin_A)
