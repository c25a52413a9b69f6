"""A TCP proxy that reproduces network faults between any two programs (ZeroMQ's protocol is plain TCP).

::

    with FaultyProxy("tcp://127.0.0.1:9999", ProxyFaults(latency_s=0.05, reset_after_bytes=2**20)) as proxy:
        replay(path, ReplaySettings(to=proxy.address))
        proxy.faults = ProxyFaults()      # from now on nothing goes wrong
"""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_CHUNK_BYTES = 2**16
_STALL_POLL_S = 0.02


@dataclass(frozen=True)
class ProxyFaults:
    """Faults of every connection. seed: the same seed, the same faults.

    latency_s, jitter_s: delay of each piece, and its random part; bandwidth: bytes/s in each direction, None for
    unlimited; slice_bytes: pieces are cut to this size; reset_after_bytes: the connection is cut after this many bytes
    from the client, in the middle of any message, each time anew; flip_every_bytes: one of this many bytes from the
    client has a bit flipped (on average); stalled: nothing moves, and neither side is notified (a half-open
    connection).
    """

    seed: int = 0
    latency_s: float = 0.0
    jitter_s: float = 0.0
    bandwidth: float | None = None
    slice_bytes: int | None = None
    reset_after_bytes: int | None = None
    flip_every_bytes: int | None = None
    stalled: bool = False


class FaultyProxy:
    """Listens on a free loopback port (``address``) and connects each client to ``target``. A context manager.

    ``faults`` may be set at any time and applies to data that arrive later. connections: made so far; passed: bytes
    handed from clients to the target; resets: connections cut on purpose.
    """

    def __init__(self, target: str, faults: ProxyFaults | None = None) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 0)
        self.faults = faults or ProxyFaults()
        self.connections = self.passed = self.resets = 0
        self.address = ""
        self._chance = random.Random(self.faults.seed)  # noqa: S311  (repeatable, not secret)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> None:
        """Start listening."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Cut all connections and stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def reset(self) -> None:
        """Cut all connections now; clients may reconnect."""
        self._loop.call_soon_threadsafe(self._cut)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._cut()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client: two pipes, ended together."""
        self.connections += 1
        self._writers.add(writer)
        with suppress(OSError):
            forward, back = await asyncio.open_connection(*self._target)
            self._writers.add(back)
            pipes = {asyncio.create_task(self._pipe(*way)) for way in ((reader, back, True), (forward, writer, False))}
            self._pipes |= pipes
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)
            self._pipes -= pipes
            self._end(back)
        self._end(writer)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: bool) -> None:
        """Forward bytes from one side to the other, until it closes or is due to be cut."""
        bytes_left = self.faults.reset_after_bytes
        while data := await reader.read(self.faults.slice_bytes or _CHUNK_BYTES):
            while self.faults.stalled:
                await asyncio.sleep(_STALL_POLL_S)
            await self._delay(len(data))
            if client:
                cut = None if self.faults.reset_after_bytes is None else bytes_left
                data = self._flipped(data[:cut])  # data behind the cut are lost
                self.passed += len(data)
                bytes_left = None if bytes_left is None else bytes_left - len(data)
            writer.write(data)
            await writer.drain()
            if bytes_left is not None and bytes_left <= 0 and self.faults.reset_after_bytes is not None:
                self.resets += 1
                writer.transport.abort()
                return

    async def _delay(self, nbytes: int) -> None:
        faults = self.faults
        seconds = faults.latency_s + faults.jitter_s * self._chance.random()
        seconds += 0.0 if faults.bandwidth is None else nbytes / faults.bandwidth
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _flipped(self, data: bytes) -> bytes:
        """Return the bytes, occasionally with a flipped bit."""
        every = self.faults.flip_every_bytes
        if every is None or self._chance.random() >= len(data) / every:
            return data
        changed = bytearray(data)
        changed[self._chance.randrange(len(changed))] ^= 1 << self._chance.randrange(8)
        return bytes(changed)

    def _cut(self) -> None:
        for writer in list(self._writers):
            self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()
