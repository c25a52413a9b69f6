"""Wheel and sdist as users without a checkout get them: built, installed into a new environment, run elsewhere."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HOOK = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def run(*arguments: str | Path, cwd: Path, timeout_s: float = 1800) -> str:
    """Run a program away from the checkout and return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PTYLIVE"))}
    done = subprocess.run(
        [str(one) for one in arguments], cwd=cwd, capture_output=True, text=True, env=environment, timeout=timeout_s
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def built(kind: str, source: Path, into: Path) -> Path:
    into.mkdir(parents=True)
    return into / run(sys.executable, "-c", HOOK, f"build_{kind}", into, cwd=source).splitlines()[-1]


def contents(wheel: Path) -> dict[str, str]:
    """Files of a wheel and their content; RECORD lists them all."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if not name.endswith(("/RECORD", "/"))
        }


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """An sdist, a wheel made from it, and a wheel made from the sources."""
    folder = tmp_path_factory.mktemp("built")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("no git checkout: what belongs to the sources is not known")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (folder / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "sources" / name)
    sdist = built("sdist", folder / "sources", folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    direct = built("wheel", folder / "sources", folder / "direct")
    return built("wheel", unpacked, folder / "wheel"), direct


def test_the_sdist_makes_the_wheel_that_the_sources_make(distributions):
    of_sdist, of_sources = distributions
    assert of_sdist.name == of_sources.name
    assert contents(of_sdist) == contents(of_sources)


def test_the_wheel_holds_every_module_and_nothing_else_of_python(distributions):
    wheel, _ = distributions
    rooms = ("schema", "pictures", "streamer", "engine", "api", "dashboard", "simulators", "server")
    expected = set()
    for room in rooms:
        for path in (ROOT / room).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            expected.add("/".join(("ptylive", *(parts[1:] if room == "api" else parts))))
    assert {name for name in contents(wheel) if name.endswith(".py")} == expected


def test_the_wheel_holds_every_part_of_the_page(distributions):
    wheel, _ = distributions
    templates = [path for path in (ROOT / "dashboard" / "templates").rglob("*") if path.is_file()]
    expected = {f"ptylive/{path.relative_to(ROOT).as_posix()}" for path in templates}
    assert {name for name in contents(wheel) if "/templates/" in name} == expected


@pytest.mark.timeout(2400)  # compiles everything anew
def test_installed_without_sources_the_demo_runs_to_its_end(distributions, tmp_path):
    """Dependencies come from this environment; ptylive itself from the wheel."""
    wheel, _ = distributions
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path
    )
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(python, "-c", where, cwd=tmp_path).strip())
    # a folder listed in a .pth file does not have its own .pth files read, such as that of the editable ptylive
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    found = run(python, "-c", "import ptylive; print(ptylive.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(environment)
    program = environment / "bin" / "ptylive"
    assert run(program, "--version", cwd=tmp_path).split()[0] == "ptylive"
    run(program, "demo", "--no-browser", "--exit-when-done", "--port", "0", "--output", "out", cwd=tmp_path)
    results = list((tmp_path / "out").glob("*_results.h5"))
    assert len(results) == 1
    listed = run(program, "export", results[0], "pictures", "--to", "png", cwd=tmp_path)
    assert "object_phase" in listed or list((tmp_path / "pictures").glob("*.png"))
