"""A fake server and a dashboard in a process of its own, as tests need them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fake_server import FakeServer
from running_dashboard import RunningDashboard, start_dashboard


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A fake server that answers and publishes."""
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def dashboard(server: FakeServer) -> Iterator[RunningDashboard]:
    """A dashboard process connected to the fake server."""
    running = start_dashboard(server.control)
    yield running
    running.process.terminate()
    running.process.communicate(timeout=10)
