"""What several tests against other people's programs share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from other_programs import pip


@pytest.fixture(scope="session")
def libertem_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with libertem-live and its simulators: that of $PTYLIVE_LIBERTEM_PYTHON, or a new one."""
    if "PTYLIVE_LIBERTEM_PYTHON" in os.environ:
        return Path(os.environ["PTYLIVE_LIBERTEM_PYTHON"])
    folder = tmp_path_factory.mktemp("libertem")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip("--python", folder / "bin" / "python", "install", "libertem-live[sim]")
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def abtem_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with abTEM: that of $PTYLIVE_ABTEM_PYTHON, or a new one."""
    if "PTYLIVE_ABTEM_PYTHON" in os.environ:
        return Path(os.environ["PTYLIVE_ABTEM_PYTHON"])
    folder = tmp_path_factory.mktemp("abtem")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip("--python", folder / "bin" / "python", "install", "abtem", "ase")
    return folder / "bin" / "python"
