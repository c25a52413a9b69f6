"""HyperSpy files read by RosettaSciIO, in an environment of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptylive.engine.exports.hspy import write_hspy
from ptylive.schema import LiveMap

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]
READ = """
import json, sys
from rsciio import hspy
print(json.dumps([[s["metadata"]["General"]["title"], float(s["data"].sum()),
                   [[a["name"], a["scale"], a["units"]] for a in s["axes"]]] for s in hspy.file_reader(sys.argv[1])]))
"""


def test_rosettasciio_reads_what_we_write(tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "-q", "install", "rosettasciio", "h5py"], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot install: {done.stderr.strip().splitlines()[-1]}")
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_hspy(tmp_path / "maps.hspy", [LiveMap("obf", data, "rad", (0.4, 0.5), 12, "optimum bright field")])
    read = subprocess.run([python, "-c", READ, tmp_path / "maps.hspy"], capture_output=True, text=True, check=True)
    assert json.loads(read.stdout) == [["obf", 66.0, [["y", 0.4, "Å"], ["x", 0.5, "Å"]]]]
