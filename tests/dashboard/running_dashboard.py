"""A dashboard in a process of its own: started as a supervisor would, or forked, which saves the imports."""

import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from ptylive.server.process.operators import TOKENS_VARIABLE

END_S = 60.0
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["ptylive.dashboard.__main__", "ptylive.dashboard.app"])


@dataclass
class RunningDashboard:
    """A dashboard process and where it listens."""

    process: subprocess.Popen[str] | BaseProcess
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def end(self) -> None:
        """End it as the server does."""
        self.process.terminate()
        self._wait()

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self._wait()

    def _wait(self) -> None:
        if isinstance(self.process, BaseProcess):
            self.process.join(END_S)
            assert self.process.exitcode is not None
        else:
            self.process.communicate(timeout=END_S)


def start_dashboard(control: str, port: int = 0, tokens: str = "") -> RunningDashboard:
    """Start ``python -m ptylive.dashboard`` and wait for its one line of output."""
    command = [sys.executable, "-m", "ptylive.dashboard", *_options(control, port, os.getpid())]
    environment = {**os.environ, TOKENS_VARIABLE: tokens}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return RunningDashboard(process, _url(process.stdout.readline()))


def fork_dashboard(control: str, port: int = 0, tokens: str = "") -> RunningDashboard:
    """The same, forked from a process that has already imported everything."""
    process, said = forked(control, port, tokens)
    return RunningDashboard(process, _url(said.recv()))


def forked(control: str, port: int = 0, tokens: str = "", parent: int | None = None) -> tuple[BaseProcess, Connection]:
    """A forked dashboard that may end at once, and what it prints; ``parent``: the process with which it ends."""
    said, says = FORKING.Pipe(duplex=False)
    process = FORKING.Process(target=_serve, args=(control, port, says, tokens, parent))
    process.start()
    says.close()
    return process, said


class _Sent:
    """Standard output that the parent process reads."""

    def __init__(self, says: Connection) -> None:
        self._says = says

    def write(self, text: str) -> int:
        self._says.send(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""


def _serve(control: str, port: int, says: Connection, tokens: str, parent: int | None) -> None:
    from ptylive.dashboard.__main__ import main

    os.environ[TOKENS_VARIABLE] = tokens
    sys.stdout = _Sent(says)
    sys.exit(main(_options(control, port, os.getppid() if parent is None else parent)))


def _options(control: str, port: int, parent: int) -> list[str]:
    return ["--control", control, "--port", str(port), "--exit-with-parent", str(parent)]


def _url(line: str) -> str:
    assert line.startswith("dashboard: http://127.0.0.1:"), line
    return line.rsplit(maxsplit=1)[-1]
