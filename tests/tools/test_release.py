"""The release tool, on a tree that is ready and on trees that are not."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def loaded():
    spec = importlib.util.spec_from_file_location("release", ROOT / "tools" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = loaded()


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "packaging" / "conda").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("version: 1.2.0\n")
    (tmp_path / "packaging/conda/recipe.yaml").write_text('context:\n  version: "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.0 (2026-11-23)\n\n- new\n")
    return tmp_path


def test_a_tree_that_is_ready_has_no_problems(tree):
    assert release.problems_of_sources("1.2.0", tree) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("pyproject.toml", "1.2.0", "1.1.0", "pyproject.toml says 1.1.0"),
        ("CITATION.cff", "1.2.0", "1.1.0", "CITATION.cff says 1.1.0"),
        ("packaging/conda/recipe.yaml", "1.2.0", "1.1.0", "recipe.yaml says 1.1.0"),
        ("CHANGELOG.md", "## 1.2.0 ", "## 1.1.0 ", "has no heading"),
        ("CHANGELOG.md", "2026-11-23", "unreleased", "write the date"),
    ],
)
def test_what_is_not_ready_is_named(tree, name, old, new, words):
    path = tree / name
    path.write_text(path.read_text().replace(old, new))
    (line,) = release.problems_of_sources("1.2.0", tree)
    assert words in line


@pytest.mark.parametrize("version", ["1.2", "v1.2.0", "1.2.0-final", ""])
def test_what_is_no_version_is_refused(tree, version):
    assert "is no version" in release.problems_of_sources(version, tree)[0]


def test_changes_and_tags_are_seen(tree):
    def git(*arguments):
        told = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *told, *arguments], cwd=tree, check=True, capture_output=True)

    git("init")
    assert "not committed" in release.problems_of_checkout("1.2.0", tree)[0]
    git("add", ".")
    git("commit", "-m", "all")
    assert release.problems_of_checkout("1.2.0", tree) == []
    git("tag", "v1.2.0")
    assert "tagged already" in release.problems_of_checkout("1.2.0", tree)[0]


def test_this_checkout_agrees_about_its_version():
    """All except the date, which the release itself writes."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = project.split('\nversion = "')[1].split('"')[0]
    assert [line for line in release.problems_of_sources(version) if "write the date" not in line] == []
