"""Names and signs of other programs, as stated in documents/coming-from and the tutorials, checked against them.

Names are checked against their source, without installing its dependencies; signs against py4DSTEM itself.
"""

import ast
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from other_programs import pip

import ptylive

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
PAGES = {"py4dstem": "py4DSTEM", "ptyrad": "ptyrad", "phaser": "phaser", "libertem": "libertem_live", "abtem": "abtem"}
"""Pages of docs/coming-from, and the package whose names they state in the first column of their tables."""
PACKAGES = ["py4DSTEM==0.14.18", "ptyrad==1.0.0", "phaserem==0.3.1", "libertem-live", "abtem"]
NOT_THEIRS = {"ctx", "memory", "asi_tpx3", "merlin", "dectris", "params", "yaml", "path"}
"""Arguments and file names that appear as code."""
OURS = {"np", "emdfile"}
"""Roots of calls in the tutorials' blocks that belong to further packages."""
SIGNS = """
import json, sys, warnings
warnings.simplefilter("ignore")
import matplotlib
matplotlib.use("Agg")
import numpy as np
import py4DSTEM
data, ours = np.load(sys.argv[1]), np.load(sys.argv[2])
cube = py4DSTEM.DataCube(data)
cube.calibration.set_R_pixel_size(0.3)
cube.calibration.set_R_pixel_units("A")
cube.calibration.set_Q_pixel_size(1.25)
cube.calibration.set_Q_pixel_units("mrad")
found = {}
for rotation in (15, -15):
    for c10 in (-116, 116):
        ssb = py4DSTEM.process.phase.SSB(
            energy=200e3, datacube=cube, semiangle_cutoff=20, verbose=False,
            polar_parameters={"C10": c10, "C12": 25, "phi12": np.pi / 6},
        ).preprocess(
            plot_center_of_mass=False, plot_rotation=False, plot_overlap_trotters=False, force_com_rotation=rotation,
            force_com_transpose=False, vectorized_com_calculation=False,
        ).reconstruct(progress_bar=False, num_jobs=1)
        found[f"{rotation} {c10}"] = float(np.corrcoef(np.angle(ssb.object).ravel(), ours.ravel())[0, 1])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder with the packages: that of $PTYLIVE_PEERS_SOURCES, or a new one."""
    if "PTYLIVE_PEERS_SOURCES" in os.environ:
        return Path(os.environ["PTYLIVE_PEERS_SOURCES"])
    folder = tmp_path_factory.mktemp("sources")
    pip("install", "--no-deps", "--target", folder, *PACKAGES)
    return folder


@pytest.fixture(scope="module")
def py4dstem_python(tmp_path_factory):
    """A Python with py4DSTEM: that of $PTYLIVE_PY4DSTEM_PYTHON, or a new one."""
    if "PTYLIVE_PY4DSTEM_PYTHON" in os.environ:
        return Path(os.environ["PTYLIVE_PY4DSTEM_PYTHON"])
    folder = tmp_path_factory.mktemp("py4dstem")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip("--python", folder / "bin" / "python", "install", PACKAGES[0])
    return folder / "bin" / "python"


def words_of(package):
    """Every identifier of a package's source, and the words in its strings, which include keys of parameters."""
    found = set()
    for path in package.rglob("*.py"):
        found |= set(re.findall(r"[A-Za-z_]\w*(?:-\w+)*", path.read_text(encoding="utf-8", errors="replace")))
    return found


def first_column(page):
    """Code in the first column of tables."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `") or line.startswith("| "):
            yield from re.findall(r"`([^`]+)`", line.split("|")[1])


@pytest.mark.parametrize("name", PAGES)
def test_names_of_other_programs_are_theirs(name, sources):
    known = words_of(sources / PAGES[name])
    page = ROOT / "docs" / "coming-from" / f"{name}.md"
    told = {word for code in first_column(page) for word in re.findall(r"[A-Za-z_]\w*(?:-[A-Za-z]\w*)*", code)}
    assert len(told) > 8
    assert sorted(told - known - NOT_THEIRS) == []


def signatures(package):
    """Argument names of each function, and of each class including its base classes."""
    functions, classes = {}, {}
    for path in package.rglob("*.py"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of the package
            tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                classes[node.name] = (set().union(*map(arguments, made)), bases)
            elif isinstance(node, ast.FunctionDef):
                functions.setdefault(node.name, set()).update(arguments(node))
    return functions, classes


def arguments(function):
    return {one.arg for one in (*function.args.args, *function.args.kwonlyargs)}


def taken_by(name, functions, classes):
    """Keywords that a call accepts; None for a name that is neither a class nor a function."""
    if name not in classes:
        return functions.get(name)
    own, bases = classes[name]
    return own.union(*(taken_by(base, functions, classes) or set() for base in bases))


def calls(page):
    """Calls in the blocks that show py4DSTEM: name and keywords."""
    for text in re.findall(r"^```text\n(# py4DSTEM\n.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                dotted = ast.unparse(node.func)
                if dotted.split(".")[0] not in OURS:
                    yield dotted.rsplit(".", 1)[-1], {keyword.arg for keyword in node.keywords}


def test_calls_of_the_tutorials_are_py4dstem_s(sources):
    functions, classes = signatures(sources / "py4DSTEM")
    found = [call for page in (ROOT / "docs" / "tutorials").glob("*.md") for call in calls(page)]
    assert len(found) > 30
    wrong = [(name, words - (taken or set())) for name, words in found
             if (taken := taken_by(name, functions, classes)) is None or words - taken]  # fmt: skip
    assert wrong == []


def test_rotation_has_the_other_sign_in_py4dstem_and_c10_the_same(py4dstem_python, tmp_path):
    """For a simulated scan with 116 Å underfocus and astigmatism, rotated by -15 degrees."""
    optics = {"defocus_A": 120, "astigmatism_A": 25, "astigmatism_deg": 30, "energy_eV": 200e3}
    scan = ptylive.simulate(
        tmp_path / "scan.h5", specimen="crystal", material="SrTiO3", thickness_A=8, slice_thickness_A=4, reach=1,
        orientation_deg=0, convergence_semiangle_mrad=20, scan_shape=(48, 48), scan_step_A=0.3, rotation_deg=-15,
        dose_e_per_A2=1e6, tell="microscope", **optics,
    )  # fmt: skip
    import h5py

    with h5py.File(tmp_path / "scan.h5") as file:
        np.save(tmp_path / "data.npy", file["data"][()].astype(np.float32))
    np.save(tmp_path / "ours.npy", scan.reconstruct(["ssb"])["ssb"].data)
    done = subprocess.run(
        [py4dstem_python, "-c", SIGNS, tmp_path / "data.npy", tmp_path / "ours.npy"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert max(found, key=found.get) == "15 -116"
    assert found["15 -116"] > 0.85
    assert max(value for key, value in found.items() if key != "15 -116") < 0.7
