"""The receiver: in any order, however often, with any other traffic: every valid frame is placed once and recorded."""

import errno
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from stream_tools import (
    Running,
    compressed,
    connected,
    digest,
    digests_of_file,
    make_frames,
    make_header,
    messages_of,
    running,
    send,
)

from ptylive.schema import Detector, PtyliveError, ScanHeader
from ptylive.streamer.events import EndEvent
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, PingMessage, encode


def digests(frames: Any) -> dict[int, bytes]:
    return {number: digest(frame) for number, frame in enumerate(frames)}


def send_scan(run: Running, scan_header: ScanHeader, messages: list[FramesMessage], *, end: bool = True) -> None:
    with connected(run.address) as socket:
        send(socket, ArmMessage(scan_header), *messages)
        if end:
            send(socket, EndMessage(scan_header.uid, scan_header.frames, "complete"))


def test_a_scan_arrives_whole_and_is_recorded(tmp_path: Path) -> None:
    scan_header = make_header()
    frames = make_frames(scan_header)
    with running(tmp_path) as run:
        assert run.receiver.status().state == "waiting"
        send_scan(run, scan_header, messages_of(scan_header, frames))
        run.wait_for_state("complete")
        status = run.receiver.status()
        assert (status.expected, status.received, status.frames, status.lost) == (42, 42, 42, 0)
        assert (status.series, status.uid, status.rejected) == ("test", scan_header.uid, {})
        assert run.frames[scan_header.uid] == digests(frames)
        assert [type(item).__name__ for item in run.items] == ["ArmEvent", "EndEvent"]
        assert run.ends()[0].reason == "complete"
        assert run.receiver.safe_ranges(scan_header.uid) == [(0, 42)]
        assert digests_of_file(Path(status.recording)) == digests(frames)
        run.wait(lambda: [event.state for event in run.recordings()] == ["writing", "converting", "complete"])
    assert [path.suffix for path in tmp_path.iterdir()] == [".h5"]


def test_shuffled_and_repeated_messages_from_three_senders(tmp_path: Path) -> None:
    scan_header = make_header((20, 20))
    frames = make_frames(scan_header)
    messages = messages_of(scan_header, frames, batch=3) * 2
    random.Random(5).shuffle(messages)
    with running(tmp_path) as run:
        with connected(run.address) as one, connected(run.address) as two, connected(run.address) as three:
            for socket in (one, two, three):
                send(socket, ArmMessage(scan_header))
            for k, message in enumerate(messages):
                send((one, two, three)[k % 3], message)
            run.wait_for_state("complete")
            run.wait(lambda: run.receiver.status().duplicates == 400)
        status = run.receiver.status()
        assert (status.frames, status.lost, status.received) == (400, 0, 800)
        assert status.late > 0
        assert run.frames[scan_header.uid] == digests(frames)
        assert digests_of_file(Path(status.recording)) == digests(frames)


def test_overlapping_messages_place_each_frame_once(tmp_path: Path) -> None:
    scan_header = make_header()
    frames = make_frames(scan_header)
    parts = tuple(compressed(frame) for frame in frames)
    messages = [
        *messages_of(scan_header, frames, batch=7)[::2],
        FramesMessage(scan_header.uid, 0, 30, "bslz4", parts[:30]),
        FramesMessage(scan_header.uid, 20, 22, "none", (frames[20:].tobytes(),)),
    ]
    with running(tmp_path) as run:
        send_scan(run, scan_header, messages)
        run.wait_for_state("complete")
        assert run.frames[scan_header.uid] == digests(frames)
        assert digests_of_file(Path(run.receiver.status().recording)) == digests(frames)


def test_lost_frames_are_counted_and_left_out(tmp_path: Path) -> None:
    scan_header = make_header()
    frames = make_frames(scan_header)
    messages = [message for message in messages_of(scan_header, frames) if message.seq != 3]
    wanted = {n: d for n, d in digests(frames).items() if not 15 <= n < 20}
    with running(tmp_path, idle_timeout_s=1.0) as run:
        send_scan(run, scan_header, messages)
        run.wait_for_state("incomplete")
        status = run.receiver.status()
        assert (status.frames, status.lost) == (37, 5)
        assert run.frames[scan_header.uid] == wanted
        assert run.receiver.safe_ranges(scan_header.uid) == [(0, 15), (20, 42)]
        assert digests_of_file(Path(status.recording)) == wanted
        assert run.ends()[0].summary.lost == 5


