"""Workers of a cluster: which is free, how many there are, and a cluster that is not there."""

import importlib.util
import logging
import socket
import time

import pytest

from ptylive.schema import MetadataError, PtyliveError
from ptylive.server.cluster import opening
from ptylive.server.cluster.opening import Cluster, LaterOpened, opened
from ptylive.server.cluster.where import Where


class Client:
    """Client of a scheduler with these workers; None: the scheduler has gone."""

    scheduler = type("Scheduler", (), {"ncores": staticmethod(lambda: None)})()
    cluster = type("Jobs", (), {"workers": {}})()

    def __init__(self, workers):
        self.workers = workers

    def sync(self, function, callback_timeout):
        assert callback_timeout
        if self.workers is None:
            raise OSError("Timed out")
        return self.workers


def cluster(workers, kind="scheduler", threads=1):
    return Cluster(Client(workers), Where(kind, address="tcp://s:1"), threads)


def test_a_worker_has_one_job_at_a_time_and_all_of_its_threads():
    there = cluster({"tcp://a:1": 1, "tcp://b:1": 8}, threads=2)
    assert (there.take(), there.take(), there.take()) == (("tcp://a:1", 2), ("tcp://b:1", 8), None)
    there.release("tcp://b:1")
    assert there.take() == ("tcp://b:1", 8)


def test_a_worker_that_was_lost_rests(monkeypatch):
    there = cluster({"tcp://a:1": 1})
    there.take()
    there.release("tcp://a:1", rest=True)
    assert there.take() is None
    monkeypatch.setattr(time, "monotonic", lambda before=time.monotonic: before() + 2 * opening.REST_S)
    assert there.take() == ("tcp://a:1", 1)


def test_a_worker_that_can_do_no_job_is_passed_over_until_it_may_have_been_replaced(monkeypatch):
    there = cluster({"tcp://a:1": 1, "tcp://b:1": 1})
    there.reject("tcp://a:1", PtyliveError("a is too old", "install"))
    assert (there.take(), there.take()) == (("tcp://b:1", 1), None)
    there.reject("tcp://b:1", PtyliveError("b is too old", "install"))
    with pytest.raises(PtyliveError, match="a is too old"):
        there.take()
    monkeypatch.setattr(time, "monotonic", lambda before=time.monotonic: before() + 2 * opening.UNFIT_S)
    assert there.take() == ("tcp://a:1", 1)


def test_as_many_places_as_workers_and_one_while_none_has_come():
    assert cluster({"tcp://a:1": 1, "tcp://b:1": 1}).places() == 2
    assert cluster({}).places() == 1
    assert cluster(None).places() == 1


def test_a_scheduler_that_has_gone_is_a_line():
    there = cluster(None)
    with pytest.raises(PtyliveError, match=r"the Dask scheduler on tcp://s:1 is gone"):
        there.take()
    assert not there.is_there()
    assert cluster({}).is_there()


def test_workers_are_waited_for_as_long_as_somebody_may_start_them():
    there = cluster({})
    there.check_patience(opening.WORKERS_S - 1)
    with pytest.raises(PtyliveError, match="has no workers"):
        there.check_patience(opening.WORKERS_S + 1)
    cluster({}, "pbs").check_patience(1e6)
    cluster({"tcp://a:1": 1}).check_patience(1e6)


def test_jobs_that_have_ended_without_a_worker_are_waited_for_no_longer(monkeypatch):
    there, ended, now = cluster({}, "slurm"), {"jobs": ()}, [1000.0]
    monkeypatch.setattr(opening, "ended_jobs", lambda cluster, kind: ended["jobs"])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    there.check_patience(1e3)
    for jobs in (("7",), ("8",)):  # another one has taken its place
        ended["jobs"], now[0] = jobs, now[0] + opening.JOBS_S
        there.check_patience(1e3)
    there.check_patience(1e3)  # it is not contacted again at once
    now[0] += opening.JOBS_S
    with pytest.raises(PtyliveError, match="slurm has ended job 8 without starting a worker"):
        there.check_patience(1e3)


def test_without_dask_there_is_a_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PtyliveError) as raised, opened("tcp://a:1", 1, print):
        pass
    assert raised.value.line().endswith("pip install 'ptylive[cluster]'")
    with pytest.raises(PtyliveError, match="needs Dask distributed, which is not installed"):
        LaterOpened("tcp://a:1", 1)._connection()


def test_an_address_where_nothing_answers_is_a_line(monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    monkeypatch.setattr(opening, "CONNECT_S", 0.3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # but does not listen
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(PtyliveError, match=f"no Dask scheduler answers at {address} within 0.3 s"),
            opened(address, 1, print),
        ):
            pass
    for name in opening.OF_LOOPS:  # "Task exception was never retrieved" is nothing for a terminal
        assert not logging.getLogger(name).isEnabledFor(logging.ERROR)
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_what_is_no_cluster_is_told_before_a_server_starts():
    with pytest.raises(MetadataError, match="'nowhere' is not a cluster"):
        LaterOpened("nowhere", 1)
