"""The receiver's tests run twice, on the plain loop and on the compiled one; some of them only in `make check-all`.

The compiled loop leaves everything but frames to the plain loop, which takes all messages if two senders are active:
what these tests examine runs in both.
"""

import pytest
from kept_processes import a_reader_that_stays, a_recorder_that_stays

from ptylive.streamer.receiver import Receiver
from ptylive.streamer.recording import earlier_runs

__all__ = ["a_reader_that_stays", "a_recorder_that_stays"]

BOTH_LOOPS = (
    "test_receiver",
    "test_known_scans",
    "test_hostile_stream",
    "test_recovery",
    "test_senders",
    "test_strangers",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in BOTH_LOOPS:
        # other modules use the plain loop in every run
        loops = [pytest.param("plain", marks=pytest.mark.slow), "compiled"]
        metafunc.parametrize("receive_loop", loops, indirect=True)


@pytest.fixture(autouse=True)
def receive_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Receivers started in a test use this loop from the first message on; autouse, since tests do not name it."""
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
    """Leftovers of an earlier run are read before frames, however busy the machine; tests of the bound set others."""
    monkeypatch.setattr(earlier_runs, "START_S", 60.0)
    monkeypatch.setattr(earlier_runs, "CATALOGUE_S", 60.0)