def test_silence_ends_a_scan_as_aborted_but_not_before_its_first_frame(tmp_path: Path) -> None:
    scan_header = make_header()
    with running(tmp_path, idle_timeout_s=0.2) as run, connected(run.address) as socket:
        send(socket, ArmMessage(scan_header))
        run.wait_for_state("armed")
        with pytest.raises(AssertionError):
            run.wait(lambda: bool(run.ends()), timeout_s=0.5)
        send(socket, messages_of(scan_header, make_frames(scan_header))[0])
        run.wait_for_state("aborted")
        assert run.ends()[0].reason == "aborted"
        assert run.ends()[0].summary.lost == 37
        run.wait_for_state("aborted")


def test_a_scan_without_frames_leaves_no_file_and_says_so(tmp_path: Path) -> None:
    first, second = make_header(), make_header()
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(first), ArmMessage(second))
        run.wait_for_ends()
        assert [event.state for event in run.recordings() if event.uid == first.uid] == ["writing", "off"]
    assert list(tmp_path.iterdir()) == []


def test_pings_keep_a_paused_scan_open() -> None:
    scan_header = make_header()
    messages = messages_of(scan_header, make_frames(scan_header))
    # eight silences of a quarter of a second: together longer than the server's patience, each far shorter
    with running(idle_timeout_s=1.6) as run, connected(run.address) as socket:
        send(socket, ArmMessage(scan_header), *messages[:4])
        for _ in range(8):
            run.wait_for_state("scanning")
            send(socket, PingMessage(scan_header.uid))
            with pytest.raises(AssertionError):
                run.wait(lambda: bool(run.ends()), timeout_s=0.25)
        send(socket, *messages[4:])
        run.wait_for_state("complete")


def test_a_new_scan_begins_beside_one_that_is_still_sent(tmp_path: Path) -> None:
    first, second = make_header(), make_header()
    before, frames = make_frames(first, seed=1), make_frames(second)
    with running(tmp_path, idle_timeout_s=1.0) as run, connected(run.address) as socket:
        send(socket, ArmMessage(first), *messages_of(first, before)[:2])
        send(socket, ArmMessage(second), *messages_of(second, frames)[:-1])
        send(socket, *messages_of(first, before)[2:4], messages_of(second, frames)[-1])
        run.wait_for_ends(2)
        assert [(end.uid, end.reason) for end in run.ends()] == [(second.uid, "complete"), (first.uid, "aborted")]
        assert run.frames[first.uid] == dict(list(digests(before).items())[:20])
        assert run.frames[second.uid] == digests(frames)
        assert run.receiver.status().rejected == {}
        run.wait(lambda: len([e for e in run.recordings() if e.state == "complete"]) == 2)
    assert sorted(len(digests_of_file(path)) for path in tmp_path.glob("*.h5")) == [20, 42]


def test_a_scan_with_fewer_frames_than_points_is_recorded(tmp_path: Path) -> None:
    scan_header = make_header()
    frames = make_frames(scan_header)
    with running(tmp_path) as run:
        send_scan(run, replace(scan_header, frames=20), messages_of(scan_header, frames[:20]))
        run.wait(lambda: any(event.state in ("complete", "failed") for event in run.recordings()))
        assert run.receiver.status().rejected == {"impossible_value": 1}
    (recording,) = tmp_path.glob("*.h5")
    assert digests_of_file(recording) == digests(frames[:20])


def test_a_ping_lets_a_late_server_join_and_does_not_disturb_another_scan() -> None:
    scan_header, other = make_header(), make_header()
    frames = make_frames(scan_header)
    with running() as run, connected(run.address) as socket:
        send(
            socket,
            messages_of(scan_header, frames)[0],
            PingMessage(scan_header.uid, scan_header),
            PingMessage(other.uid, other),
        )
        send(socket, *messages_of(scan_header, frames))
        run.wait_for_ends()
        assert run.frames == {scan_header.uid: digests(frames)}
        assert run.receiver.status().rejected == {"unknown_scan": 1}


