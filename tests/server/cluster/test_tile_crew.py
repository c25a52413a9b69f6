"""Tiles distributed over fake workers that are too few, are busy, or die."""

from types import SimpleNamespace

import pytest

from ptylive.engine.refine.tiles.crew import CrewBusy, CrewLost
from ptylive.schema import PtyliveError
from ptylive.server.cluster import tile_crew
from ptylive.server.cluster.tile_crew import ClusterWorkers
from ptylive.server.wire.messages import pack

VERSION = tile_crew.version("ptylive")


class Future:
    def __init__(self, value):
        self._value = value

    def result(self, timeout=None):
        if isinstance(self._value, Exception):
            raise self._value
        return self._value

    def cancel(self):
        pass


class Actor:
    """Calls to one tile; ``answers``: by method."""

    def __init__(self, run, tile, tiles, answers):
        self.tile, self.tiles, self.asked, self.answers = tile, tiles, [], answers

    def __getattr__(self, method):
        def call(*arguments):
            self.asked.append((method, *arguments))
            answer = self.answers.get(method)
            return Future(answer(*arguments) if callable(answer) else answer)

        return call


class MadeUpCluster:
    def __init__(self, workers, **answers):
        self.there, self.free, self.released = dict(workers), list(workers.items()), []
        self.answers = {"offer": pack({"busy": False, "version": VERSION}), "hear": pack({"messages": []}), **answers}
        self.client, self.made, self.places, self.alive = self, [], [], True

    def take(self):
        return self.free.pop(0) if self.free else None

    def release(self, address, *, rest=False):
        self.released.append((address, rest))

    def workers(self):
        return self.there

    def is_there(self):
        return self.alive

    def gone(self):
        return PtyliveError("the scheduler has gone", "start it again")

    def check_patience(self, waited_s):
        if waited_s > 5:
            raise PtyliveError("no workers")

    def submit(self, kind, *given, key, workers, **options):
        assert options == {"allow_other_workers": False, "actor": True, "pure": False}
        self.places += workers
        self.made.append(Actor(*given, self.answers))
        return Future(self.made[-1])


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(tile_crew, "GATHER_S", 0.0)
    monkeypatch.setattr(tile_crew, "POLL_S", 0.001)
    monkeypatch.setattr(tile_crew, "PIECE_BYTES", 4)


def crew_on(cluster, tiles=2, kept=None):
    return ClusterWorkers(cluster, tiles, "cpu", keep_s=3.0).crew(lambda tile: b"part %d" % tile, kept)


def test_every_tile_is_sent_what_it_needs_and_told_of_the_others():
    cluster = MadeUpCluster({"tcp://a:1": 2, "tcp://b:1": 4})
    with crew_on(cluster, kept=lambda tile: b"s%d" % tile):
        addresses = ["tcp://a:1", "tcp://b:1"]
        assert cluster.places == addresses
        for tile, (actor, threads) in enumerate(zip(cluster.made, (2, 4), strict=True)):
            whole = b"part %d" % tile
            assert actor.asked == [
                ("offer",),
                ("put", "part", whole[:4]),
                ("put", "part", whole[4:]),
                ("put", "state", b"s%d" % tile),
                ("start", addresses, threads, "cpu", 3.0),
            ]
    assert all(actor.asked[-1] == ("end",) for actor in cluster.made)
    assert cluster.released == [("tcp://a:1", False), ("tcp://b:1", False)]


def test_where_workers_are_few_neighbours_share_one_and_its_threads():
    cluster = MadeUpCluster({"tcp://a:1": 5, "tcp://b:1": 1})
    with crew_on(cluster, tiles=4):
        assert cluster.places == ["tcp://a:1", "tcp://a:1", "tcp://b:1", "tcp://b:1"]
        assert [actor.asked[-1][2] for actor in cluster.made] == [2, 2, 1, 1]


def test_what_tiles_say_and_keep_comes_with_their_number():
    kept = bytes(range(10))
    answers = {"hear": pack({"messages": [{"kind": "kept", "serial": 3}]})}
    cluster = MadeUpCluster({"tcp://a:1": 1}, kept=lambda serial, start: kept[start : start + 4], **answers)
    with crew_on(cluster) as crew:
        assert crew.heard() == [(0, {"kind": "kept", "serial": 3}), (1, {"kind": "kept", "serial": 3})]
        assert crew.kept(1, 3) == kept
        crew.stop()
        assert cluster.made[0].asked[-1] == ("stop",)


def test_a_worker_that_goes_is_lost():
    cluster = MadeUpCluster({"tcp://a:1": 1, "tcp://b:1": 1})
    with pytest.raises(CrewLost, match="tcp://b:1 is gone"), crew_on(cluster) as crew:
        del cluster.there["tcp://b:1"]
        crew.heard()
    assert cluster.made[0].asked[-1] == ("end",)
    assert cluster.made[1].asked[-1] != ("end",)


@pytest.mark.parametrize("method", ["put", "start", "hear"])
def test_a_worker_that_does_not_answer_is_lost(method):
    cluster = MadeUpCluster({"tcp://a:1": 1}, **{method: OSError("Unable to contact Actor's worker")})
    with pytest.raises(CrewLost, match="Unable to contact"), crew_on(cluster) as crew:
        crew.heard()


def test_a_state_that_is_gone_is_no_lost_worker():
    cluster = MadeUpCluster({"tcp://a:1": 1}, kept=KeyError(3))
    with crew_on(cluster) as crew, pytest.raises(LookupError):
        crew.kept(0, 3)


def test_a_busy_worker_is_waited_for():
    cluster = MadeUpCluster({"tcp://a:1": 1}, offer=pack({"busy": True, "version": VERSION}))
    with pytest.raises(CrewBusy), crew_on(cluster):
        pass
    assert cluster.released == [("tcp://a:1", True)]


def test_another_version_and_a_scheduler_that_has_gone_are_lines():
    cluster = MadeUpCluster({"tcp://a:1": 1}, offer=pack({"busy": False, "version": "0"}))
    with pytest.raises(PtyliveError, match="the worker tcp://a:1 has ptylive 0"), crew_on(cluster):
        pass
    cluster = MadeUpCluster({"tcp://a:1": 1}, hear=OSError("gone"))
    with pytest.raises(PtyliveError, match="the scheduler has gone"), crew_on(cluster) as crew:
        cluster.alive = False
        crew.heard()


def test_nobody_waits_for_ever_where_no_worker_comes(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(tile_crew, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda s: None))
    with pytest.raises(PtyliveError, match="no workers"), crew_on(MadeUpCluster({})):
        pass


def test_a_worker_that_died_before_it_was_given_a_tile_is_not_taken():
    cluster = MadeUpCluster({"tcp://a:1": 1, "tcp://b:1": 1})
    del cluster.there["tcp://a:1"]
    with crew_on(cluster):
        assert cluster.places == ["tcp://b:1", "tcp://b:1"]
    assert ("tcp://a:1", False) in cluster.released
