"""Fixtures shared by tests against other people's programs."""

from pathlib import Path

import pytest
from other_programs import python_with


@pytest.fixture(scope="session")
def libertem_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with libertem-live and its simulators: that of $PTYLIVE_LIBERTEM_PYTHON, or a new one."""
    return python_with("PTYLIVE_LIBERTEM_PYTHON", tmp_path_factory.mktemp("libertem"), "libertem-live[sim]")


@pytest.fixture(scope="session")
def abtem_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with abTEM: that of $PTYLIVE_ABTEM_PYTHON, or a new one."""
    return python_with("PTYLIVE_ABTEM_PYTHON", tmp_path_factory.mktemp("abtem"), "abtem", "ase")
