"""The receiver's tests run twice: on the plain loop and on the compiled one."""

import pytest

from ptylive.streamer.receiver import Receiver
from ptylive.streamer.recording import earlier_runs

BOTH_LOOPS = (
    "test_receiver",
    "test_known_scans",
    "test_hostile_stream",
    "test_recovery",
    "test_dectris_v1",
    "test_senders",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_LOOPS:
        metafunc.fixturenames.append("receive_loop")
        metafunc.parametrize("receive_loop", ["plain", "compiled"], indirect=True)


@pytest.fixture
def receive_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Receivers started in a test use this loop from the first message on."""
    if request.param == "compiled":
        start = Receiver.start

        def accelerated(receiver: Receiver) -> None:
            assert receiver.accelerate()
            start(receiver)

        monkeypatch.setattr(Receiver, "start", accelerated)
    return str(request.param)


@pytest.fixture(autouse=True)
def a_start_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run left is read before frames, however busy the machine; tests of the bound set their own."""
    monkeypatch.setattr(earlier_runs, "START_S", 60.0)
    monkeypatch.setattr(earlier_runs, "CATALOGUE_S", 60.0)
