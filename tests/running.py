"""A real server in real processes, for tests: started on free ports, ended whatever happens."""

import hashlib
import io
import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from ptylive.schema import ServerGoneError
from ptylive.server.cli import main as cli
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.wire.client import ControlClient

PTYLIVE = str(Path(sys.executable).with_name("ptylive"))
PATIENCE_S = 400.0
"""For what hangs, however busy the machine is."""


class Server:
    """A `ptylive serve` process and ways to communicate with it."""

    def __init__(self, folder: Path, *options: str, data: str = "", control: str = "") -> None:
        free_data, free_control = free_addresses()
        self.folder, self.data, self.control = folder, data or free_data, control or free_control
        arguments = ["serve", "--data", self.data, "--control", self.control, "--record", str(folder), *options]
        if not any(o in options for o in ("--dashboard", "--headless")):
            arguments.append("--headless")
        self.process = subprocess.Popen([PTYLIVE, *arguments], stderr=subprocess.PIPE, text=True)
        self.wait_for(lambda s: True)

    def status(self) -> dict:
        with ControlClient(self.control, timeout_s=60.0) as client:
            return client.call("status")

    def call(self, command: str, **arguments) -> dict:
        with ControlClient(self.control, timeout_s=60.0) as client:
            return client.call(command, **arguments)

    def wait_for(self, condition, timeout_s: float = PATIENCE_S) -> dict:
        """The first status that fulfils a condition."""
        give_up = time.monotonic() + timeout_s
        status = {}
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.process.stderr.read()}")
            try:
                with ControlClient(self.control, timeout_s=10.0) as client:
                    status = client.call("status")
                if condition(status):
                    return status
            except ServerGoneError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout_s} s: {status}")

    def wait_for_results(self, timeout_s: float = PATIENCE_S) -> dict:
        """Status once the scan has ended and its maps are written."""
        ended = ("complete", "incomplete", "aborted", "failed")
        return self.wait_for(lambda s: s["state"] in ended and s["results"], timeout_s)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.stderr.close()


@contextmanager
def server(folder: Path, *options: str, **addresses: str):
    running = Server(folder, *options, **addresses)
    try:
        yield running
    finally:
        running.stop()


def frame_hashes(path: Path) -> list[str]:
    """SHA-256 of every frame of a native file, in acquisition order."""
    import h5py
    import hdf5plugin  # noqa: F401

    with h5py.File(path) as file:
        return [hashlib.sha256(pattern.tobytes()).hexdigest() for row in file["data"] for pattern in row]


def ptylive(*arguments: object, timeout_s: float = 550.0) -> subprocess.CompletedProcess:
    """Run the program to its end."""
    command = [PTYLIVE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


def ptylive_here(*arguments: object) -> subprocess.CompletedProcess:
    """Run a command in this process, which saves a second; for commands that neither stay nor set up signals."""
    command, out, err = ["ptylive", *map(str, arguments)], io.StringIO(), io.StringIO()
    status = 0
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", command):
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def last_json(done: subprocess.CompletedProcess) -> dict:
    """The JSON object printed by a command, which must have succeeded."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])
