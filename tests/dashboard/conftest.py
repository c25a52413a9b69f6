"""A fake server and a dashboard in a process of its own, as tests need them."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fake_server import FakeServer  # noqa: E402


@dataclass
class RunningDashboard:
    """A dashboard process and where it listens."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def start_dashboard(control: str, port: int = 0) -> RunningDashboard:
    """Start ``python -m ptylive.dashboard`` and wait for its one line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ptylive.dashboard", "--control", control, "--port", str(port), "--exit-with-parent"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("dashboard: http://127.0.0.1:"), line
    return RunningDashboard(process, line.split()[-1])


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
