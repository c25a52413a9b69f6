"""The receiver's tests run twice: on the plain loop and on the compiled one; some of them only in `make check-all`.

The compiled loop leaves all but frames to the plain one, which takes every message where two senders are about: what
these tests look at runs in both.
"""

import os
import subprocess

import pytest

from ptylive.streamer.receiver import Receiver
from ptylive.streamer.recording import earlier_runs
from ptylive.streamer.recording.converter import RecorderProcess

BOTH_LOOPS = (
    "test_receiver",
    "test_known_scans",
    "test_hostile_stream",
    "test_recovery",
    "test_dectris_v1",
    "test_senders",
    "test_strangers",
)
PLAIN_IS_SLOW = ("test_known_scans", "test_recovery", "test_senders", "test_strangers")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in BOTH_LOOPS:
        marks = [pytest.mark.slow] if module in PLAIN_IS_SLOW else []
        metafunc.parametrize("receive_loop", [pytest.param("plain", marks=marks), "compiled"], indirect=True)


@pytest.fixture(autouse=True)
def receive_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Receivers started in a test use this loop from the first message on; autouse, for tests do not name it."""
    wanted = str(getattr(request, "param", "plain"))
    if wanted == "compiled":
        start = Receiver.start

        def accelerated(receiver: Receiver) -> None:
            assert receiver.accelerate()
            start(receiver)

        monkeypatch.setattr(Receiver, "start", accelerated)
    return wanted


@pytest.fixture(autouse=True)
def a_start_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run left is read before frames, however busy the machine; tests of the bound set their own."""
    monkeypatch.setattr(earlier_runs, "START_S", 60.0)
    monkeypatch.setattr(earlier_runs, "CATALOGUE_S", 60.0)


SPARE: list[tuple[dict[str, str], subprocess.Popen[str]]] = []
"""Recorders that nobody uses, and the environment that each was started in."""


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def a_recorder_that_stays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of imports for each of some hundred tests: an idle recorder serves the next test too.

    It knows nothing of what it has recorded. Marked ``own_recorder``: tests that look at the process itself.
    """
    if request.node.get_closest_marker("own_recorder") is not None:
        return
    running, end = RecorderProcess._running, RecorderProcess.end

    def take_up(recorder: RecorderProcess) -> subprocess.Popen[str]:
        if recorder._process is None and SPARE:
            begun, process = SPARE.pop()
            if begun == environment():
                recorder._process = process
            else:
                process.stdin.close()
                process.wait(60)
        return running(recorder)

    def lay_down(recorder: RecorderProcess, *, kill: bool) -> None:
        process = recorder._process
        if kill or process is None or process.poll() is not None:
            return end(recorder, kill=kill)
        recorder._process = None
        SPARE.append((environment(), process))

    def dismiss(recorder: RecorderProcess) -> None:
        end(recorder, kill=False)
        recorder._process = None

    for name, instead in (("_running", take_up), ("end", lay_down), ("_dismiss", dismiss)):
        monkeypatch.setattr(RecorderProcess, name, instead)
