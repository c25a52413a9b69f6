"""Who works on the tiles of a refinement: asked for by the run, provided by threads here or by a cluster's workers."""

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
"""The part of a tile; made when it is asked for, so that one is in memory at a time."""


class CrewLost(Exception):
    """A worker does not answer any more: the tiles have to begin anew from states that were kept."""


class CrewBusy(CrewLost):
    """A worker has another refinement: this one has to wait."""


class Crew(Protocol):
    """Workers that have the tiles of one run, each its own. All methods raise CrewLost."""

    @property
    def poll_s(self) -> float:
        """How often to ask what they have to say."""
        ...

    def heard(self) -> list[tuple[int, Mapping[str, Any]]]:
        """What tiles have said since, with their numbers; returns at once."""
        ...

    def kept(self, tile: int, serial: int) -> bytes:
        """A state that a tile has told of. Raises LookupError where it is gone."""
        ...

    def stop(self) -> None:
        """Ask for the end after the step that all are at."""
        ...


class Workers(Protocol):
    """Where tiles can be worked on."""

    @property
    def tiles(self) -> int:
        """How many are wanted."""
        ...

    def crew(self, part_of: PartOf, kept: PartOf | None) -> AbstractContextManager[Crew]:
        """All tiles at work, from the start or from kept states, until the end of the block.

        Raises CrewLost where a worker is lost meanwhile, PtyliveError where there are none.
        """
        ...


class Threads:
    """Tiles in threads of this process: for tests, and to see what the cut costs."""

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
        self._heard: deque[tuple[int, Mapping[str, Any]]] = deque()

    def begin(self, tile: int, run: TileRun, kept: bytes | None) -> None:
        """Start a tile."""

        def tell(message: Mapping[str, Any]) -> None:
            self._heard.append((tile, message))

        self._runs.append(run)
        self._threads.append(threading.Thread(target=run.run, args=(tell, kept), name=f"tile {tile}", daemon=True))
        self._threads[-1].start()

    def heard(self) -> list[tuple[int, Mapping[str, Any]]]:
        """See :class:`Crew`."""
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def kept(self, tile: int, serial: int) -> bytes:
        """See :class:`Crew`."""
        return self._runs[tile].kept(serial)

    def stop(self) -> None:
        """See :class:`Crew`."""
        self._runs[0].stop()

    def end(self) -> None:
        """Give up, however far they are."""
        for run in self._runs:
            run.end()

    def join(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join()
