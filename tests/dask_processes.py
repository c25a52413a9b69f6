"""A Dask scheduler and workers as separate processes, as somebody would start them by hand."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

END_S = 20.0


def free_port() -> int:
    """A port that is currently free."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Dask:
    """One scheduler and its workers, in a folder; tests kill and restart them."""

    def __init__(self, folder: Path) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._folder = folder
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, workers: int = 1) -> None:
        """Start the scheduler, and workers with one thread each."""
        port = self.address.rpartition(":")[2]
        self._scheduler = self._dask("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        for _ in range(workers):
            self.add_worker()

    def add_worker(self) -> None:
        """Start another worker."""
        options = ("--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self._folder))
        self._workers.append(self._dask("worker", self.address, *options))

    def kill(self) -> None:
        """Kill everything, as in a power cut."""
        for process in (*self._workers, self._scheduler):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(END_S)
        self._workers, self._scheduler = [], None

    def _dask(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *arguments]
        log = (self._folder / f"{arguments[0]}.log").open("ab")
        return subprocess.Popen(command, stdout=log, stderr=log, process_group=0)


@contextlib.contextmanager
def dask(folder: Path, workers: int = 1) -> Iterator[Dask]:
    """Keep them running until the end of the block."""
    one = Dask(folder)
    one.start(workers)
    try:
        yield one
    finally:
        one.kill()
