"""Workers for the tiles of a refinement: requested by the run, provided by threads here or by a cluster's workers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from ptylive.engine.refine.tiles.links import ThreadLinks
from ptylive.engine.refine.tiles.tile_part import TilePart
from ptylive.engine.refine.tiles.tile_run import KEEP_SECONDS, TileRun

PartOf = Callable[[int], bytes]
"""Returns the part of a tile; called on demand, so that only one part is in memory at a time."""


class CrewLost(Exception):
    """A worker no longer answers: the tiles must restart from saved states."""


class CrewBusy(CrewLost):
    """A worker is busy with another refinement: this one must wait."""


class Crew(Protocol):
    """Workers for the tiles of one run, one tile each. All methods raise CrewLost."""

    @property
    def poll_s(self) -> float:
        """Polling interval for messages."""
        ...

    def heard(self) -> list[tuple[int, Mapping[str, Any]]]:
        """Messages from tiles since the last call, with the tiles' numbers; returns at once."""
        ...

    def kept(self, tile: int, serial: int) -> bytes:
        """A state that a tile has announced. Raises LookupError if it no longer exists."""
        ...

    def stop(self) -> None:
        """Request the end of the run after the current step of all tiles."""
        ...


class Workers(Protocol):
    """Provider of workers for tiles."""

    @property
    def tiles(self) -> int:
        """Number of workers requested."""
        ...

    def crew(self, part_of: PartOf, kept: PartOf | None) -> AbstractContextManager[Crew]:
        """Start all tiles, from the beginning or from saved states, and run them until the end of the block.

        Raises CrewLost if a worker is lost meanwhile, PtyliveError if there are none.
        """
        ...


class Threads:
    """Tiles in threads of this process: for tests, and to measure the cost of the cut."""

    def __init__(self, tiles: int, keep_s: float = KEEP_SECONDS, backend: str = "cpu") -> None:
        self.tiles, self._keep_s, self._backend = tiles, keep_s, backend

    @contextmanager
    def crew(self, part_of: PartOf, kept: PartOf | None) -> Iterator[Crew]:
        """See :class:`Workers`."""
        links = ThreadLinks(self.tiles)
        crew = ThreadCrew()
        for tile in range(self.tiles):
            part = TilePart.of_bytes(part_of(tile))
            run = TileRun(part, links.of(tile), backend=self._backend, keep_s=self._keep_s)
            crew.begin(tile, run, None if kept is None else kept(tile))
        try:
            yield crew
        finally:
            crew.end()
            links.close()
            crew.join()


class ThreadCrew:
    """See :class:`Crew`."""

    poll_s = 0.01

    def __init__(self) -> None:
        self._runs: list[TileRun] = []
        self._threads: list[threading.Thread] = []
        self._messages: deque[tuple[int, Mapping[str, Any]]] = deque()

    def begin(self, tile: int, run: TileRun, saved: bytes | None) -> None:
        """Start a tile."""

        def report(message: Mapping[str, Any]) -> None:
            self._messages.append((tile, message))

        self._runs.append(run)
        self._threads.append(threading.Thread(target=run.run, args=(report, saved), name=f"tile {tile}", daemon=True))
        self._threads[-1].start()

    def heard(self) -> list[tuple[int, Mapping[str, Any]]]:
        """See :class:`Crew`."""
        return [self._messages.popleft() for _ in range(len(self._messages))]

    def kept(self, tile: int, serial: int) -> bytes:
        """See :class:`Crew`."""
        return self._runs[tile].kept(serial)

    def stop(self) -> None:
        """See :class:`Crew`."""
        self._runs[0].stop()

    def end(self) -> None:
        """Abandon all tiles in whatever state they are."""
        for run in self._runs:
            run.end()

    def join(self) -> None:
        """Wait until all tiles have ended."""
        for thread in self._threads:
            thread.join()
