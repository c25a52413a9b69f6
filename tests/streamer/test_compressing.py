"""Frames that become vectors before they are stored: nothing lost or duplicated, the same masks after a restart."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from dectris_tools import free_port
from replay_tools import native
from stream_tools import LOOPBACK, Running, compressed, connected, make_frames, make_header, messages_of, send

from ptylive.schema import Basis, FrameBatch, MetadataError, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.schema.model import Array, FloatArray, IndexArray
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer import compressing
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.compressing import CompressingInlet, Stored
from ptylive.streamer.events import LogEvent, StreamEvent
from ptylive.streamer.patience import Patience
from ptylive.streamer.protocols import ProtocolName, ProtocolSettings
from ptylive.streamer.protocols.inlet import Taken
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.source import open_source
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, PingMessage
from ptylive.streamer.wire.arrays import Buffer

MASKS = 3


@dataclass(frozen=True)
class Projection:
    """Products with the masks of a header."""

    header: ScanHeader

    def vectors(self, index: IndexArray, frames: Array) -> FloatArray:
        del index
        flat = frames.reshape(len(frames), -1).astype(np.float32)
        return flat @ self.header.arrays["masks"].reshape(MASKS, -1).T


@dataclass
class FirstPatterns:
    """Its masks are sums over thirds of the first patterns; notes what it was shown."""

    needed: int = 10
    refuses: bool = False
    shown: list[IndexArray] = field(default_factory=list)
    resumed: int = 0

    def sample_frames(self, header: ScanHeader) -> int:
        return self.needed

    def learn(self, header: ScanHeader, index: IndexArray, frames: Array) -> Projection:
        self.shown.append(index)
        if self.refuses:
            raise MetadataError("no disc is seen", "give beam_center_px")
        parts = np.array_split(frames, MASKS) if len(frames) else [np.ones((1, *header.detector_shape))] * MASKS
        masks = np.stack([part.sum(axis=0) for part in parts]).astype(np.float32)
        basis = Basis(kind="data", n_bright=MASKS)
        return Projection(replace(header, basis=basis, arrays={**header.arrays, "masks": masks}))

    def resume(self, header: ScanHeader) -> Projection:
        self.resumed += 1
        return Projection(header)


@contextmanager
def running(
    folder: Path,
    compression: FirstPatterns,
    *,
    idle_timeout_s: float = 60.0,
    data: str = LOOPBACK,
    protocol: ProtocolSettings | None = None,
) -> Iterator[Running]:
    patience, spoken = Patience(idle_timeout_s, 10.0), protocol or ProtocolSettings()
    settings = ReceiverSettings(data, folder, patience, protocol=spoken, compression=compression)
    events: list[StreamEvent] = []
    receiver = Receiver(settings, on_event=events.append)
    run = Running(receiver, events=events)
    thread = threading.Thread(target=run.collect, args=(receiver.ring.reader(),), daemon=True)
    thread.start()
    receiver.start()
    try:
        yield run
    finally:
        receiver.stop()
        thread.join(60)


def check(path: str | Path, frames: Array, missing: tuple[int, ...] = ()) -> None:
    """The recording holds the products of every frame with its masks."""
    with open_source(Path(path)) as source:
        assert not source.header.basis.is_raw
        wanted = Projection(source.header).vectors(np.arange(len(frames)), frames)
        there = np.setdiff1d(np.arange(len(frames)), missing)
        assert np.flatnonzero(source.received).tolist() == there.tolist()
        np.testing.assert_allclose(source.frames(there), wanted[there], rtol=1e-5)


def coded(message: FramesMessage, frames: Array) -> FramesMessage:
    parts = tuple(compressed(frames[message.first + k]) for k in range(message.count))
    return replace(message, codec="bslz4", parts=parts)


@pytest.mark.parametrize("codec", ["none", "bslz4"])
@pytest.mark.parametrize("needed", [0, 1, 10, 1000])
def test_a_scan_is_recorded_as_vectors(tmp_path: Path, codec: str, needed: int) -> None:
    header = make_header()
    frames, compression = make_frames(header), FirstPatterns(needed)
    messages = messages_of(header, frames)
    if codec == "bslz4":
        messages = [coded(message, frames) for message in messages]
    with running(tmp_path, compression) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages, EndMessage(header.uid, header.frames, "complete"))
        run.wait_for_state("complete")
        status = run.receiver.status()
        assert (status.frames, status.lost, status.duplicates, status.rejected) == (42, 0, 0, {})
        assert len(run.frames[header.uid]) == 42
    assert [len(index) for index in compression.shown] == [{0: 0, 1: 5, 10: 10, 1000: 42}[needed]]
    check(status.recording, frames)


def test_order_duplicates_and_damage(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    messages = [coded(message, frames) for message in messages_of(header, frames)]
    damaged = replace(messages[2], parts=(b"\x00" * 30, *messages[2].parts[1:]))
    short = replace(messages[3], codec="none", parts=(b"1234",))
    with running(tmp_path, FirstPatterns(), idle_timeout_s=0.5) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages[::-1][:5], short, damaged, messages[0], messages[0], *messages[1:2])
        run.wait_for_state("aborted")
        send(socket, EndMessage(header.uid, header.frames, "complete"))
        status = run.receiver.status()
        assert (status.frames, status.duplicates) == (36, 5)
        assert sum(status.rejected.values()) == 2
        run.receiver.stop()
        check(status.recording, frames, missing=(10, *range(15, 20)))


def test_what_is_not_of_the_scan_is_not_held(tmp_path: Path) -> None:
    header = make_header()
    frames, compression = make_frames(header), FirstPatterns()
    beyond = FramesMessage(header.uid, 40, 5, "none", (frames[:5].tobytes(),))
    with running(tmp_path, compression) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *[beyond] * 20, *messages_of(header, frames))
        run.wait_for_state("complete")
        assert run.receiver.status().rejected == {"beyond_scan": 20}
    assert compression.shown[0].tolist() == list(range(10))


def test_pings_let_a_late_server_join_and_open_nothing_twice(tmp_path: Path) -> None:
    header = make_header()
    frames, compression = make_frames(header), FirstPatterns()
    messages = messages_of(header, frames)
    with running(tmp_path, compression) as run, connected(run.address) as socket:
        ping = PingMessage(header.uid, header)
        send(socket, messages[0], ping, ping, *messages[1:5], ping, ArmMessage(header), *messages[5:], messages[0])
        run.wait_for_state("complete")
        status = run.receiver.status()
        assert status.frames == 42
        assert status.rejected == {"unknown_scan": 1}
        assert len(run.arms()) == 1
    assert len(compression.shown) == 1
    check(status.recording, frames)


def test_a_new_scan_ends_the_one_that_was_still_learning(tmp_path: Path) -> None:
    first, second = make_header(), make_header()
    frames, others = make_frames(first), make_frames(second, seed=1)
    many = FirstPatterns(needed=1000)  # the first ends because its sender is silent
    with running(tmp_path, many, idle_timeout_s=3.0) as run, connected(run.address) as socket:
        send(socket, ArmMessage(first), *messages_of(first, frames)[:3])
        send(socket, ArmMessage(second), *messages_of(second, others))
        ends = run.wait_for_ends(2)
        run.wait(lambda: len(list(tmp_path.glob("*.h5"))) == 2)  # which of them is shown last is random
    assert [(end.uid, end.reason, end.summary.placed) for end in ends] == [
        (second.uid, "complete", 42),
        (first.uid, "aborted", 15),
    ]
    two, one = sorted(tmp_path.glob("*.h5"), key=lambda path: path.stat().st_mtime_ns)
    check(one, frames, missing=tuple(range(15, 42)))
    check(two, others)


def test_two_senders_at_once_are_both_compressed(tmp_path: Path) -> None:
    first, second = make_header(), make_header()
    frames, others = make_frames(first), make_frames(second, seed=1)
    with running(tmp_path, FirstPatterns(needed=10)) as run, connected(run.address) as socket:
        send(socket, ArmMessage(first), *messages_of(first, frames)[:4], ArmMessage(second))
        for one, two in zip(messages_of(first, frames)[4:], messages_of(second, others), strict=False):
            send(socket, one, two)
        send(socket, *messages_of(second, others)[5:])
        run.wait_for_whole(first.uid)
        run.wait_for_whole(second.uid)
        assert run.receiver.status().rejected == {}
    assert len(list(tmp_path.glob("*.h5"))) == 2


def test_a_slow_sender_is_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressing, "LEARNING_S", 0.1)
    header = make_header()
    with running(tmp_path, FirstPatterns(needed=1000)) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages_of(header, make_frames(header))[:1])
        run.wait_for_state("scanning")
        assert run.receiver.status().frames == 5


def test_stopping_keeps_what_was_held(tmp_path: Path) -> None:
    header = make_header()
    frames, compression = make_frames(header), FirstPatterns(needed=1000)
    with running(tmp_path, compression) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages_of(header, frames)[:3])
        inlet = run.receiver._inlet
        run.wait(lambda: inlet._scan is not None and inlet._scan.count == 15)  # type: ignore[attr-defined]
    (recording,) = tmp_path.glob("*.h5")
    check(recording, frames, missing=tuple(range(15, 42)))


def test_without_a_basis_frames_are_recorded(tmp_path: Path) -> None:
    header = make_header()
    with running(tmp_path, FirstPatterns(refuses=True)) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages_of(header, make_frames(header)))
        run.wait_for_state("complete")
        said = [event.text for event in run.events if isinstance(event, LogEvent)]
        assert any("recorded as frames: no disc is seen: give beam_center_px" in text for text in said)
    with open_source(Path(run.receiver.status().recording)) as source:
        assert source.header.basis.is_raw
        assert source.received.all()


def test_a_scan_of_vectors_passes(tmp_path: Path) -> None:
    header = make_header()
    frames, compression = make_frames(header), FirstPatterns()
    maker = compression.learn(header, np.arange(42), frames)
    vectors = maker.vectors(np.arange(42), frames)
    with running(tmp_path, compression) as run, connected(run.address) as socket:
        send(socket, ArmMessage(maker.header), *messages_of(header, vectors))
        run.wait_for_state("complete")
        assert run.receiver.status().rejected == {}
    check(run.receiver.status().recording, frames)
    assert len(compression.shown) == 1


@pytest.mark.parametrize("first_word", ["ping", "arm", "frames"])
def test_after_a_restart_the_masks_are_those_of_the_journal(tmp_path: Path, first_word: str) -> None:
    header = make_header()
    frames = make_frames(header)
    messages = messages_of(header, frames)
    with running(tmp_path, FirstPatterns()) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages[:4])
        run.wait(lambda: run.receiver.safe_ranges(header.uid) == [(0, 20)])
        journal = next(tmp_path.glob("*.journal")).read_bytes()
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "a.journal").write_bytes(journal)  # as a kill would have left it
    compression = FirstPatterns()
    with running(tmp_path, compression) as run, connected(run.address) as socket:
        run.wait(lambda: bool(run.arms()))
        begin = {"ping": [PingMessage(header.uid, header)], "arm": [ArmMessage(header)], "frames": []}[first_word]
        send(socket, *begin, *messages[2:])
        run.wait_for_state("complete")
        status = run.receiver.status()
        assert (status.frames, status.duplicates, status.rejected) == (42, 10, {})
        assert run.arms()[0].resumed
    assert (compression.shown, compression.resumed) == ([], 1)
    check(tmp_path / "a.h5", frames)


@pytest.mark.parametrize("protocol", ["dectris-v1", "dectris-v2"])
def test_the_images_of_a_detector_become_vectors(tmp_path: Path, protocol: ProtocolName) -> None:
    path = native(tmp_path / "scan.h5")
    with open_source(path) as source:
        frames = source.frames(np.arange(source.frame_count))
    address = f"tcp://127.0.0.1:{free_port()}"
    speaking = ProtocolSettings(protocol, lambda header: overlay(header, {"scan_shape": (20, 20)}))
    with running(tmp_path / "out", FirstPatterns(), data=address, protocol=speaking) as run:
        replay(path, ReplaySettings(to=address, protocol=protocol))
        run.wait_for_state("complete")
        status = run.receiver.status()
        assert (status.frames, status.lost, status.rejected) == (400, 0, {})
    check(status.recording, frames)


def test_a_resend_of_a_complete_scan_changes_nothing(tmp_path: Path) -> None:
    header = make_header()
    frames, compression = make_frames(header), FirstPatterns()
    messages = messages_of(header, frames)
    with running(tmp_path, compression) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages)
        run.wait_for_state("complete")
    with running(tmp_path, compression) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages)
        run.wait(lambda: run.receiver.status().duplicates == 42)
        assert run.receiver.status().rejected == {}
        assert run.items == []
    assert len(compression.shown) == 1
    (recording,) = tmp_path.iterdir()
    check(recording, frames)


def test_a_long_scan_goes_on_beside_many_short_ones(tmp_path: Path) -> None:
    """Two senders: the slow one is not forgotten among the many that come and go."""
    long = make_header()
    frames = make_frames(long)
    messages = messages_of(long, frames, batch=7)
    with (
        running(tmp_path, FirstPatterns(needed=5)) as run,
        connected(run.address) as slow,
        connected(run.address) as quick,
    ):
        send(slow, ArmMessage(long), messages[0])
        for message in messages[1:]:
            short = make_header((3, 4))
            first, *others = messages_of(short, make_frames(short))
            send(quick, ArmMessage(short), first)
            run.wait(lambda uid=short.uid: bool(run.frames.get(uid)))  # type: ignore[misc]
            send(slow, message)
            run.wait(lambda last=message.first: last in run.frames.get(long.uid, {}))  # type: ignore[misc]
            send(quick, *others)
            run.wait_for_whole(short.uid)
        run.wait_for_whole(long.uid)
        assert run.receiver.status().rejected == {}
    (recording,) = [path for path in tmp_path.glob("*.h5") if uid_of(path) == long.uid]
    check(recording, frames)


def uid_of(path: Path) -> str:
    with open_source(path) as source:
        return source.header.uid


@dataclass
class Coming:
    """An inlet that accepts something whatever comes."""

    taken: list[Taken]
    holding = False

    def take(self, parts: Sequence[Buffer]) -> list[Taken]:
        return self.taken

    def flush(self) -> tuple[()]:
        return ()

    def template(self) -> None:
        return None

    def advance(self, number: int) -> None:
        pass


def test_frames_that_are_handed_on_as_they_came_become_the_same_vectors() -> None:
    header = make_header()
    messages = messages_of(header, make_frames(header))

    def block(message: FramesMessage) -> FrameBlock:
        index = np.arange(message.first, message.first + message.count)
        data = np.frombuffer(message.parts[0], np.uint8)
        return FrameBlock(FrameBatch(header.uid, index, np.empty(0)), "none", decode=lambda: data)

    def vectors(frames: Sequence[Taken]) -> list[tuple[int, bytes]]:
        stored = Stored(lambda header: None, lambda: None, lambda: False)
        inlet = Coming([ArmMessage(header), *frames])
        made = CompressingInlet(inlet, FirstPatterns(), stored, pytest.fail, pytest.fail)
        out = [*made.take([]), *made.finish()]
        return [(one.first, bytes(one.parts[0])) for one in out if isinstance(one, FramesMessage)]

    found = vectors([block(message) for message in messages])
    assert found == vectors(messages) and len(found) == len(messages)


def test_masks_are_not_made_before_it_is_known_whether_there_are_stored_ones() -> None:
    header = make_header()
    messages, compression = messages_of(header, make_frames(header)), FirstPatterns(needed=0)
    known, stored = [True, True], FirstPatterns().learn(header, np.arange(0), make_frames(header))

    still = Stored(lambda _: stored.header, lambda: None, lambda: False, lambda _: bool(known) and known.pop())
    inlet = CompressingInlet(Coming([ArmMessage(header), *messages[:1]]), compression, still, pytest.fail, pytest.fail)
    assert not list(inlet.take([]))
    (arm, *rest) = inlet.flush()
    assert isinstance(arm, ArmMessage) and arm.header is stored.header
    assert (len(rest), compression.resumed, compression.shown) == (1, 1, [])
