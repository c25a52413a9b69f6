"""Prepare a release: make all automatic checks, build what is published, and list what remains for people to do.

make release VERSION=0.2.0
python tools/release.py 0.2.0 --quick      # without the tests
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
REMAINING_STEPS = """
Left for people:
  1. read the changelog as somebody who upgrades: is what breaks named first?
  2. try the wheel on a machine that has never seen ptylive, with a file of your own
  3. git tag -s v{version} -m 'ptylive {version}' && git push --tags
  4. twine upload dist/ptylive-{version}*
  5. packaging/conda/recipe.yaml: sha256 {sha256}
  6. publish build/site as the documentation of {version}
"""


def problems_of_sources(version: str, root: Path = ROOT) -> list[str]:
    """What prevents a release of the sources as ``version``, a line each with its remedy."""
    found = []
    if not VERSION.fullmatch(version):
        return [f"{version} is no version: MAJOR.MINOR.PATCH, with rc1 behind it before a release"]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = {
        "pyproject.toml": project["version"],
        "CITATION.cff": _value_of("version", root / "CITATION.cff"),
        "packaging/conda/recipe.yaml": _value_of("  version", root / "packaging" / "conda" / "recipe.yaml"),
    }
    found += [f"{name} says {stated}: write {version}" for name, stated in versions.items() if stated != version]
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(rf"^## {re.escape(version)} \((.+)\)$", changelog, re.M)
    if heading is None:
        found.append(f"CHANGELOG.md has no heading '## {version} (date)': write one")
    elif not re.fullmatch(r"\d{4}-\d{2}-\d{2}", heading[1]):
        found.append(f"CHANGELOG.md calls {version} {heading[1]!r}: write the date, {datetime.date.today()}")
    return found


def problems_of_checkout(version: str, root: Path = ROOT) -> list[str]:
    """What is not committed, or already tagged."""
    found = []
    changed = _git(root, "status", "--porcelain")
    if changed:
        found.append(f"{len(changed.splitlines())} files are not committed: git status")
    if f"v{version}" in _git(root, "tag").split():
        found.append(f"v{version} is tagged already: take the next version")
    return found


def build(root: Path = ROOT) -> list[Path]:
    """Build sdist and wheel in dist/, which is emptied first; twine must have no complaints."""
    shutil.rmtree(root / "dist", ignore_errors=True)
    _run(root, sys.executable, "-m", "build")
    files = sorted((root / "dist").iterdir())
    _run(root, sys.executable, "-m", "twine", "check", "--strict", *map(str, files))
    return files


def _value_of(key: str, path: Path) -> str:
    line = re.search(rf"^{key}: *(.+)$", path.read_text(encoding="utf-8"), re.M)
    return line[1].strip().strip("\"'") if line else "nothing"


def _git(root: Path, *arguments: str) -> str:
    completed = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return completed.stdout.strip()


def _run(root: Path, *command: str) -> None:
    print(f"$ {' '.join(command)}", flush=True)
    if subprocess.run(command, cwd=root, check=False).returncode:
        raise SystemExit(f"not released: {' '.join(command)} failed")


def main() -> None:
    """Check, build, report what remains. Exit status 1 if something is not ready."""
    options = argparse.ArgumentParser(description="Check and build a release.")
    options.add_argument("version")
    options.add_argument("--quick", action="store_true", help="without the tests and the site")
    given = options.parse_args()
    found = problems_of_sources(given.version) or problems_of_checkout(given.version)
    if found:
        raise SystemExit("\n".join(["not released:", *(f"  {line}" for line in found)]))
    if not given.quick:
        _run(ROOT, "make", "check-all")
    files = build()
    for path in files:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}")
    (sdist,) = [path for path in files if path.name.endswith(".tar.gz")]
    print(REMAINING_STEPS.format(version=given.version, sha256=hashlib.sha256(sdist.read_bytes()).hexdigest()))


if __name__ == "__main__":
    main()
