"""Parameter files of PtyRAD and plans of phaser, against those packages: every name, their own files, their waves."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from other_programs import pip

import ptylive.application.extensions  # noqa: F401
from ptylive.engine.probe import Probe
from ptylive.schema.foreign_plans.phaser import ENGINE_ROWS, PLAN_ROWS, import_phaser
from ptylive.schema.foreign_plans.ptyrad import ROWS, SECTIONS, import_ptyrad

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
PACKAGES = ["ptyrad==1.0.0", "phaserem==0.3.1"]
NEEDED = ["numpy", "pydantic", "py-pane", "typing_extensions", "frozendict", "optree"]
ABERRATIONS = {
    "C10": -60.0,
    "C12": 25.0,
    "phi12": 20.0,
    "C21": 900.0,
    "phi21": 50.0,
    "C23": 700.0,
    "phi23": -15.0,
    "C30": 2e4,
}
GRID, PIXEL_INVA, WAVELENGTH_A, SEMIANGLE_MRAD = 48, 0.03, 0.02507934, 15.0


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder with the packages: that of $PTYLIVE_PLANS_SOURCES, or a new one."""
    if "PTYLIVE_PLANS_SOURCES" in os.environ:
        return Path(os.environ["PTYLIVE_PLANS_SOURCES"])
    folder = tmp_path_factory.mktemp("plans")
    pip("install", "--no-deps", "--target", folder, *PACKAGES)
    pip("install", "--target", folder, *NEEDED)
    return folder


def run(sources, code, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(sources)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def fields(text, kind):
    """Names of a class's fields, read from its source, so that none of its dependencies are installed."""
    found = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == kind)
    return {node.target.id for node in found.body if isinstance(node, ast.AnnAssign)}


def test_every_parameter_of_ptyrad_has_a_row(sources):
    folder = sources / "ptyrad" / "params"
    kinds = {"init_params": "InitParams", "model_params": "ModelParams", "loss_params": "LossParams",
             "constraint_params": "ConstraintParams", "recon_params": "ReconParams"}  # fmt: skip
    for section in SECTIONS:
        text = (folder / f"{section}.py").read_text(encoding="utf-8")
        theirs = fields(text, kinds[section])
        if section == "model_params":
            theirs |= {f"update_params.{name}" for name in fields(text, "UpdateParams")} - {"update_params"}
            theirs -= {"update_params"}
        ours = {row.name for row in ROWS if row.section == section}
        assert ours <= theirs, ours - theirs
        assert {name for name in theirs - ours if name not in ("model_config", "type")} == set(), section


def test_every_parameter_of_phaser_has_a_row(sources):
    text = (sources / "phaser" / "plan.py").read_text(encoding="utf-8")
    plan = fields(text, "ReconsPlan") - {"engines"}
    assert {row.name for row in PLAN_ROWS} == plan
    engine = fields(text, "EnginePlan") | fields(text, "ConventionalEnginePlan") | fields(text, "GradientEnginePlan")
    assert {row.name for row in ENGINE_ROWS} - {"type"} == engine


def test_ptyrad_s_own_files_are_imported(sources):
    """Walk-throughs, templates and examples; a refused parameter is refused for the reason given in its row."""
    paths = sorted((sources / "ptyrad" / "starter" / "params").rglob("*.yaml"))
    assert len(paths) >= 20
    for path in paths:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = import_ptyrad(values, lenient=True)
        assert found.metadata["energy_eV"] in (80e3, 200e3, 300e3), path.name
        assert found.settings["epoch_max"] > 0
        assert not [line for line in found.table if line.remark == "unknown"], path.name


def waves(sources, code):
    told = {
        "aberrations": ABERRATIONS,
        "n": GRID,
        "pixel": PIXEL_INVA,
        "wavelength": WAVELENGTH_A,
        "semiangle": SEMIANGLE_MRAD,
    }
    found = run(sources, code, json.dumps(told))
    return np.array(found["real"]) + 1j * np.array(found["imag"])


def overlap(theirs, metadata):
    """Overlap in the aperture, zero frequency at [0, 0], of a wave with ours from imported aberrations; 1 if equal."""
    named = {name: value for name, value in metadata.items() if re.fullmatch(r"C\d\d[ab]?", name)}
    k = np.fft.fftfreq(GRID, 1 / (GRID * PIXEL_INVA))
    row, col = np.meshgrid(k, k, indexing="ij")
    lit = np.hypot(row, col) * WAVELENGTH_A < 0.9e-3 * SEMIANGLE_MRAD
    probe = Probe.of(WAVELENGTH_A, SEMIANGLE_MRAD, PIXEL_INVA, named)
    ours = np.exp(-1j * probe.chi(row, col))
    a, b = theirs[lit], ours[lit]
    return abs(np.vdot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b)


PHASER_WAVE = """
import json, sys
import numpy as np
from phaser.utils.optics import make_focused_probe
from phaser.types import Krivanek, KrivanekPolar
told = json.loads(sys.argv[1])
k = np.fft.fftfreq(told["n"], 1 / (told["n"] * told["pixel"]))
ky, kx = np.meshgrid(k, k, indexing="ij")
given = told["aberrations"]
made = []
for name, value in given.items():
    if name.startswith("C") and name != "C10":
        n, m = int(name[1]), int(name[2])
        angle = m * given.get(f"phi{n}{m}", 0.0)
        made.append(KrivanekPolar(n=n, m=m, mag=value, angle=angle))
wave = make_focused_probe(ky, kx, told["wavelength"], told["semiangle"], defocus=given["C10"], aberrations=made)
wave = np.fft.fft2(np.fft.ifftshift(wave))
print(json.dumps({"real": wave.real.tolist(), "imag": wave.imag.tolist()}))
"""


def test_phaser_s_probe_is_that_of_the_imported_aberrations(sources):
    aberrations = [
        {"n": int(name[1]), "m": int(name[2]), "mag": value,
         "angle": int(name[2]) * ABERRATIONS.get(f"phi{name[1:]}", 0.0)}
        for name, value in ABERRATIONS.items() if name.startswith("C") and name != "C10"
    ]  # fmt: skip
    probe = {"type": "focused", "defocus": ABERRATIONS["C10"], "aberrations": aberrations}
    plan = {
        "name": "x",
        "raw_data": {"type": "manual"},
        "init": {"probe": probe},
        "engines": [{"type": "gradient", "niter": 3}],
    }
    metadata = import_phaser(plan).metadata
    theirs = waves(sources, PHASER_WAVE)
    assert overlap(theirs, metadata) > 0.999
    assert overlap(theirs.conj(), metadata) < 0.9


PTYRAD_WAVE = """
import json, sys
import numpy as np
from ptyrad.optics.probe import make_stem_probe
told = json.loads(sys.argv[1])
wave = make_stem_probe(200, told["semiangle"], told["n"], 1 / (told["n"] * told["pixel"]), told["aberrations"])
wave = np.fft.fft2(np.fft.ifftshift(wave))
print(json.dumps({"real": wave.real.tolist(), "imag": wave.imag.tolist()}))
"""


def test_ptyrad_s_probe_is_that_of_the_imported_aberrations(sources):
    init = {"probe_aberrations": ABERRATIONS, "obj_Nlayer": 1, "obj_slice_thickness": 1}
    metadata = import_ptyrad({"init_params": init}).metadata
    theirs = waves(sources, PTYRAD_WAVE)
    assert overlap(theirs, metadata) > 0.999
    assert overlap(theirs.conj(), metadata) < 0.9
