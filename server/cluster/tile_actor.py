"""Code run on a cluster worker that holds a tile of a refinement: its solvers in a thread, called remotely.

Tiles communicate over Dask's own connections between workers: a message is an additional operation of a worker, which
uses the existing encryption and addresses. It carries numbers as bytes and nothing pickled.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ptylive.engine.memory import keep_freed_memory
from ptylive.engine.refine.tiles.links import LinkLost
from ptylive.engine.refine.tiles.tile_part import TilePart
from ptylive.engine.refine.tiles.tile_run import TileRun
from ptylive.server.cluster import runner
from ptylive.server.cluster.transfer import PIECE_BYTES
from ptylive.server.wire.messages import pack

if TYPE_CHECKING:
    from distributed import Worker

OPERATION = "ptylive_tile"
Box = queue.SimpleQueue[bytes | None]
_boxes: dict[tuple[str, int], dict[int, Box]] = {}
"""Messages that have arrived here, by run and receiving tile, then by sending tile."""


def _arrived(run: str, tile: int, source: int, data: bytes) -> None:
    """Store a message for a tile on this worker; it is dropped if nothing waits for it any more."""
    boxes = _boxes.get((run, tile))
    if boxes is not None:
        boxes[source].put(data)


class WorkerLink:
    """Endpoint of all connections of one tile (:class:`ptylive.engine.refine.tiles.links.Link`)."""

    def __init__(self, worker: Worker, run: str, tile: int, tiles: int) -> None:
        self._worker, self._run, self._tile = worker, run, tile
        self._boxes: dict[int, Box] = {source: queue.SimpleQueue() for source in range(tiles)}
        self._addresses: list[str] = []
        self._out: dict[int, asyncio.Queue[bytes]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._lost = ""
        _boxes[run, tile] = self._boxes
        worker.handlers.setdefault(OPERATION, _arrived)

    def begin(self, addresses: list[str]) -> None:
        """Set the addresses of the tiles."""
        self._addresses = addresses

    def send(self, to: int, message: bytes) -> None:
        """See Link."""
        if self._lost:
            raise LinkLost(self._lost)
        if self._addresses[to] == self._worker.address:
            _arrived(self._run, to, self._tile, message)
        else:
            self._loop.call_soon_threadsafe(self._hand_over, to, message)

    def receive(self, source: int) -> bytes:
        """See Link."""
        message = self._boxes[source].get()
        if message is None:
            self._boxes[source].put(None)
            raise LinkLost(self._lost or "closed")
        return message

    def close(self, why: str = "closed") -> None:
        """Make current and future waits raise LinkLost. Callable from any thread, repeatedly."""
        self._lost = self._lost or why
        _boxes.pop((self._run, self._tile), None)
        for box in self._boxes.values():
            box.put(None)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self._worker.loop.asyncio_loop
        return loop

    # -- on the worker's loop -----------------------------------------------------------------------------------------

    def _hand_over(self, to: int, message: bytes) -> None:
        if to not in self._out:
            self._out[to] = asyncio.Queue()
            self._tasks.append(asyncio.ensure_future(self._carry(to, self._out[to])))
        self._out[to].put_nowait(message)

    async def _carry(self, to: int, waiting: asyncio.Queue[bytes]) -> None:
        """Send queued messages for a tile, one after the other, over a separate connection."""
        from distributed.core import connect

        header = {"op": OPERATION, "reply": False, "run": self._run, "tile": to, "source": self._tile}
        try:
            comm = await connect(self._addresses[to], **self._worker.connection_args)
            try:
                while True:
                    await comm.write({**header, "data": await waiting.get()})
            finally:
                comm.abort()
        except (OSError, TimeoutError) as error:
            self.close(f"tile {to + 1} does not respond ({type(error).__name__})")

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


class TileActor:
    """One tile on this worker; its methods are called one after the other."""

    def __init__(self, run: str, tile: int, tiles: int) -> None:
        from distributed import get_worker

        self._name = (run, tile)
        self._worker = get_worker()
        self._link = WorkerLink(self._worker, run, tile, tiles)
        self._sent: dict[str, bytearray] = {}
        self._heard: deque[Mapping[str, Any]] = deque()
        self._run: TileRun | None = None
        self._reading = b""

    def offer(self) -> bytes:
        """Return whether this worker is free for the run, and its version of the program."""
        other_runs = any(run != self._name[0] for run, _ in _boxes)
        return pack({"busy": other_runs or runner.is_busy(), "version": version("ptylive")})

    def put(self, kind: str, piece: bytes) -> None:
        """Receive the next piece of the ``part`` of this tile, or of the ``state`` it resumes from."""
        self._sent.setdefault(kind, bytearray()).extend(piece)

    def start(self, addresses: list[str], threads: int, backend: str, keep_s: float) -> None:
        """Start; ``addresses``: of the workers holding the tiles. Raises RefinementError for damaged data."""
        from ptylive.engine.backend.cache import use_persistent_cache

        use_persistent_cache()
        keep_freed_memory()
        part = TilePart.of_bytes(bytes(self._sent.pop("part")))
        state = self._sent.pop("state", None)
        self._link.begin(addresses)
        run = TileRun(part, self._link, backend=backend, threads=threads, keep_s=keep_s)
        self._run = run
        weakref.finalize(self, _give_up, run, self._link)  # for when the requester is gone and Dask has released this
        begin = partial(run.run, self._heard.append, None if state is None else bytes(state))
        threading.Thread(target=begin, name="ptylive tile", daemon=True).start()

    def hear(self) -> bytes:
        """Return the messages since the last call."""
        return pack({"messages": [dict(self._heard.popleft()) for _ in range(len(self._heard))]})

    def kept(self, serial: int, start: int) -> bytes:
        """Return a piece of a kept state; empty at its end. Raises LookupError if the state is gone."""
        assert self._run is not None  # noqa: S101  (it has announced the state)
        if start == 0:
            self._reading = self._run.kept(serial)
        piece = self._reading[start : start + PIECE_BYTES]
        if not piece:
            self._reading = b""
        return piece

    def stop(self) -> None:
        """See Crew."""
        if self._run is not None:
            self._run.stop()

    def end(self) -> None:
        """End the tile in whatever state it is."""
        if self._run is not None:
            _give_up(self._run, self._link)
        else:
            self._link.close()


def _give_up(run: TileRun, link: WorkerLink) -> None:
    run.end()
    link.close()
