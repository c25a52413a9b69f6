"""A regulariser and a data term from another package, found through its entry points only."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parents[4] / "docs" / "examples" / "plugin"
SCRIPT = Path(__file__).with_name("refine_with_plugin.py")


def make_available(folder: Path, groups: dict[str, dict[str, str]], name: str = "ptylive-example") -> None:
    """What an installer leaves of a package's entry points: a dist-info folder."""
    info = folder / f"{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


def run(script: str | Path, *folders: Path) -> subprocess.CompletedProcess[str]:
    given = ["-c", script] if isinstance(script, str) else [str(script)]
    given_before = os.environ.get("PYTHONPATH")  # this checkout, if another one is installed
    paths = [*map(str, folders), *([given_before] if given_before else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, *given], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    groups = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]
    make_available(folder, {name: points for name, points in groups.items()})
    done = run(SCRIPT, folder, PLUGIN)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_both_are_used_in_a_refinement(said):
    assert said["backend"] == "cpu (compiled, with the data term robust_amplitude, a Python function)"
    assert said["algorithm"].startswith("robust_amplitude, loss_offset")
    assert said["finite"]
    assert said["falls"]
    assert said["epoch_3"] == 0.02


def test_gradients_are_exact(said):
    assert said["gradient_error"] < 1e-6  # rounding in differences with a step of 1e-5, in double precision


def test_presets_know_the_settings(said):
    assert said["back"]
    assert "smoothness_weight = 0.0" in said["toml"]
    assert "| `smoothness_weight` | 0.0 | 1 | number ≥ 0, ≤ 1e+30 or expression in epoch |" in said["table"]
    assert "robust_amplitude: amplitudes, far outliers by their absolute value" in said["table"]
    assert said["schema"]["minimum" if "minimum" in said["schema"] else "anyOf"]
    assert said["misspelt"].endswith("unknown refinement setting 'smothness_weight': did you mean 'smoothness_weight'?")
    assert said["too_small"].startswith("refinement setting smoothness_weight: -1 is too small: it must be at least 0")


def test_a_broken_plug_in_costs_itself_only(tmp_path):
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no such luck')\n")
    (tmp_path / "taken.py").write_text(
        "from ptylive.engine.refine.data_terms.registration import data_term\n"
        "from ptylive.engine.refine.regularisers.registration import Setting, regulariser\n"
        "@data_term('ml', help='another', curvature=lambda counts: counts)\n"
        "def likelihood(intensity, counts, weights, offset): return 0, intensity\n"
        "@regulariser('atv', acts_on='object', settings=(Setting('atv_more', 0.0, 'a weight'),))\n"
        "class Flat:\n"
        "    def of_preset(asked): return None\n"
        "    def of(self, wave, xp): return None\n"
    )
    make_available(
        tmp_path,
        {
            "ptylive.regularisers": {"broken": "broken_plugin:It", "taken": "taken:Flat"},
            "ptylive.data_terms": {"taken": "taken"},
        },
    )
    done = run(
        "import logging, sys; logging.basicConfig(format='%(message)s', stream=sys.stdout)\n"
        "from ptylive.application.extensions import Preset\n"
        "print(*(name for name in Preset.full().settings() if 'atv' in name))\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "plug-in broken (broken_plugin:It of ptylive-example) is left out: RuntimeError: no such luck",
        "plug-in taken (taken:Flat of ptylive-example) is left out: the name atv is already used: give it another",
        "plug-in taken (taken of ptylive-example) is left out: the name ml is already used: give it another",
        "atv_weight atv_p atv_q",
    ]


def test_without_the_plug_in_its_names_are_unknown():
    code = "from ptylive.application.extensions import Preset; Preset.from_mapping({'algorithm': 'robust_amplitude'})"
    done = run(code)
    assert "refinement setting algorithm: Input should be 'auto', 'lsq_sqrt'" in done.stderr
