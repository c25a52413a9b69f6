"""Jobs running in parallel: how many run, a stop that reaches all of them, and an end that leaves none behind."""

import threading

import pytest

from ptylive.server.refinement.running_jobs import RunningJobs

S = 30.0


class MadeUp:
    """A job that sends one message, then nothing until it is stopped or ended."""

    def __init__(self):
        self.told, self.over, self.heard = [], threading.Event(), threading.Event()

    def messages(self):
        yield {"kind": "note"}
        assert self.over.wait(S)

    def tell(self, message):
        self.told.append(message)
        self.over.set()

    def end(self):
        self.over.set()


@pytest.fixture
def running():
    return RunningJobs(threading.Condition(threading.RLock()), "tests")


def follow(running, jobs):
    def one(number):
        for _ in running.messages(number, jobs[number]):
            jobs[number].heard.set()

    return one


def test_a_stop_reaches_every_job_once(running):
    jobs = [MadeUp(), MadeUp()]
    for number in range(2):
        running.begin(number, follow(running, jobs))
    assert all(job.heard.wait(S) for job in jobs)
    assert (len(running), running.begun) == (2, 2)
    running.stop()
    running.stop()
    running.end()
    assert [job.told for job in jobs] == [[{"stop": True}]] * 2
    assert (len(running), running.begun) == (0, 2)


def test_a_job_that_was_being_started_is_told_to_stop_once_it_listens(running):
    job, may_start = MadeUp(), threading.Event()

    def one(number):
        assert may_start.wait(S)
        list(running.messages(number, job))

    running.begin(0, one)
    assert len(running) == 1
    running.stop()
    may_start.set()
    running.end()
    assert job.told == [{"stop": True}]


def test_a_job_whose_follower_fails_counts_no_longer(running, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def one(_number):
        raise RuntimeError

    running.begin(0, one)
    running.end()
    assert len(running) == 0
