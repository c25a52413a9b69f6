"""Work in a process next to the server: a request in, messages out, a stop, and an end however it comes."""

import signal
import sys
import time

import psutil
import pytest
from quick_first import quick_first

from ptylive.server.refinement import job_process
from ptylive.server.refinement.job_process import ChildProcess

CODE = """
import sys
from ptylive.schema import PtyliveError
from ptylive.server.refinement.side_process import run
def work(request, send, stop):
    send({"kind": "doing", "message": request["say"]})
    if request["do"] == "wait":
        assert stop.wait(60)
        send({"kind": "doing", "message": "stopped"})
    elif request["do"] == "refuse":
        raise PtyliveError("no scan", "give one")
    elif request["do"] == "break":
        print("a library prints this")
        raise RuntimeError("x")
sys.exit(run(work, "the work"))
"""


@pytest.fixture
def process(monkeypatch):
    monkeypatch.setattr(job_process, "_command", lambda _module: (sys.executable, "-c", CODE))

    def start(do, say="hello"):
        return ChildProcess("any", {"say": say, "do": do})

    return start


@pytest.mark.parametrize(
    ("do", "last"),
    quick_first(
        [
            ("break", {"kind": "failed", "message": "the work failed: RuntimeError('x')"}),
            ("refuse", {"kind": "failed", "message": "no scan: give one"}),
            ("end", {"kind": "ended"}),
        ],
        2,
    ),
)
def test_it_says_how_it_ended(process, do, last):
    assert list(process(do).messages()) == [{"kind": "doing", "message": "hello"}, last]


def test_names_of_files_that_are_no_unicode_arrive_as_they_are(process):
    """Regression: a batch looked for ``bad?.h5``, which does not exist."""
    assert next(process("end", "bad\udcff.h5").messages())["message"] == "bad\udcff.h5"


def test_it_stops_when_it_is_told_to_and_runs_behind_everything_else(process):
    running = process("wait")
    messages = running.messages()
    assert next(messages)["message"] == "hello"
    assert psutil.Process(running._process.pid).nice() >= job_process.NICENESS
    running.tell({"stop": True})
    assert [message["kind"] for message in messages] == ["doing", "ended"]


def test_it_ends_with_whoever_asked(process):
    running = process("wait")
    assert next(running.messages())["message"] == "hello"
    running._process.stdin.close()
    deadline = time.monotonic() + 30
    while running._process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running._process.returncode not in (None, 0, -signal.SIGKILL)
