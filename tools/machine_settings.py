"""The kinds of machine on which ``check_machines.py`` runs the tests, and how each is imitated here."""

from __future__ import annotations

import argparse
import os
import pwd
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUSY = 2
"""Number of processes that compute during the tests: as many as the smallest machine has cores."""
FEW_FILES = 256
"""Open files: the default limit of macOS, a quarter of that of Linux."""
OTHER_LOCALE = "de_DE"
"""Decimal comma, points between thousands."""
OTHER_ZONE = "Pacific/Chatham"
"""12 h 45 min (13 h 45 min in summer) ahead of UTC: neither the date nor the minutes agree."""


class NotHereError(Exception):
    """A setting that this machine cannot provide; the message says why."""


@dataclass
class Place:
    """Where and as which user a run of pytest is started."""

    python: str = sys.executable
    root: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)
    user: int | None = None
    limit: Callable[[], None] | None = None


@dataclass(frozen=True)
class Run:
    """What all settings share: a temporary folder, a seed, and what to test."""

    scratch: Path
    seed: int
    tests: tuple[str, ...]
    more: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One kind of machine: ``prepare`` makes the place and removes it again."""

    name: str
    about: str
    prepare: Callable[[Run], AbstractContextManager[Place]]
    arguments: tuple[str, ...] = ()


def in_environment(environment: Mapping[str, str]) -> Callable[[Run], AbstractContextManager[Place]]:
    """A place that differs only by environment variables."""

    @contextmanager
    def prepare(run: Run) -> Iterator[Place]:
        del run
        yield Place(environment=dict(environment))

    return prepare


@contextmanager
def generic_numba(run: Run) -> Iterator[Place]:
    """Compiled loops for any x86-64 or ARM, in a separate cache."""
    yield Place(environment={"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(run.scratch / "numba")})


@contextmanager
def plain_numpy(run: Run) -> Iterator[Place]:
    """Numpy's loops for the oldest processor it supports: all run-time dispatch is switched off."""
    del run
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # not public, and nowhere else

    chosen = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if not chosen:
        raise NotHereError("numpy uses nothing beyond its baseline on this processor")
    yield Place(environment={"NPY_DISABLE_CPU_FEATURES": " ".join(chosen)})


@contextmanager
def busy(run: Run) -> Iterator[Place]:
    """Two processes that compute all the time."""
    del run
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield Place()
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def shuffled(run: Run) -> Iterator[Place]:
    """Another hash of every string; pytest-randomly shuffles the tests."""
    yield Place(environment={"PYTHONHASHSEED": str(run.seed)})


@contextmanager
def elsewhere(run: Run) -> Iterator[Place]:
    """Another time zone, and a locale with a decimal comma, made here if the system has none."""
    folder = run.scratch / "locales"
    folder.mkdir(exist_ok=True)
    command = ["localedef", "-i", OTHER_LOCALE, "-f", "UTF-8", str(folder / f"{OTHER_LOCALE}.UTF-8")]
    environment = {"TZ": OTHER_ZONE, "LC_ALL": f"{OTHER_LOCALE}.UTF-8", "LANG": f"{OTHER_LOCALE}.UTF-8"}
    if shutil.which("localedef") and subprocess.run(command, capture_output=True, check=False).returncode == 0:
        environment["LOCPATH"] = str(folder)
    setting = "import locale; locale.setlocale(locale.LC_ALL, ''); print(locale.localeconv()['decimal_point'])"
    found = subprocess.run(
        [sys.executable, "-c", setting], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if found.stdout.strip() != ",":
        raise NotHereError(f"no locale {OTHER_LOCALE}.UTF-8 and none can be made (Debian: apt-get install locales)")
    yield Place(environment=environment)


@contextmanager
def narrow(run: Run) -> Iterator[Place]:
    """Files that nobody else may read, and a low limit of open files."""
    del run
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def limit() -> None:
        os.umask(0o077)
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, hard))

    yield Place(limit=limit)


@contextmanager
def clone_with_spaces(run: Run) -> Iterator[Place]:
    """A clean clone, with its environment and temporary files in paths with blanks and an accent."""
    folder = run.scratch / "path with spaces é"
    place = _clone(folder, sys.executable)
    yield Place(place.python, place.root, {"TMPDIR": str(_created(folder / "tmp files"))})


