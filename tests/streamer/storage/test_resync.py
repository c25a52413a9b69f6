"""Damaged places in a journal cost only the records they hit, and are named; no whole record is lost for them."""

import os
import random
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from stream_tools import connected, digest, digests_of_file, make_frames, make_header, messages_of, running, send

from ptylive.schema import InputFileError
from ptylive.streamer.events import LogEvent
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.storage.resync import FILE_HEADER, HEAD, HEAD_BYTES, HEAD_CHECK, MAGIC, Head, RecordKind
from ptylive.streamer.wire import EndMessage, FramesMessage, PingMessage
from ptylive.streamer.wire.limits import MAX_PARTS

HEADER = make_header((8, 8))
FRAMES = make_frames(HEADER)
DIGESTS = {number: digest(frame) for number, frame in enumerate(FRAMES)}
BLOCK = 512


def written(path: Path, *, batch: int = 1, end: bool = True) -> bytes:
    journal = Journal(path, HEADER)
    for message in messages_of(HEADER, FRAMES, batch):
        journal.append(message)
    if end:
        journal.append(EndMessage(HEADER.uid, 64, "complete"))
    journal.close()
    return path.read_bytes()


def heads_of(data: bytes) -> list[Head]:
    found, place = [], len(FILE_HEADER)
    while (head := Head.read(data[place : place + HEAD_BYTES], place)) is not None:
        found.append(head)
        place = head.end
    return found


