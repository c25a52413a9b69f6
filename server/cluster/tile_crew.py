"""The workers of a cluster as the crew of one refinement, with its tiles spread over as many workers as are free."""

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
"""How long to wait for missing workers, including those restarted by a nanny, before some workers take several
tiles."""
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
        """Gather workers with their threads, one per tile if there are enough. Raises PtyliveError if there is none."""
        places: list[tuple[str, int]] = []
        since = time.monotonic()
        while True:
            while len(places) < self.tiles and (found := self._cluster.take()) is not None:
                places.append(found)
            waited = time.monotonic() - since
            if len(places) == self.tiles or (places and waited > GATHER_S):
                present = self._cluster.workers()
                for lost in [entry for entry in places if entry[0] not in present]:
                    places.remove(lost)
                    self._cluster.release(lost[0])
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
        """Workers kept busy by another refinement."""

    def place(self, places: list[tuple[str, int]]) -> None:
        """Create an actor for every tile; with fewer workers than tiles, neighbouring tiles share a worker."""
        self._addresses = [places[tile * len(places) // self._tiles][0] for tile in range(self._tiles)]
        for tile, address in enumerate(self._addresses):
            options = {"workers": [address], "allow_other_workers": False, "actor": True, "pure": False}
            begin = partial(self._cluster.client.submit, TileActor, self._run, tile, self._tiles)
            self._futures.append(self._answer_of(partial(begin, key=f"{self._run}-{tile}", **options)))
        for future, address in zip(self._futures, self._addresses, strict=True):
            actor = self._actor_of(future, address)
            self._actors.append(actor)
            answer = unpack(self._answer_of(actor.offer().result))
            if answer["version"] != version("ptylive"):
                raise PtyliveError(
                    f"the worker {address} has ptylive {answer['version']}, this machine {version('ptylive')}",
                    "install the same version on both",
                )
            if answer["busy"]:
                self.busy.add(address)
                raise CrewBusy(f"{address} is busy")

    def send(self, tile: int, kind: str, data: bytes) -> None:
        """Send data that a tile needs, in pieces."""
        for start in range(0, len(data), PIECE_BYTES):
            self._call(tile, "put", kind, data[start : start + PIECE_BYTES])

    def start(self, places: list[tuple[str, int]], backend: str, keep_s: float) -> None:
        """Start all tiles."""
        threads = dict(places)
        for tile, address in enumerate(self._addresses):
            share = max(1, threads[address] // self._addresses.count(address))
            self._call(tile, "start", self._addresses, share, backend, keep_s)

    def heard(self) -> list[tuple[int, Mapping[str, Any]]]:
        """See Crew."""
        lost = [address for address in self._addresses if address not in self._answer_of(self._cluster.workers)]
        if lost:
            raise CrewLost(f"{lost[0]} is gone")
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
        """End all tiles; those on workers that do not answer end with their workers."""
        present: Mapping[str, int] = {}
        with suppress(PtyliveError):
            present = self._cluster.workers()
        ending = []
        for address, actor in zip(self._addresses, self._actors, strict=False):
            if address in present:
                with suppress(Exception):
                    ending.append(actor.end())
        for reply in ending:
            with suppress(Exception):
                reply.result(timeout=END_S)
        for future in self._futures:
            with suppress(Exception):
                future.cancel()

    def _call(self, tile: int, method: str, *arguments: Any) -> Any:
        return self._answer_of(lambda: getattr(self._actors[tile], method)(*arguments).result(timeout=CALL_S))

    def _actor_of(self, future: Any, address: str) -> Any:
        """Wait for the actor and return it, with a time limit in case the worker dies first."""
        give_up = time.monotonic() + MADE_S
        while True:
            try:
                return answered(lambda: future.result(timeout=1.0))
            except WorkerLost as error:
                slow = isinstance(error.__cause__, TimeoutError)
                if not slow or address not in self._cluster.workers() or time.monotonic() > give_up:
                    raise CrewLost(str(error)) from error

    def _answer_of(self, ask: Callable[[], Any]) -> Any:
        """Return a worker's answer. Raises CrewLost if there is none; LookupError and PtyliveError pass through."""
        try:
            return answered(ask)
        except WorkerLost as error:
            if isinstance(error.__cause__, LookupError | PtyliveError):
                raise error.__cause__ from None
            if not self._cluster.is_there():
                raise self._cluster.gone() from error
            raise CrewLost(str(error)) from error
