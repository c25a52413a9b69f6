"""Optics over twelve decades give a result or one clear line, in bounded memory (tests/extreme_optics.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


def outcomes(*arguments: str) -> list[str]:
    path = os.pathsep.join([str(TESTS), *sys.path])
    child = subprocess.run(
        [sys.executable, str(TESTS / "extreme_optics.py"), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    print(child.stdout)
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout.splitlines()


@pytest.mark.slow
def test_random_optics_make_maps_or_are_refused() -> None:
    assert len(outcomes("0", "2")) == 2


@pytest.mark.slow
def test_many_random_optics_make_maps_or_are_refused() -> None:
    assert len(outcomes("2", "120")) == 118


@pytest.mark.slow
def test_random_optics_are_refined_or_refused() -> None:
    assert len(outcomes("0", "40", "refine")) == 40