@contextmanager
def ordinary_user(run: Run) -> Iterator[Place]:
    """A clean clone that belongs to an ordinary user, with a home directory of its own."""
    if os.geteuid() != 0:
        raise NotHereError("these tests run as an ordinary user already")
    nobody = pwd.getpwnam("nobody")
    python = next((p for p in (sys.executable, "/usr/bin/python3") if _runs_as(nobody.pw_uid, p)), None)
    if python is None:
        raise NotHereError(f"user nobody can run neither {sys.executable} nor /usr/bin/python3")
    folder = run.scratch / "ordinary"
    place = _clone(folder, python)
    home = _created(folder / "home")
    environment = {"HOME": str(home), "USER": "nobody", "LOGNAME": "nobody", "TMPDIR": str(_created(folder / "tmp"))}
    environment |= {"XDG_CACHE_HOME": str(home / ".cache"), "XDG_CONFIG_HOME": str(home / ".config")}
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    yield Place(place.python, place.root, environment, user=nobody.pw_uid)


def _runs_as(user: int, python: str) -> bool:
    """Whether a user can run an interpreter, and it is new enough to make an environment."""
    code = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    try:
        completed = subprocess.run([python, "-c", code], user=user, cwd="/", capture_output=True, check=False)
    except OSError:
        return False
    return completed.returncode == 0


def _clone(folder: Path, python: str) -> Place:
    """The last commit in ``folder/ptylive``, installed there as described in README."""
    root = _created(folder) / "ptylive"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(root)], check=True)
    if subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, check=False).returncode:
        print("  (a clone: changes that are not committed are not in it)", flush=True)
    subprocess.run([python, "-m", "venv", str(root / ".venv")], check=True)
    clone_python = str(root / ".venv" / "bin" / "python")
    install = [clone_python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", ".[dev]"]
    subprocess.run(install, cwd=root, check=True)
    return Place(clone_python, root)


def _created(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def openblas(core: str) -> Setting:
    """Numpy's and scipy's matrix products as another processor computes them."""
    about = f"matrix products by OpenBLAS's kernels for {core}"
    return Setting(f"openblas-{core.lower()}", about, in_environment({"OPENBLAS_CORETYPE": core}))


SETTINGS = (
    Setting("as-it-is", "this machine, nothing changed", in_environment({})),
    *(openblas(core) for core in ("Haswell", "Zen", "SkylakeX", "Nehalem")),
    Setting("numba-generic", "compiled loops for any processor", generic_numba),
    Setting("numpy-baseline", "numpy without the instructions it finds at run time", plain_numpy),
    Setting("busy", f"beside {BUSY} processes that compute", busy),
    Setting("random", "random order of tests, random hashes of strings", shuffled, ("-p", "randomly")),
    Setting("elsewhere", f"time zone {OTHER_ZONE}, locale {OTHER_LOCALE}", elsewhere),
    Setting("narrow", f"umask 077, {FEW_FILES} open files", narrow),
    Setting("spaces", "a clean clone in a path with spaces and an accent", clone_with_spaces),
    Setting("ordinary-user", "a clean clone, as an ordinary user (needs root)", ordinary_user),
)

TOGETHER = (
    ("openblas-haswell", "random"),
    ("openblas-zen", "numba-generic", "spaces"),
    ("openblas-skylakex", "narrow", "ordinary-user"),
    ("openblas-nehalem", "numpy-baseline", "elsewhere"),
    ("busy",),
)
"""Independent settings combined into as few runs as possible."""


def joined(names: Iterable[str]) -> Setting:
    """One setting that combines all those named; at most one of them has a clone of its own."""
    parts = [next(setting for setting in SETTINGS if setting.name == name) for name in names]
    if len(parts) == 1:
        return parts[0]

    @contextmanager
    def prepare(run: Run) -> Iterator[Place]:
        with ExitStack() as stack:
            places = [stack.enter_context(part.prepare(run)) for part in parts]
            clone = next((place for place in places if place.root != ROOT), Place())
            limits = [place.limit for place in places if place.limit]
            environment = {name: value for place in places for name, value in place.environment.items()}

            def limit() -> None:
                for set_limit in limits:
                    set_limit()

            yield Place(clone.python, clone.root, environment, clone.user, limit)

    arguments = tuple(argument for part in parts for argument in part.arguments)
    return Setting("+".join(part.name for part in parts), "; ".join(part.about for part in parts), prepare, arguments)


def chosen(only: Iterable[str] | None, together: bool) -> list[Setting]:
    """The settings to run, in the order of SETTINGS or as they were requested."""
    if together:
        return [joined(names) for names in TOGETHER]
    return list(SETTINGS) if only is None else [joined(name.split("+")) for name in only]


def known(text: str) -> str:
    """Check names of settings joined by ``+``, as a type for argparse."""
    names = [setting.name for setting in SETTINGS]
    if unknown := [name for name in text.split("+") if name not in names]:
        raise argparse.ArgumentTypeError(f"no such setting: {', '.join(unknown)}; there are {', '.join(names)}")
    return text