def test_a_stream_without_optics_or_scan_shape_is_received(tmp_path: Path) -> None:
    scan_header = ScanHeader(
        "u-1", "bare", 10, make_header().scan.model_copy(update={"shape": None}), detector=Detector(shape=(8, 8))
    )
    frames = make_frames(scan_header)
    with running(tmp_path) as run:
        send_scan(run, scan_header, messages_of(scan_header, frames))
        run.wait_for_state("complete")
        assert digests_of_file(Path(run.receiver.status().recording)) == digests(frames)


def hostile(scan_header: ScanHeader, frames: Any, chance: random.Random) -> list[bytes]:
    """One message nobody should send."""
    good = [bytes(part) for part in encode(messages_of(scan_header, frames)[chance.randrange(8)])]
    header = msgpack.unpackb(good[0])
    kind = chance.randrange(9)
    if kind == 0:
        return [chance.randbytes(chance.randrange(200)) for _ in range(chance.randrange(1, 6))]
    if kind == 1:
        return [good[0], good[1][: chance.randrange(len(good[1]))]]
    if kind == 2:
        return [msgpack.packb({**header, "first": chance.choice([-1, 40, 10**9, 2**63])}), good[1]]
    if kind == 3:
        return [msgpack.packb({**header, "uid": "another-scan"}), good[1]]
    if kind == 4:
        return [msgpack.packb({**header, "codec": "bslz4", "count": 1}), chance.randbytes(60)]
    if kind == 5:
        return [msgpack.packb({"type": "arm", "version": 99, "uid": "v"})]
    if kind == 6:
        return [
            msgpack.packb(
                {**msgpack.unpackb(encode(ArmMessage(scan_header))[0]), "uid": "w", "scan": {"shape": [0, 0]}}
            )
        ]
    if kind == 7:
        return [b""] * chance.randrange(1, 5000)
    position = chance.randrange(len(good[0]))
    return [good[0][:position], *good[1:]]


def accounted(run: Running) -> int:
    """Messages refused, and patterns not even examined because they have arrived before."""
    status = run.receiver.status()
    return sum(status.rejected.values()) + status.duplicates


def test_hostile_messages_change_nothing_for_a_valid_scan(tmp_path: Path) -> None:
    scan_header = make_header()
    frames = make_frames(scan_header)
    chance = random.Random(6)
    sent = 0
    with running(tmp_path) as run:
        with connected(run.address) as good, connected(run.address) as bad:
            send(good, ArmMessage(scan_header))
            run.wait_for_state("armed")
            for message in messages_of(scan_header, frames, batch=1):
                for _ in range(8):
                    bad.send_multipart(hostile(scan_header, frames, chance))
                    sent += 1
                run.wait(lambda: accounted(run) == sent)  # noqa: B023
                send(good, message)
            run.wait_for_state("complete")
        status = run.receiver.status()
        assert accounted(run) == sent == 336
        assert status.duplicates < 40
        assert all(status.rejected), "every rejection has a reason"
        assert {"unknown_version", "impossible_value", "truncated", "beyond_scan", "unknown_scan"} <= set(
            status.rejected
        )
        assert "internal_error" not in status.rejected
        assert run.frames == {scan_header.uid: digests(frames)}
        assert digests_of_file(Path(status.recording)) == digests(frames)


def test_a_corrupt_pattern_is_counted_and_can_be_resent(tmp_path: Path) -> None:
    scan_header = make_header()
    frames = make_frames(scan_header)
    parts = [compressed(frame) for frame in frames]
    broken = [*parts[:17], parts[17][:-3], *parts[18:]]
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(scan_header), FramesMessage(scan_header.uid, 0, 42, "bslz4", tuple(broken)))
        run.wait(lambda: run.receiver.status().frames == 41)
        assert run.receiver.status().rejected == {"corrupt": 1}
        send(socket, FramesMessage(scan_header.uid, 0, 42, "bslz4", tuple(parts)))
        run.wait_for_state("complete")
        assert digests_of_file(Path(run.receiver.status().recording)) == digests(frames)


