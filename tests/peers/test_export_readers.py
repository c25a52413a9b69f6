"""Exported refinements and the programs that read them, in an environment of their own: PtyRAD, ptychodus, emdfile
(py4DSTEM's reader), RosettaSciIO, tifffile.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from stored_runs import WINDOW, write_results

from ptylive.engine.exports.formats import export

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
NEEDED = ["h5py", "numpy", "scipy", "pydantic", "tqdm", "tifffile", "rosettasciio", "emdfile", "scikit-image"]
BARE = ["ptyrad", "ptychodus"]  # their readers need none of the large packages listed as dependencies
READERS = {
    "ptyrad": """
from ptyrad.io.hierarchy import load_hdf5
read = load_hdf5(path)
t, m = read["optimizable_tensors"], read["model_attributes"]
corner = list((m["crop_pos"] + t["probe_pos_shifts"])[5])
out = [list(t["obja"].shape), list(t["probe"].shape), str(t["probe"].dtype), corner]
""",
    "ptychodus": """
from pathlib import Path
from ptychodus.api.io import load_product
p = load_product(Path(path))
g = p.object_.get_geometry()
out = [list(p.object_.get_array().shape), list(p.probes.get_array().shape), len(list(p.probe_positions)),
       p.metadata.photon_energy_eV, [float(d) for d in p.object_.layer_spacing_m]]
""",
    "py4dstem": """
import emdfile
root = emdfile.read(path, tree=True)
a = emdfile.read(path, emdpath="ptylive/object")
out = [list(a.data.shape), list(a.dim_names), list(a.dim_units), float(a.dims[1][1] - a.dims[1][0])]
""",
    "hspy": """
from rsciio import hspy
out = sorted(s["metadata"]["General"]["title"] for s in hspy.file_reader(path))
""",
    "tiff": """
import tifffile
with tifffile.TiffFile(path) as file:
    out = [list(file.pages[0].shape), str(file.pages[0].dtype), float(file.asarray().sum())]
""",
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers") / "environment"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    program = folder / "bin" / "python"
    for packages in (NEEDED, ["--no-deps", *BARE]):
        done = subprocess.run([program, "-m", "pip", "-q", "install", *packages], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot install: {done.stderr.strip().splitlines()[-1]}")
    return program


def read(python, kind, path):
    code = f"import sys, json\npath = sys.argv[1]\n{READERS[kind]}\nprint(json.dumps(out, default=float))"
    done = subprocess.run([python, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_program_reads_what_we_write(python, tmp_path):
    run = write_results(tmp_path / "results.h5")
    files = {kind: export(run, kind, tmp_path / kind)[0] for kind in READERS}
    shape, probe, dtype, corner = read(python, "ptyrad", files["ptyrad"])
    assert (shape, probe, dtype) == ([2, 3, 20, 24], [2, WINDOW, WINDOW], "complex64")
    np.testing.assert_allclose(corner, run.corners_px()[5], atol=1e-5)
    shape, probe, points, energy, spacing = read(python, "ptychodus", files["ptychodus"])
    assert (shape, probe, points) == ([3, 20, 24], [1, 2, WINDOW, WINDOW], 12)
    assert energy == pytest.approx(12398.42 / run.wavelength_A, rel=1e-6)
    assert spacing == pytest.approx([1e-9, 1e-9])
    shape, names, units, step = read(python, "py4dstem", files["py4dstem"])
    assert (shape, names, units) == ([3, 20, 24], ["z", "row", "col"], ["A", "A", "A"])
    assert step == pytest.approx(run.pixel_A)
    assert "object_phase" in read(python, "hspy", files["hspy"])
    shape, dtype, total = read(python, "tiff", files["tiff"])
    assert (shape, dtype) == ([20, 24], "float32")
    assert total == pytest.approx(float(run.phase().sum()), rel=1e-3, abs=1e-3)
