"""Results files read by nexusformat, NeXpy's reader, in an environment of its own."""

import json
import subprocess
import sys

import pytest
from results_writers import refine, save

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
READ = """
import sys, json
from nexusformat.nexus import nxload
root = nxload(sys.argv[1])
plot = root.get_default()
run = root["entry/run1_object"]
out = [plot.nxpath, list(plot.nxsignal.shape), [a.nxname for a in plot.nxaxes], plot.nxaxes[0].attrs["units"],
       [a.nxname for a in run.nxaxes], list(run.nxsignal.shape), str(run.nxsignal.dtype)]
print(json.dumps(out))
"""


def test_nexpys_reader_finds_what_to_plot(tmp_path):
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "-q", "install", "nexusformat"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot install: {done.stderr.strip().splitlines()[-1]}")
    save(tmp_path / "r.h5")
    refine(tmp_path / "r.h5", 1.0)
    read = subprocess.run([python, "-c", READ, tmp_path / "r.h5"], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    axes = ["mode", "z", "y", "x"]
    wanted = ["/entry/obf", [32, 32], ["y", "x"], "angstrom", axes, [1, 1, 16, 16], "complex64"]
    assert json.loads(read.stdout.splitlines()[-1]) == wanted
