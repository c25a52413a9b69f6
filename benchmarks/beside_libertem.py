"""Shared parts of the comparisons with LiberTEM-live: its environment and processes, and our receiver and engine.

Not run on its own: see merlin_rate.py and stream_vs_libertem.py.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from threadpoolctl import threadpool_limits

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.live.engine import LiveEngine
from ptylive.engine.live.warm_up import warm_up
from ptylive.schema import FrameBatch, Optics, Scan, ScanHeader
from ptylive.server.session.live import TURN_S, lower_priority
from ptylive.streamer.events import ArmEvent, EndEvent
from ptylive.streamer.receiver import Receiver
from ptylive.streamer.ring import RingReader

REFRESH_S = 0.2
PATIENCE_S = 300
Made = LiveEngine | Store | None
Make = Callable[[ScanHeader, Executor, ThreadPool], Made]


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def process(*command: object, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended on leaving the context."""
    running = subprocess.Popen(list(map(str, command)), text=True, **options)  # type: ignore[call-overload]
    try:
        yield running
    finally:
        # LiberTEM-live ends its workers only when it ends on its own
        running.terminate() if running.stdin is None else running.stdin.close()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()


@contextmanager
def libertem_python(venv: Path | None, *packages: str) -> Iterator[Path]:
    """The interpreter of an environment with LiberTEM-live; without one it is made, for as long as it is needed."""
    with ExitStack() as stack:
        if venv is None:
            venv = Path(stack.enter_context(TemporaryDirectory()))
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            install = [venv / "bin" / "python", "-m", "pip", "install", "-q", "libertem-live[sim]", *packages]
            subprocess.run(install, check=True)
        yield venv / "bin" / "python"


def get_ready() -> None:
    """Set up thread switching as in the server's live thread, and compile everything."""
    use_persistent_cache()
    sys.setswitchinterval(TURN_S)
    with threadpool_limits(limits=1):
        warm_up()


def described(shape: tuple[int, int], side: int) -> Callable[[ScanHeader], ScanHeader]:
    """Metadata that the server's configuration would have for (rows, columns) points, patterns of side² pixels."""

    def prepare(header: ScanHeader) -> ScanHeader:
        optics = Optics.model_validate({"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "defocus_A": 50.0})
        detector = header.detector.model_copy(update={"pixel_mrad": 100.0 / side, "transform_given": True})
        geometry = Scan(shape=shape, step_A=(0.5, 0.5), rotation_deg=0.0)
        return replace(header, frames=shape[0] * shape[1], scan=geometry, optics=optics, detector=detector)

    return prepare


class Reducing:
    """A thread that reduces what a ring holds; ``make`` returns the reducer or None; ``reduced`` is set at an end."""

    def __init__(self, reader: RingReader, make: Make, threads: int) -> None:
        self._reader, self._make, self._threads = reader, make, threads
        self.reduced = threading.Event()
        self.points = self.bins = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        target: Made = None
        pool, due = ThreadPool(self._threads), 0.0
        with threadpool_limits(limits=1), ThreadPoolExecutor(1, initializer=lower_priority) as builders:
            for item in self._reader:
                if isinstance(item, ArmEvent):
                    target = self._make(item.header, builders, pool)
                    due = time.perf_counter() + REFRESH_S
                elif isinstance(item, FrameBatch) and target is not None:
                    target.add(item)
                    if isinstance(target, LiveEngine) and time.perf_counter() >= due:
                        target.refresh()
                        due = time.perf_counter() + REFRESH_S
                elif isinstance(item, EndEvent):
                    self._note(target.store if isinstance(target, LiveEngine) else target)
                    self.reduced.set()
        pool.close()

    def _note(self, store: Store | None) -> None:
        if store is not None:
            self.points, self.bins = store.total_frames, store.reduction.basis.count

    def measured(self, start: Callable[[], None], receiver: Receiver) -> tuple[float, float]:
        """Measure a scan from ``start`` to its last frame reduced: wall and CPU time; every frame must have arrived."""
        self.reduced.clear()
        busy, started = time.process_time(), time.perf_counter()
        start()
        assert self.reduced.wait(PATIENCE_S)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        status = receiver.status()
        assert (status.lost, status.rejected, status.duplicates) == (0, {}, 0), status
        assert self.points in (0, status.expected), (self.points, status)  # 0: there is no reduction
        while receiver.status().state != "complete":  # the recording is not timed
            time.sleep(0.05)
        return seconds, busy

    def join(self) -> None:
        """Wait for the thread, whose ring has been closed."""
        self._thread.join()


def cores() -> int:
    """Number of CPU cores of this machine."""
    return os.cpu_count() or 1