def damaged(data: bytes, start: int, chance: random.Random) -> bytes:
    """One block of other bytes: an unreadable sector comes back as zeros, or as anything."""
    size = min(BLOCK, len(data) - start)
    block = bytes(size) if chance.random() < 0.5 else chance.randbytes(size)
    return data[:start] + block + data[start + size :]


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_whole_record_comes_back(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.journal"
    data = written(path)
    heads = heads_of(data)
    frames = [head for head in heads if head.kind == RecordKind.FRAMES]
    assert len(frames) == 64
    which = os.environ.get("PTYLIVE_FLIPS_SEED", "12")
    print(f"PTYLIVE_FLIPS_SEED={which}: {count} journals")
    chance = random.Random(which)
    for seed in range(count):
        start = chance.randrange(len(data))
        bad = damaged(data, start, chance)
        path.write_bytes(bad)
        hit = [bad[head.start : head.end] != data[head.start : head.end] for head in frames]
        with JournalReader(path) as reader:
            got = {message.first: bytes(message.parts[0]) for message in reader.messages()}
        whole = {n for n, lost in enumerate(hit) if not lost}
        assert got == {n: FRAMES[n].tobytes() for n in whole}, f"seed {seed}, block at {start}"
        assert reader.header.uid == HEADER.uid
        wrong = [k for k in range(start, min(start + BLOCK, len(data))) if bad[k] != data[k]]
        assert all(any(a <= k < b for a, b in reader.damage) for k in wrong), f"seed {seed} at {start}"
        assert reader.torn_bytes == 0, "nothing was cut off"


def test_the_recording_says_what_is_missing_and_the_journal_is_kept(tmp_path: Path) -> None:
    path, target = tmp_path / "a.journal", tmp_path / "a.h5"
    data = written(path)
    third = [head for head in heads_of(data) if head.kind == RecordKind.FRAMES][3]
    path.write_bytes(data[: third.start + 40] + b"\xff" * 20 + data[third.start + 60 :])
    report = record(path, target)
    assert (report.placed, report.frames) == (63, 64)
    assert "damaged" in report.damage
    assert "1 frames are missing" in report.damage
    assert digests_of_file(target) == {n: d for n, d in DIGESTS.items() if n != 3}
    with h5py.File(target) as file:
        assert "damaged" in file.attrs["journal_damage"]
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.h5", "a.journal.damaged"]


def test_writing_goes_on_without_destroying_what_lies_behind_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    data = written(path, batch=4, end=False)[:-30]  # killed in its last record
    frames = [head for head in heads_of(data) if head.kind == RecordKind.FRAMES]
    path.write_bytes(data[: frames[2].start] + bytes(300) + data[frames[2].start + 300 :])
    with running(tmp_path) as run, connected(run.address) as socket:
        run.wait(lambda: bool(run.arms()))
        assert any("damaged" in event.text for event in run.events if isinstance(event, LogEvent))
        send(socket, PingMessage(HEADER.uid, HEADER), *messages_of(HEADER, FRAMES, 4))
        run.wait_for_whole(HEADER.uid)
        run.wait_for_state("complete")
        status = run.receiver.status()
        assert status.duplicates >= 64 - 3 * 4
    assert digests_of_file(tmp_path / "a.h5") == DIGESTS
    assert (tmp_path / "a.journal.damaged").exists()


def test_a_long_journal_holds_its_arm_record_twice_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptylive.streamer.recording.journal.REPEAT_BYTES", 2000)
    path = tmp_path / "a.journal"
    data = written(path, end=False)
    assert [head.kind for head in heads_of(data)].count(RecordKind.ARM) == 2
    path.write_bytes(bytes(700) + data[700:])
    with JournalReader(path) as reader:
        assert reader.header.uid == HEADER.uid
        assert len(list(reader.messages())) >= 60


def test_frames_without_any_arm_record_are_not_called_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    data = written(path, end=False)
    first = heads_of(data)[1]
    path.write_bytes(FILE_HEADER + bytes(first.start - len(FILE_HEADER)) + data[first.start :])
    with pytest.raises(InputFileError, match="64 records of frames are undamaged"):
        JournalReader(path)
    with running(tmp_path) as run:
        run.wait(lambda: any("64 records" in event.text for event in run.events if isinstance(event, LogEvent)))
    assert path.exists()


def test_heads_that_lie_in_the_pixels_cost_bounded_time(tmp_path: Path) -> None:
    """A pattern made of record heads that announce payloads up to the end of the file, in a damaged record."""
    from ptylive.streamer.storage.resync import HEAD, HEAD_CHECK, MAGIC

    header = make_header((1, 2), pixels=(512, 512))
    length = 700_000
    head = HEAD.pack(MAGIC, 2, 1, length, 1)
    lying = head + HEAD_CHECK.pack(zlib.crc32(head))
    pixels: Any = (lying * (2**19 // len(lying) + 1))[: 2**19]
    path = tmp_path / "a.journal"
    journal = Journal(path, header)
    journal.append(FramesMessage(header.uid, 0, 1, "none", (pixels,)))
    journal.append(FramesMessage(header.uid, 1, 1, "none", (bytes(2**19),)))
    journal.close()
    data = bytearray(path.read_bytes())
    first = next(h for h in heads_of(bytes(data)) if h.kind == RecordKind.FRAMES)
    data[first.start] ^= 1  # its head is invalid now, so everything in it is searched
    path.write_bytes(data)
    with JournalReader(path) as reader:
        got = [message.first for message in reader.messages()]
    assert got in ([1], [])
    assert reader.damage
    assert np.sum([b - a for a, b in reader.damage]) >= 2**19


def test_a_killed_writer_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    data = written(path, end=False)
    for cut in (1, 10, 60, 150, 400):
        for zeros in (0, 4096):
            path.write_bytes(data[:-cut] + bytes(zeros if cut > 150 else 0))
            with JournalReader(path) as reader:
                list(reader.messages())
            assert (reader.damage == []) == (zeros == 0 or cut <= 150)
            assert (reader.torn_bytes > 0) == (reader.damage == [])


@pytest.mark.parametrize("lost", ["payload", "head", "zeros"])
def test_a_last_record_that_is_damaged_and_not_torn_is_kept(tmp_path: Path, lost: str) -> None:
    """The record has all its bytes, but some are wrong, and nobody knows which of the others are right."""
    path, target = tmp_path / "a.journal", tmp_path / "a.h5"
    data = written(path, end=False)
    last = heads_of(data)[-1]
    assert last.end == len(data)
    start, stop = {"payload": (-20, -10), "head": (last.start, last.start + 8), "zeros": (last.start, None)}[lost]
    wrong = bytearray(data)
    wrong[start:stop] = bytes(len(wrong[start:stop])) if lost == "zeros" else b"\xff" * len(wrong[start:stop])
    path.write_bytes(wrong)
    report = record(path, target)
    assert report.placed == 63
    assert f"{last.end - last.start} bytes of the journal are damaged" in report.damage
    assert (tmp_path / "a.journal.damaged").read_bytes() == wrong


def test_a_record_that_was_cut_short_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    data = written(path, end=False)
    path.write_bytes(data[:-10])
    short = len(data) - 10 - heads_of(data)[-1].start
    with running(tmp_path, recovery_grace_s=0.1) as run:
        run.wait((tmp_path / "a.h5").exists)
        said = [event.text for event in run.events if isinstance(event, LogEvent)]
        assert any(f"its last record was cut short ({short} bytes)" in text for text in said), said
    path.write_bytes(data[:-10])
    assert record(path, tmp_path / "b.h5").torn_bytes == short


def test_a_recording_that_cannot_be_read_beside_a_journal_costs_only_itself(tmp_path: Path) -> None:
    """The recording is not trusted: it is opened in a process with limits, and never overwritten."""
    written(tmp_path / "a.journal", batch=4, end=False)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, PingMessage(HEADER.uid, HEADER), *messages_of(HEADER, FRAMES, 4))
        run.wait_for_whole(HEADER.uid)
        assert run.frames[HEADER.uid] == DIGESTS
        run.wait_for_state("failed")
        assert "cannot be read" in run.receiver.status().recording_error
        assert (tmp_path / "a.journal").exists()


def test_heads_that_whole_checksums_make_and_nothing_else_are_none() -> None:
    """A head whose own checksum is right, but with content that no writer writes."""
    for magic, parts, length in ((b"PJR2", 1, 8), (MAGIC, MAX_PARTS + 1, 8), (MAGIC, 3, 8)):
        head = HEAD.pack(magic, 2, parts, length, 0)
        assert Head.read(head + HEAD_CHECK.pack(zlib.crc32(head)), 0) is None
