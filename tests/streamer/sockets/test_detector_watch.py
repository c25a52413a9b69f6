"""A detector that is not there is said once, and so is its return."""

from types import SimpleNamespace

import zmq
from dectris_tools import free_port
from stream_tools import running

from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.sockets import detector_watch
from ptylive.streamer.sockets.detector_watch import PATIENCE_S, DetectorWatch


def test_absence_and_return_are_each_said_once() -> None:
    connection, said, now = SimpleNamespace(peers=0), [], 100.0
    watch = DetectorWatch(connection, "tcp://eiger:9999", said.append, lambda: now)
    now += 0.9 * PATIENCE_S
    watch.tick()
    assert (watch.missing, said) == ("", [])
    for _ in range(3):
        now += 0.6 * PATIENCE_S
        watch.tick()
    assert said == [watch.missing] == ["no connection to the detector at tcp://eiger:9999: retrying"]
    connection.peers = 1
    for _ in range(2):
        watch.tick()
    assert (watch.missing, said[1:]) == ("", ["connected to the detector at tcp://eiger:9999"])
    connection.peers = 0
    now += 0.9 * PATIENCE_S  # a detector that is restarted
    watch.tick()
    assert watch.missing == ""


def test_a_detector_that_is_missing_is_told_until_it_is_there(monkeypatch):
    """Regression: libzmq retried in silence, also an address that was misspelt."""
    monkeypatch.setattr(detector_watch, "PATIENCE_S", 0.1)
    address = f"tcp://127.0.0.1:{free_port()}"
    with running(data=address, protocol=ProtocolSettings("dectris-v2")) as run:
        run.wait(
            lambda: run.receiver.status().detector_missing.startswith(f"no connection to the detector at {address}")
        )
        with zmq.Context() as context, context.socket(zmq.PUSH) as detector:
            detector.bind(address)
            run.wait(lambda: not run.receiver.status().detector_missing)
