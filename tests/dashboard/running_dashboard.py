"""A dashboard in a process of its own, as a supervisor would start it."""

import os
import subprocess
import sys
from dataclasses import dataclass

from ptylive.dashboard.access import ENVIRONMENT


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


def start_dashboard(control: str, port: int = 0, tokens: str = "") -> RunningDashboard:
    """Start ``python -m ptylive.dashboard`` and wait for its one line."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ptylive.dashboard",
            "--control",
            control,
            "--port",
            str(port),
            "--exit-with-parent",
            str(os.getpid()),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, ENVIRONMENT: tokens},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("dashboard: http://127.0.0.1:"), line
    return RunningDashboard(process, line.split()[-1])
