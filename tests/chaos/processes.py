"""The server under test as a tree of processes: identified by what they run, killed, paused, restarted, measured."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from chaos.asking import PATIENCE_S, Caller
from chaos.history import History
from ptylive.server.cli.commands.demo import PORTS, free_addresses
from ptylive.server.process.ports import EVENTS_OFFSET

MARK = "PTYLIVE_CHAOS_RUN"
"""Environment variable of every process that a run starts, inherited by their children; orphans are found by it."""
MODULES = {
    "acquire": ("ptylive.server.serve.acquire",),
    "dashboard": ("ptylive.dashboard",),
    "recorder": ("ptylive.streamer.recording.recorder",),
    "refinement": ("ptylive.server.refinement.refine_process",),
    "warm-up": ("ptylive.server.refinement.warm_refinement",),
}
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
PTYLIVE = str(Path(sys.executable).with_name("ptylive"))
PROBE_S, SAMPLE_S = 0.5, 1.0
YARDSTICK_S, YARDSTICK_BYTES = 5.0, 50_000_000
RESTART_S = 1.0
STOP_S = 60.0
SETTLED_S = 20.0
"""A younger process is not measured, since it is still loading and compiling."""


def free_port(*taken: int) -> int:
    """A port below the system's ephemeral ports, currently free and not among those in ``taken``."""
    for port in PORTS:
        wanted = port + os.getpid() % 1000
        if wanted in taken:
            continue
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", wanted))
            return wanted
    raise OSError("no port is free")


class ServerUnderTest:
    """`ptylive serve` on fixed addresses, restarted whenever it ends, as an operator would.

    environment: for its processes; log: file for its output.
    """

    def __init__(self, folder: Path, log: Path, history: History, environment: dict[str, str]) -> None:
        self.folder, self.log, self.history = folder, log, history
        self.data, self.control = free_addresses()
        data, control = (int(address.rpartition(":")[2]) for address in (self.data, self.control))
        self.page = f"127.0.0.1:{free_port(data, control, control + EVENTS_OFFSET)}"
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.environment = {**os.environ, **ONE_THREAD, **environment, MARK: self.mark}
        self.process: subprocess.Popen[bytes] | None = None
        self.lost = 0
        """How often its command process was lost: requests pending since then will not be answered."""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, daemon=True)
            for run in (self._keep, self._probe, self._sample, self._yardstick)
        ]

    def begin(self) -> None:
        """Start the server, and look after it from now on."""
        self._start()
        for thread in self._threads:
            thread.start()

    def _start(self) -> None:
        options = ["--data", self.data, "--control", self.control, "--record", str(self.folder)]
        options += ["--dashboard", self.page, "--metrics", "127.0.0.1:0"]
        self.history.note("down", why="start")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PTYLIVE, "serve", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )

    def _keep(self) -> None:
        while not self._stop.wait(0.1):
            if self.process is not None and (status := self.process.poll()) is not None:
                self.lost += 1
                self.history.note("server_ended", status=status)
                self._stop.wait(RESTART_S)
                self._start()

    def _probe(self) -> None:
        """Request the status continually: how long an answer takes, and when a lost server is back."""
        with Caller(self, "prober") as caller:
            while not self._stop.wait(PROBE_S):
                if caller.ask("status") is not None:
                    self.history.note("up")

    def _sample(self) -> None:
        """Memory, threads and handles of the long-lived processes, and the number of all processes."""
        while not self._stop.wait(SAMPLE_S):
            tree = list(self.tree())
            self.history.note("processes", count=len(tree))
            for role, process in tree:
                with suppress(psutil.Error):
                    if (
                        role in ("acquire", "dashboard", "supervisor")
                        and time.time() - process.create_time() > SETTLED_S
                    ):
                        with process.oneshot():
                            facts = (process.memory_info().rss / 1e6, process.num_threads(), process.num_fds())
                        names = ("memory_MB", "threads", "handles")
                        self.history.note("used", role=role, **dict(zip(names, facts, strict=True)))

    def _yardstick(self) -> None:
        """How much longer than its work a thread takes here because others compete for the cores."""
        work = bytes(YARDSTICK_BYTES)
        while not self._stop.wait(YARDSTICK_S):
            began, worked = time.monotonic(), time.thread_time()
            hashlib.sha256(work)
            self.history.note("yardstick", wall=time.monotonic() - began, work=time.thread_time() - worked)

    def tree(self) -> Iterator[tuple[str, psutil.Process]]:
        """Every process of the server with its role; processes that have just ended are left out."""
        if self.process is None:
            return
        with suppress(psutil.Error):
            root = psutil.Process(self.process.pid)
            yield "supervisor", root
            for child in root.children(recursive=True):
                with suppress(psutil.Error):
                    yield role_of(child.cmdline()), child

    def find(self, role: str) -> list[psutil.Process]:
        """The server's processes with a role."""
        return [process for found, process in self.tree() if found == role]

    def kill(self, process: psutil.Process, role: str) -> None:
        """Kill a process."""
        with suppress(psutil.Error):
            if role in ("acquire", "supervisor"):
                self.lost += 1
                self.history.note("down", why=f"{role} killed")
            process.kill()

    def marked(self) -> list[psutil.Process]:
        """Every live process of this run, including orphans but not this process."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    if process.environ().get(MARK) == self.mark:
                        found.append(process)
        return found

    def end(self) -> int | None:
        """Stop it as Ctrl-C would and return its exit status, None if it had to be killed."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(PATIENCE_S + 10)
        return self.stop_once()

    def stop_once(self) -> int | None:
        """End the current process; None if it had to be killed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for _, process in reversed(list(self.tree())):
                with suppress(psutil.Error):
                    process.kill()
            self.process.wait()
            return None

    def start_again(self) -> None:
        """Start it for the last time, without supervision."""
        self._start()


def role_of(command: list[str]) -> str:
    """Role of a process of the server."""
    for role, modules in MODULES.items():
        if any(module in command for module in modules):
            return role
    return "helper"