def test_a_full_disk_costs_the_recording_not_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_header = make_header(pixels=(256, 256))
    frames = make_frames(scan_header)
    real, calls = os.writev, iter(range(1000))

    def full(fd: int, buffers: Any) -> int:
        if next(calls) < 3:
            return real(fd, buffers)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    with running(tmp_path) as run:
        send_scan(run, scan_header, messages_of(scan_header, frames))
        run.wait_for_ends()
        run.wait_for_state("failed")
        status = run.receiver.status()
        assert run.frames[scan_header.uid] == digests(frames)
        assert run.ends()[0].reason == "complete"
        assert (status.recording_state, status.frames) == ("failed", 42)
        assert "No space left" in status.recording_error
        run.wait(lambda: bool(run.receiver.safe_ranges(scan_header.uid)))
        assert sum(b - a for a, b in run.receiver.safe_ranges(scan_header.uid)) == 10
        monkeypatch.undo()
        second = make_header()
        send_scan(run, second, messages_of(second, make_frames(second)))
        run.wait_for_state("complete")
    assert len(list(tmp_path.glob("*.journal"))) == 1


def test_an_unwritable_folder_costs_the_recording_not_the_scan(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    scan_header = make_header()
    with running(tmp_path / "file") as run:
        send_scan(run, scan_header, messages_of(scan_header, make_frames(scan_header)))
        run.wait_for_ends()
        run.wait_for_state("failed")
        assert len(run.frames[scan_header.uid]) == 42
        assert run.receiver.status().recording_error


def test_a_slow_reader_slows_the_sender_and_loses_nothing() -> None:
    scan_header = make_header((10, 10), pixels=(64, 64))
    frames = make_frames(scan_header)
    receiver = Receiver(ReceiverSettings("tcp://127.0.0.1:0", ring_bytes=3 * 8192), on_event=lambda event: None)
    reader = receiver.ring.reader()
    receiver.start()
    try:
        with connected(receiver.address) as socket:
            send(socket, ArmMessage(scan_header), *messages_of(scan_header, frames, batch=1))
            got = {}
            while len(got) < 100:
                item = reader.take(timeout_s=60)
                assert item is not None
                assert receiver.ring.fill <= 1.0
                if hasattr(item, "frames"):
                    got |= dict(zip(item.index.tolist(), map(digest, item.frames), strict=True))
        assert got == digests(frames)
    finally:
        reader.close()
        receiver.stop()


def test_stopping_is_prompt_though_a_reader_hangs() -> None:
    scan_header = make_header((10, 10), pixels=(64, 64))
    receiver = Receiver(ReceiverSettings("tcp://127.0.0.1:0", ring_bytes=8192), on_event=lambda event: None)
    receiver.ring.reader()
    receiver.start()
    with connected(receiver.address) as socket:
        send(socket, ArmMessage(scan_header), *messages_of(scan_header, make_frames(scan_header), batch=1)[:20])
        receiver.stop(timeout_s=1.0)
    receiver._thread.join(60)
    assert not receiver._thread.is_alive()


def test_a_listener_that_fails_does_not_stop_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    scan_header = make_header()

    def broken(event: Any) -> None:
        raise RuntimeError("not my day")

    receiver = Receiver(ReceiverSettings("tcp://127.0.0.1:0"), on_event=broken)
    reader = receiver.ring.reader()
    receiver.start()
    with connected(receiver.address) as socket:
        send(socket, ArmMessage(scan_header), *messages_of(scan_header, make_frames(scan_header)))
        while not isinstance(reader.take(timeout_s=60), EndEvent):
            pass
    reader.close()
    receiver.stop()
    assert receiver.status().state == "complete"
    assert "a listener failed" in caplog.text


def test_these_tests_see_the_loop_they_name(receive_loop: str) -> None:
    with running() as run:
        assert run.receiver.accelerated is (receive_loop == "compiled")


def test_an_address_in_use_is_one_clear_line() -> None:
    with running() as run, pytest.raises(PtyliveError) as caught:
        Receiver(ReceiverSettings(run.address), on_event=lambda event: None)
    assert run.address in caught.value.line()


def test_coefficients_are_received_though_not_yet_recorded() -> None:
    basis = make_header().basis.model_copy(update={"kind": "zernike", "n_bright": 3, "n_dark": 1, "extra": ("sum",)})
    scan_header = replace(make_header(), basis=basis, arrays={"masks": np.zeros((4, 8, 8), np.float32)})
    vectors = np.random.default_rng(7).random((42, 5), dtype=np.float32)
    with running() as run:
        send_scan(run, scan_header, messages_of(scan_header, vectors))
        run.wait_for_ends()
        assert run.frames[scan_header.uid] == digests(vectors)
