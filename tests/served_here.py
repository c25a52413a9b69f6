"""A server in threads of this process, for tests of what it does with frames and commands.

Tests of its processes, such as how they end, start real ones (:mod:`running`), which takes three seconds of imports.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running import PATIENCE_S

from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.process.config_file import load_config
from ptylive.server.serve.control import ControlServer
from ptylive.server.serve.session import Session
from ptylive.server.wire.client import ControlClient


@dataclass(frozen=True)
class ServerHere:
    """The same ways to communicate with it as with :class:`running.Server`."""

    session: Session
    data: str
    control: str

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        with ControlClient(self.control, timeout_s=60.0) as client:
            return client.call(command, **arguments)

    def wait_for_results(self) -> dict[str, Any]:
        """Status once the scan has ended and its maps are written."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            status = self.call("status")
            if status["state"] in ("complete", "incomplete", "aborted", "failed") and status["results"]:
                return status
            time.sleep(0.05)
        raise AssertionError(f"no results: {self.call('status')}")


@contextmanager
def server_here(folder: Path, options: dict[str, Any], values: dict[str, Any]) -> Iterator[ServerHere]:
    """A server with options and ``--set`` values as on the command line; it records into a folder."""
    data, control = free_addresses()
    config = load_config(None, {"data": data, "control": control, "record": str(folder), **options}, values)
    session = Session(config.model_copy(update={"dashboard": None, "metrics": None}))
    server = ControlServer(control, session)
    session.compilation.start()
    server.start()
    session.start()
    try:
        yield ServerHere(session, data, control)
    finally:
        session.stop()
        server.stop()
