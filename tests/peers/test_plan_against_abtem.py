"""Figures of a plan against abTEM's own probe, in an environment of its own (conftest.py)."""

import json
import subprocess

import pytest

import ptylive
from ptylive.engine.planning.depth import depth_of_field_A

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
STEP_A, EXTENT_A, SIZE = 4.0, 52.2, 256
ABTEM = f"""
import json, numpy as np, abtem
from abtem.core.energy import energy2wavelength
abtem.config.set({{"precision": "float64", "device": "cpu", "diagnostics.progress_bar": False}})

def intensity(defocus):
    told = dict(energy=80e3, semiangle_cutoff=21.4, extent={EXTENT_A}, gpts={SIZE}, soft=True, defocus=defocus)
    return np.abs(abtem.Probe(**told).build(lazy=False).array) ** 2

z = np.arange(-200, 201, {STEP_A})
middle = {SIZE} // 2
axis = [float(intensity(float(d))[middle, middle]) for d in z]
wide = intensity(150.0)
row, col = np.indices(wide.shape) - middle
radius = np.hypot(row, col) * {EXTENT_A} / {SIZE}
shares = [float(wide[radius <= r].sum() / wide.sum()) for r in (3.0, 4.4)]
print(json.dumps(dict(wavelength=float(energy2wavelength(80e3)), z=z.tolist(), axis=axis, shares=shares)))
"""


@pytest.fixture(scope="module")
def told(abtem_python, tmp_path_factory):
    script = tmp_path_factory.mktemp("plan") / "run.py"
    script.write_text(ABTEM)
    done = subprocess.run([abtem_python, script], capture_output=True, text=True, timeout=600, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plan():
    return ptylive.plan(energy_eV=80e3, convergence_semiangle_mrad=21.4, defocus_A=150.0)


def test_the_wavelength_is_that_of_abtem(told, plan):
    assert plan["wavelength_A"].value == pytest.approx(told["wavelength"], rel=1e-7)  # digits of the constants


def test_depth_of_field(told, plan):
    """The width at half height is determined to one step of the defocus on either side."""
    half = max(told["axis"]) / 2
    above = [z for z, value in zip(told["z"], told["axis"], strict=True) if value >= half]
    assert plan["depth_of_field_A"].value == pytest.approx(above[-1] - above[0] + STEP_A, abs=STEP_A)
    assert plan["depth_of_field_A"].value == depth_of_field_A(plan["wavelength_A"].value, 21.4)


def test_the_probe_lies_within_its_diameter(told, plan):
    """At least 84 % of the current lies within d = 8.8 Å, less within 6 Å."""
    assert plan["probe_diameter_A"].value / 2 == pytest.approx(4.4, abs=0.05)
    narrow, wide = told["shares"]
    assert narrow < 0.84 < wide < 1.0
