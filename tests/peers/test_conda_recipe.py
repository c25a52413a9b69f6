"""rattler-build, the tool that conda-forge uses, accepts the recipe and finds in it what pyproject.toml says."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest
from other_programs import python_with

pytestmark = pytest.mark.peers

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "packaging" / "conda" / "recipe.yaml"
RENDER = """
import json, sys
from rattler_build import Stage0Recipe, VariantConfig
(variant,) = Stage0Recipe.from_yaml(sys.stdin.read()).render(VariantConfig())
print(json.dumps(variant.recipe.to_dict()))
"""


@pytest.fixture(scope="module")
def rattler_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with rattler-build: that of $PTYLIVE_RATTLER_PYTHON, or a new one."""
    return python_with("PTYLIVE_RATTLER_PYTHON", tmp_path_factory.mktemp("rattler"), "py-rattler-build>=0.73")


def rendered(python: Path, recipe: str) -> subprocess.CompletedProcess:
    return subprocess.run([python, "-c", RENDER], input=recipe, capture_output=True, text=True, timeout=120)


def test_the_recipe_is_taken(rattler_python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    done = rendered(rattler_python, RECIPE.read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["package"]["name"], made["package"]["version"]) == (project["name"], project["version"])
    assert made["source"][0]["url"].endswith(f"/ptylive-{project['version']}.tar.gz")  # the variable was filled in
    assert (made["build"]["noarch"], made["about"]["license"]) == ("python", project["license"])
    assert len(made["requirements"]["run"]) == 1 + len(project["dependencies"])  # Python is one; names: tests/packaging
    assert [list(one) for one in made["tests"]] == [["python"], ["script"]]


def test_a_word_that_it_does_not_know_is_refused(rattler_python):
    """Shows that an accepted recipe was really read."""
    done = rendered(rattler_python, RECIPE.read_text(encoding="utf-8").replace("  license: MIT", "  licence: MIT"))
    assert done.returncode != 0 and "licence" in done.stderr
