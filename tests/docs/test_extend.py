"""The loss shown in docs/how-to/extend.md, as a package next to ptylive: its derivative, and a refinement with it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
REFINE = """
import json, numpy as np, ptylive
rng = np.random.default_rng(4)
k = np.hypot(*np.meshgrid(np.arange(16) - 8, np.arange(16) - 8))
counts = rng.poisson(20.0 * (k < 4.5) + 0.1, (6, 6, 16, 16)).astype(np.uint16)
scan = ptylive.open_scan(counts, energy_eV=80e3, convergence_semiangle_mrad=25, scan_step_A=0.8,
                         detector_pixel_invA=0.15, rotation_deg=0, detector_transform="none", C10=-60.0)
refined = scan.refine(algorithm="cube_roots", num_slices=1, epoch_max=4, sweeps=2, probe_modes=1)
print(json.dumps([refined.result.algorithm, [float(one) for one in refined.result.loss]]))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """What pip installs for the page's two files: the module, and a dist-info folder with its entry points."""
    text = (ROOT / "docs/how-to/extend.md").read_text(encoding="utf-8").split("## A loss")[1].split("\n## ")[0]
    (module,), (project,) = (re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S) for kind in ("python", "toml"))
    told = tomllib.loads(project)
    (name,) = told["tool"]["setuptools"]["py-modules"]
    ((group, points),) = told["project"]["entry-points"].items()
    folder = tmp_path_factory.mktemp("site")
    (folder / f"{name}.py").write_text(module, encoding="utf-8")
    info = folder / f"{name}-{told['project']['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {told['project']['name']}\nVersion: 1\n")
    lines = "".join(f"{one} = {where}\n" for one, where in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    return folder, module


def test_its_derivative_is_that_of_the_loss(package):
    names = {}
    exec(package[1], names)  # text from this repository
    rng = np.random.default_rng(2)
    intensity, counts, weights = (
        rng.uniform(0.5, 9, (3, 4, 5)),
        rng.uniform(0.5, 9, (3, 4, 5)),
        rng.uniform(0, 1, (4, 5)),
    )
    derivative = names["cube_roots"](intensity, counts, weights, 0.1)[1]
    loss = [names["cube_roots"](intensity + h, counts, weights, 0.1)[0] for h in (-1e-4, 1e-4)]
    # the error of central differences is h^2 / 6 of the third derivative, below 1e-8 here, and rounding / h, 1e-11
    np.testing.assert_allclose((loss[1] - loss[0]) / 2e-4, derivative, atol=1e-7)
    term = names["cube_roots"].ptylive_data_term
    at = (
        names["cube_roots"](counts + 1e-4, counts, 1.0, 0.1)[1]
        - names["cube_roots"](counts - 1e-4, counts, 1.0, 0.1)[1]
    )
    np.testing.assert_allclose(at / 2e-4, term.curvature(counts + 0.1), rtol=1e-6)


@pytest.mark.slow
def test_a_refinement_takes_it_by_its_name(package):
    environment = {**os.environ, "PYTHONPATH": str(package[0])}
    done = subprocess.run([sys.executable, "-c", REFINE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    algorithm, loss = json.loads(done.stdout.splitlines()[-1])
    assert "cube_roots" in algorithm
    assert loss[-1] < loss[0]
