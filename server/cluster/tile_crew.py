"""The workers of a cluster as the crew of one refinement, its tiles on as many of them as are free."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ptylive.engine.refine.tiles.crew import Crew, CrewBusy, CrewLost, PartOf
from ptylive.engine.refine.tiles.tile_run import KEEP_SECONDS
from ptylive.schema import PtyliveError
from ptylive.server.cluster.remote_job import WorkerLost, answered
from ptylive.server.cluster.tile_actor import TileActor
from ptylive.server.cluster.transfer import PIECE_BYTES
from ptylive.server.wire.messages import unpack

if TYPE_CHECKING:
    from ptylive.server.cluster.opening import Cluster

CALL_S, END_S, MADE_S = 60.0, 10.0, 60.0
GATHER_S = 10.0
"""That workers who are not all there are waited for, those that a nanny starts again among them; then some have
several tiles."""
POLL_S = 0.2


class ClusterWorkers:
    """See :class:`ptylive.engine.refine.tiles.crew.Workers`."""

    def __init__(self, cluster: Cluster, tiles: int, backend: str, keep_s: float = KEEP_SECONDS) -> None:
        self.tiles = tiles
        self._cluster, self._backend, self._keep_s = cluster, backend, keep_s

    @contextmanager
    def crew(self, part_of: PartOf, kept: PartOf | None) -> Iterator[Crew]:
        """See Workers."""
        places = self._gathered()
        crew = ClusterCrew(self._cluster, self.tiles)
        try:
            crew.place(places)
            for tile in range(self.tiles):
                crew.send(tile, "part", part_of(tile))
                if kept is not None:
                    crew.send(tile, "state", kept(tile))
            crew.start(places, self._backend, self._keep_s)
            yield crew
        finally:
            crew.end()
            for address, _ in places:
                self._cluster.release(address, rest=address in crew.busy)

    def _gathered(self) -> list[tuple[str, int]]:
        """Workers with their threads, one for each tile where there are enough. Raises PtyliveError for none."""
        places: list[tuple[str, int]] = []
        since = time.monotonic()
        while True:
            while len(places) < self.tiles and (found := self._cluster.take()) is not None:
                places.append(found)
            waited = time.monotonic() - since
            if len(places) == self.tiles or (places and waited > GATHER_S):
                there = self._cluster.workers()
                for gone in [one for one in places if one[0] not in there]:
                    places.remove(gone)
                    self._cluster.release(gone[0])
                if places:
                    return places
            self._cluster.check_patience(waited)
            time.sleep(POLL_S)


class ClusterCrew:
    """See :class:`ptylive.engine.refine.tiles.crew.Crew`."""

    poll_s = POLL_S

    def __init__(self, cluster: Cluster, tiles: int) -> None:
        self._cluster, self._tiles = cluster, tiles
        self._run = f"ptylive-tiles-{secrets.token_hex(8)}"
        self._addresses: list[str] = []
        self._futures: list[Any] = []
        self._actors: list[Any] = []
        self.busy: set[str] = set()
        """Workers that another refinement keeps busy."""

    def place(self, places: list[tuple[str, int]]) -> None:
        """An actor for every tile, neighbours on the same worker where there are fewer workers."""
        self._addresses = [places[tile * len(places) // self._tiles][0] for tile in range(self._tiles)]
        for tile, address in enumerate(self._addresses):
            options = {"workers": [address], "allow_other_workers": False, "actor": True, "pure": False}
            begin = partial(self._cluster.client.submit, TileActor, self._run, tile, self._tiles)
            self._futures.append(self._asked(partial(begin, key=f"{self._run}-{tile}", **options)))
        for future, address in zip(self._futures, self._addresses, strict=True):
            actor = self._made(future, address)
            self._actors.append(actor)
            answer = unpack(self._asked(actor.offer().result))
            if answer["version"] != version("ptylive"):
                raise PtyliveError(
                    f"the worker has ptylive {answer['version']}, this machine {version('ptylive')}",
                    "install the same version on both",
                )
            if answer["busy"]:
                self.busy.add(address)
                raise CrewBusy(f"{address} is busy")

    def send(self, tile: int, kind: str, data: bytes) -> None:
        """What a tile needs, in pieces."""
        for start in range(0, len(data), PIECE_BYTES):
            self._call(tile, "put", kind, data[start : start + PIECE_BYTES])

    def start(self, places: list[tuple[str, int]], backend: str, keep_s: float) -> None:
        """All at work."""
        threads = dict(places)
        for tile, address in enumerate(self._addresses):
            here = max(1, threads[address] // self._addresses.count(address))
            self._call(tile, "start", self._addresses, here, backend, keep_s)

    def heard(self) -> list[tuple[int, Mapping[str, Any]]]:
        """See Crew."""
        gone = [address for address in self._addresses if address not in self._asked(self._cluster.workers)]
        if gone:
            raise CrewLost(f"{gone[0]} is gone")
        found = []
        for tile in range(self._tiles):
            found += [(tile, message) for message in unpack(self._call(tile, "hear"))["messages"]]
        return found

    def kept(self, tile: int, serial: int) -> bytes:
        """See Crew."""
        data = bytearray()
        while piece := self._call(tile, "kept", serial, len(data)):
            data += piece
        return bytes(data)

    def stop(self) -> None:
        """See Crew."""
        self._call(0, "stop")

    def end(self) -> None:
        """End all tiles, those of workers that do not answer with their workers."""
        there: Mapping[str, int] = {}
        with suppress(PtyliveError):
            there = self._cluster.workers()
        asked = []
        for address, actor in zip(self._addresses, self._actors, strict=False):
            if address in there:
                with suppress(Exception):
                    asked.append(actor.end())
        for one in asked:
            with suppress(Exception):
                one.result(timeout=END_S)
        for future in self._futures:
            with suppress(Exception):
                future.cancel()

    def _call(self, tile: int, method: str, *arguments: Any) -> Any:
        return self._asked(lambda: getattr(self._actors[tile], method)(*arguments).result(timeout=CALL_S))

    def _made(self, future: Any, address: str) -> Any:
        """The actor, once it is there. A worker that dies before would let us wait for ever."""
        give_up = time.monotonic() + MADE_S
        while True:
            try:
                return answered(lambda: future.result(timeout=1.0))
            except WorkerLost as error:
                slow = isinstance(error.__cause__, TimeoutError)
                if not slow or address not in self._cluster.workers() or time.monotonic() > give_up:
                    raise CrewLost(str(error)) from error

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """What a worker answers. Raises CrewLost where it does not; LookupError, PtyliveError as they are."""
        try:
            return answered(ask)
        except WorkerLost as error:
            if isinstance(error.__cause__, LookupError | PtyliveError):
                raise error.__cause__ from None
            if not self._cluster.is_there():
                raise self._cluster.gone() from error
            raise CrewLost(str(error)) from error
