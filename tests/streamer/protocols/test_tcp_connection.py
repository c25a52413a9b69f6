"""The receiver on a Merlin port: simulated acquisitions, broken connections, garbage, a receiver that waits."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from dectris_tools import free_port
from merlin_tools import acquisition, counts, mpx
from stream_tools import PATIENCE_S, Running, digest, digests_of_file, running

from ptylive.schema import PtyliveError, ScanHeader, WireError
from ptylive.schema.metadata import overlay
from ptylive.schema.model import Array
from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.events import LogEvent
from ptylive.streamer.fast.merlin_pixels import CompiledRuns
from ptylive.streamer.protocols import ProtocolSettings, tcp_connection
from ptylive.streamer.protocols.merlin import runs
from ptylive.streamer.protocols.merlin.splitter import DATA_PORT, MpxSplitter
from ptylive.streamer.protocols.tcp_connection import MOST_QUEUED, DetectorConnection, event, host_and_port, is_gone
from ptylive.streamer.receiver import Receiver, ReceiverSettings

SHAPE = (12, 16)


def prepare(header: ScanHeader) -> ScanHeader:
    return overlay(header, {"scan.shape": [3, 4]})


SETTINGS = ProtocolSettings("merlin", prepare)


class Port:
    """A port like Merlin's, and the one connection to it."""

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.listener.settimeout(PATIENCE_S)
        self.port = self.listener.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.connection: socket.socket | None = None

    def accept(self) -> None:
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(PATIENCE_S)

    def send(self, data: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(data)

    def disconnect(self) -> None:
        assert self.connection is not None
        self.connection.close()
        self.connection = None

    def close(self) -> None:
        if self.connection is not None:
            self.disconnect()
        self.listener.close()


@contextmanager
def receiving(folder: Path | None = None, **settings: Any) -> Iterator[tuple[Running, Port]]:
    """A receiver that is connected to a port."""
    port = Port()
    try:
        with running(folder, data=port.address, protocol=SETTINGS, **settings) as run:
            port.accept()
            yield run, port
    finally:
        port.close()


def stream(messages: list[bytes]) -> bytes:
    return b"".join(map(mpx, messages))


def digests(stored: Array) -> dict[int, bytes]:
    """Digests of patterns as displayed."""
    return {k: digest(pattern[::-1]) for k, pattern in enumerate(stored)}


def lines(run: Running) -> list[str]:
    return [one.text for one in list(run.events) if isinstance(one, LogEvent) and one.level == "warning"]


def test_two_scans_one_after_the_other_are_recorded_bit_for_bit(tmp_path: Path) -> None:
    scans = [counts(SHAPE, 12, seed, 12) for seed in range(2)]
    with receiving(tmp_path) as (run, port):
        for k, scan in enumerate(scans):
            port.send(stream(acquisition(scan)))
            run.wait_for_ends(k + 1)
        assert [end.reason for end in run.ends()] == ["complete"] * 2
        assert list(run.frames.values()) == [digests(scan) for scan in scans]
        run.wait(lambda: sum(one.state == "complete" for one in run.recordings()) == 2)
        status = run.receiver.status()
        assert (status.rejected, status.duplicates, status.lost) == ({}, 0, 0)
    found = [digests_of_file(path) for path in sorted(tmp_path.glob("*.h5"))]
    assert sorted(found, key=str) == sorted((digests(scan) for scan in scans), key=str)
    assert lines(run) == []


@pytest.mark.parametrize("recorded", [False, True])
def test_frames_that_are_handed_on_as_they_came_are_the_same_ones(
    recorded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeats are recognised by their marks, and recorded frames are decoded first."""
    monkeypatch.setattr(runs, "_compiled", [CompiledRuns()])
    monkeypatch.setattr(runs, "_LEAST_KEPT_BYTES", 1)
    blocks: list[FrameBlock] = []
    take_block = Acquisition.take_block
    monkeypatch.setattr(Acquisition, "take_block", lambda self, block: (blocks.append(block), take_block(self, block)))
    scan = counts(SHAPE, 12, 1, 12)
    messages = acquisition(scan)
    with receiving(tmp_path if recorded else None) as (run, port):
        port.send(stream([*messages[:9], *messages[4:7], *messages[9:]]))
        (end,) = run.wait_for_ends()
        assert run.frames[end.uid] == digests(scan)
        assert (end.reason, end.summary.duplicates, run.receiver.status().rejected) == ("complete", 3, {})
        if recorded:
            run.wait(lambda: any(one.state == "complete" for one in run.recordings()))
    assert sum(len(block.index) for block in blocks) > 4
    assert [digests_of_file(path) for path in tmp_path.glob("*.h5")] == [digests(scan)] * recorded


def test_a_connection_lost_in_mid_scan_costs_what_was_under_way() -> None:
    scan = counts(SHAPE, 12, 1, 12)
    with receiving() as (run, port):
        messages = acquisition(scan)
        port.send(stream(messages[:5]) + mpx(messages[5])[:100])
        run.wait(lambda: run.receiver.status().frames == 4)
        port.disconnect()
        port.accept()
        port.send(stream(messages[6:]))
        run.wait(lambda: run.receiver.status().frames == 11)
        port.send(stream(acquisition(scan)))
        first, second = run.wait_for_ends(2)
        assert (first.reason, second.reason) == ("aborted", "complete")
        assert run.frames[first.uid] == {k: one for k, one in digests(scan).items() if k != 4}
        assert run.frames[second.uid] == digests(scan)
        assert run.receiver.status().rejected == {"truncated": 1}
        told = [line for line in lines(run) if port.address in line]
        assert [line.split(" to the")[0] for line in told] == ["no connection", "connected"]


def test_a_detector_that_is_not_there_yet() -> None:
    number = free_port()
    with running(data=f"tcp://127.0.0.1:{number}", protocol=SETTINGS) as run:
        run.wait(lambda: bool(lines(run)))
        port = Port(number)
        try:
            port.accept()
            scan = counts(SHAPE, 12, 1, 12)
            port.send(stream(acquisition(scan)))
            (end,) = run.wait_for_ends()
            assert run.frames[end.uid] == digests(scan)
            run.wait(lambda: len(lines(run)) == 2)
            assert "refused" in lines(run)[0]
        finally:
            port.close()


def test_garbage_costs_no_whole_frame_and_is_told_once() -> None:
    scan = counts(SHAPE, 12, 1, 12)
    with receiving() as (run, port):
        port.send(b"GARBAGE" * 1000)
        for message in acquisition(scan):
            port.send(mpx(message) + b"MPX,9999999999,MQ1," + b"\0" * 50)
        (end,) = run.wait_for_ends()
        assert run.frames[end.uid] == digests(scan)
        run.wait(lambda: run.receiver.status().rejected == {"not_mpx": 1, "oversized": 13})
        assert sum("is no Merlin" in line or "are not a Merlin" in line for line in lines(run)) == 1


def test_repeats_and_gaps_are_counted() -> None:
    scan = counts(SHAPE, 12, 1, 12)
    messages = acquisition(scan)
    with receiving() as (run, port):
        port.send(stream([*messages[:4], messages[2], *messages[6:]]))
        port.send(stream(acquisition(counts(SHAPE, 12, 2, 12))))
        first, second = run.wait_for_ends(2)
        assert (first.reason, second.reason) == ("aborted", "complete")
        summary = first.summary
        assert (len(run.frames[first.uid]), summary.duplicates) == (10, 1)


def test_a_scan_that_falls_silent_is_closed() -> None:
    with receiving(idle_timeout_s=1.0) as (run, port):
        port.send(stream(acquisition(counts(SHAPE, 12, 1, 12))[:6]))
        (end,) = run.wait_for_ends()
        assert (end.reason, len(run.frames[end.uid])) == ("aborted", 5)


def test_software_restarted_in_mid_scan_begins_another() -> None:
    first, second = (counts(SHAPE, 12, seed, 12) for seed in (1, 2))
    with receiving() as (run, port):
        port.send(stream(acquisition(first)[:6]))
        run.wait(lambda: run.receiver.status().frames == 5)
        port.disconnect()
        port.accept()
        port.send(stream(acquisition(second)))
        one, two = run.wait_for_ends(2)
        assert (one.reason, two.reason) == ("aborted", "complete")
        assert run.frames[two.uid] == digests(second)


def test_nothing_is_read_while_the_receiver_takes_nothing() -> None:
    """Waiting data are bounded by the queue and by TCP's buffers; then Merlin waits, and nothing is lost."""
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.setsockopt(zmq.RCVHWM, MOST_QUEUED)
    pull.setsockopt(zmq.RCVTIMEO, int(1000 * PATIENCE_S))
    pull.bind("inproc://here")
    port = Port()
    connection = DetectorConnection(context, port.address, "inproc://here", MpxSplitter, DATA_PORT)
    connection.start()
    port.accept()
    body = b"XYZ," + bytes(2**20)
    total, sent = 200, []

    def send() -> None:
        for k in range(total):
            port.send(mpx(body + b"%03d" % k))
            sent.append(k)

    thread = threading.Thread(target=send)
    thread.start()
    before = -1
    while before != len(sent):  # until nothing more is accepted
        before = len(sent)
        time.sleep(0.5)
    assert len(sent) < total
    received: list[bytes] = []
    while len(received) < total:
        assert pull.recv() == b""
        received += map(bytes, connection.taken())
    assert received == [body + b"%03d" % k for k in range(total)]
    thread.join(PATIENCE_S)
    connection.stop()
    port.close()
    context.destroy(linger=0)


@pytest.mark.skipif(not hasattr(socket, "SO_RCVLOWAT"), reason="the kernel's buffer cannot be asked to grow")
def test_the_kernels_buffer_is_made_large_and_every_byte_still_wakes_the_reader() -> None:
    port = Port()
    with socket.create_connection(("127.0.0.1", port.port)) as client:
        port.accept()
        assert tcp_connection._has_room(client)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= tcp_connection._KERNEL_BYTES
        client.settimeout(PATIENCE_S)
        port.send(b"x")
        assert client.recv(10) == b"x"
    port.close()


def test_a_fault_of_ours_ends_one_connection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = counts(SHAPE, 12, 1, 12)
    with receiving() as (run, port):

        def fails(*_: Any) -> None:
            monkeypatch.undo()
            raise RuntimeError("planted")

        monkeypatch.setattr(DetectorConnection, "_take", fails)
        port.send(b"x")
        run.wait(lambda: run.receiver.status().rejected == {"internal_error": 1})
        port.disconnect()
        port.accept()
        port.send(stream(acquisition(scan)))
        (end,) = run.wait_for_ends()
        assert run.frames[end.uid] == digests(scan)


def test_a_host_that_no_name_can_be_is_tried_again_like_one_that_is_away() -> None:
    with running(data="tcp://a..b:6342", protocol=SETTINGS) as run:
        run.wait(lambda: len(lines(run)) == 1)
        assert lines(run)[0].startswith("no connection to the detector at tcp://a..b:6342 (")
        assert run.receiver.status().detector_missing == lines(run)[0]


def test_a_receiver_ends_whatever_its_connection_does() -> None:
    port = Port()
    with running(data=port.address, protocol=SETTINGS):
        port.accept()
        port.send(b"MPX,0000001000,MQ1,")
    port.close()


def test_events_of_the_connection() -> None:
    assert event([b"MQ1,"]) is None
    assert event([b"MQ1,"] * 4) is None
    assert event([b"", b"note", b"a line", b""]) == event([b"", b"gone", b"a line", b""]) == "a line"
    assert [is_gone([first, b"gone", b"a line", b""]) for first in (b"", b"1")] == [True, False]
    assert not is_gone([b"", b"note", b"a line", b""])
    with pytest.raises(WireError, match="a line") as caught:
        event([b"", b"refused", b"a line", b"not_mpx"])
    assert caught.value.reason == "not_mpx"


@pytest.mark.parametrize(
    ("address", "found"),
    [("tcp://merlin", ("merlin", 6342)), ("merlin.lab:7", ("merlin.lab", 7)), ("tcp://[::1]:6000", ("::1", 6000))],
)
def test_host_and_port_of_an_address(address: str, found: tuple[str, int]) -> None:
    assert host_and_port(address, DATA_PORT) == found


@pytest.mark.parametrize("address", ["ipc:///x", "tcp://", "tcp://a:b", "tcp://a:70000", "tcp://a/b", "tcp://[::1"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(PtyliveError, match="not the address of a detector"):
        Receiver(ReceiverSettings(address, protocol=SETTINGS), on_event=print)


def test_patterns_differ() -> None:
    """The comparisons of the other tests do not succeed because of equal patterns."""
    assert len(set(digests(counts(SHAPE, 12, 1, 12)).values())) == 12
    assert not np.array_equal(counts(SHAPE, 12, 1), counts(SHAPE, 12, 1)[:, ::-1])
