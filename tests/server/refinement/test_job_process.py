"""A refinement in a process of this machine: its messages, those sent to it, and how it ends."""

import signal
import sys

import pytest

from ptylive.schema import Calibration
from ptylive.schema.preset import Preset
from ptylive.server.refinement import job_process
from ptylive.server.refinement.job_process import NO_GPU, JobProcess, Standby
from ptylive.server.refinement.refine_job import RefineJob

CODE = """
import os, sys
import msgpack
unpacker, out = msgpack.Unpacker(raw=False), os.fdopen(1, "wb")
def say(message):
    out.write(msgpack.packb(message)); out.flush()
def heard():
    while chunk := os.read(0, 2**16):
        unpacker.feed(chunk)
        yield from unpacker
messages = heard()
say({"kind": "note", "run": next(messages)["run"], "group": os.getpgid(0) == os.getpid()})
"""


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Starts a process with some code and a job."""

    def start(code, **options):
        monkeypatch.setattr(job_process, "_command", lambda _module: (sys.executable, "-c", CODE + code))
        return JobProcess(job(tmp_path), **options)

    return start


def job(folder):
    return RefineJob(folder / "a.h5", folder / "a_results.h5", "run7", Preset(), Calibration())


@pytest.fixture
def standby(monkeypatch):
    """Standby process with some code; receives the number of detector pixels as its argument."""
    made = []

    def of(code):
        monkeypatch.setattr(job_process, "_command", lambda _module: (sys.executable, "-c", code))
        made.append(Standby())
        return made[-1]

    yield of
    for one in made:
        one.close()


def until_it_has_ended(standby):
    standby._process.wait(30)


def test_the_job_is_handed_over_first_and_then_what_it_is_told(process):
    running = process('say({"kind": "told", **next(messages)})')
    heard = running.messages()
    group = True  # Ctrl-C at the terminal does not reach a process in a group of its own
    assert next(heard) == {"kind": "note", "run": "run7", "group": group}
    running.tell({"stop": True})
    assert list(heard) == [{"kind": "told", "stop": True}]
    assert running.ending() == "the refinement process ended with status 0"


def test_a_process_that_was_killed_says_why_that_may_be(process):
    running = process(f"os.kill(os.getpid(), {int(signal.SIGKILL)})")
    assert len(list(running.messages())) == 1
    assert "as the system does when memory runs out" in running.ending()


def test_an_end_is_one(process, monkeypatch):
    """The process ends because it is asked to, long before it would be killed."""
    monkeypatch.setattr(job_process, "TERMINATE_TIMEOUT_S", 300.0)
    running = process("next(messages)")
    heard = running.messages()
    next(heard)
    running.end()
    assert list(heard) == []
    assert running.ending() == f"the refinement process ended with status {-signal.SIGTERM}"
    running.tell({"stop": True})  # nobody is there any more
    running.end()


def test_one_that_stands_by_is_given_the_next_job(standby, tmp_path):
    waits = standby(f"import sys\nassert sys.argv[1] == '40'\n{CODE}say(next(messages))")
    assert waits.take() is None
    waits.prepare(40)
    there = waits._process.pid
    waits.prepare(64)  # it stays
    running = JobProcess(job(tmp_path), process=waits.take())
    heard = running.messages()
    assert next(heard) == {"kind": "note", "run": "run7", "group": True}
    running.tell({"stop": True})
    assert list(heard) == [{"stop": True}]
    assert running._process.pid == there
    assert running.ending() == "the refinement process ended with status 0"
    assert waits.take() is None  # no process is handed out twice


def test_one_that_has_died_is_given_nothing_and_another_stands_by(standby):
    waits = standby("import sys; sys.exit(1)")
    waits.prepare(40)
    until_it_has_ended(waits)
    assert waits.take() is None
    waits.prepare(40)
    assert waits._process is not None


def test_where_there_is_no_gpu_none_is_started_again(standby):
    waits = standby(f"import sys; sys.exit({NO_GPU})")
    waits.prepare(40)
    until_it_has_ended(waits)
    ended = waits._process
    waits.prepare(40)
    assert waits._process is ended
    assert waits.take() is None
    waits.prepare(40)
    assert waits._process is None


def test_nobody_stands_by_after_the_end(standby):
    waits = standby(CODE)
    waits.prepare(40)
    process = waits._process
    waits.close()
    assert process.returncode == -signal.SIGTERM
    waits.prepare(40)
    assert waits.take() is None
