"""Running other people's programs in tests: installed in environments of their own, ended whatever happens."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def pip(*arguments: object, timeout_s: float = 600) -> None:
    """pip of the running Python; skips the test if there is no package index."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode:
        pytest.skip(f"cannot install: {done.stderr.strip().splitlines()[-1]}")


def python_with(variable: str, folder: Path, *packages: str) -> Path:
    """A Python with packages: the one that the environment's ``variable`` names, or a new one in ``folder``."""
    if variable in os.environ:
        return Path(os.environ[variable])
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip("--python", python, "install", *packages)
    return python


@contextmanager
def process(*command: object) -> Iterator["subprocess.Popen[str]"]:
    """A process and its own children, ended at the end."""
    running = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait(10)
        assert running.stdout is not None
        running.stdout.close()
