"""A journal reads back up to its last whole record, wherever it was cut, and only calls safe what was synced."""

import contextlib
import errno
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_tools import compressed, make_frames, make_header, messages_of

from ptylive.schema import InputFileError
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.journal_file import JournalFile
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.storage.resync import FILE_HEADER
from ptylive.streamer.wire import EndMessage, FramesMessage


def written(path: Path, *, pixels: int = 8, end: bool = True) -> tuple[Any, list[FramesMessage]]:
    header = make_header(pixels=(pixels, pixels))
    messages = messages_of(header, make_frames(header))
    journal = Journal(path, header)
    for message in messages:
        journal.append(message)
    if end:
        journal.append(EndMessage(header.uid, header.frames, "complete"))
    journal.close()
    assert journal.safe.all()
    return header, messages


def same(got: FramesMessage, wanted: FramesMessage) -> bool:
    return (got.first, got.count, got.codec) == (wanted.first, wanted.count, wanted.codec) and [
        bytes(part) for part in got.parts
    ] == [bytes(part) for part in wanted.parts]


@pytest.mark.parametrize("pixels", [8, 256])
def test_what_was_written_is_read(tmp_path: Path, pixels: int) -> None:
    header, messages = written(tmp_path / "a.journal", pixels=pixels)
    with JournalReader(tmp_path / "a.journal") as reader:
        assert reader.header.uid == header.uid
        assert reader.header.scan == header.scan
        got = list(reader.messages())
        assert reader.end == EndMessage(header.uid, 42, "complete")
        assert reader.valid_bytes == reader.size
    assert len(got) == len(messages)
    assert all(same(a, b) for a, b in zip(got, messages, strict=True))


def test_compressed_parts_are_kept_as_they_came(tmp_path: Path) -> None:
    header = make_header()
    message = FramesMessage(header.uid, 0, 42, "bslz4", tuple(compressed(frame) for frame in make_frames(header)))
    journal = Journal(tmp_path / "a.journal", header)
    journal.append(message)
    journal.close()
    with JournalReader(tmp_path / "a.journal") as reader:
        assert same(next(reader.messages()), message)


def test_a_journal_cut_anywhere_reads_up_to_its_last_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    _, messages = written(path)
    whole = path.read_bytes()
    cuts = sorted({*random.Random(3).sample(range(len(whole)), 200), len(whole) - 1, 0, 1, len(FILE_HEADER)})
    best = 0
    for length in cuts:
        path.write_bytes(whole[:length])
        try:
            with JournalReader(path) as reader:
                got = list(reader.messages())
        except InputFileError as error:
            assert best == 0
            assert str(path) in str(error)
            continue
        assert all(same(a, b) for a, b in zip(got, messages, strict=False))
        assert len(got) >= best, "a longer file cannot hold less"
        best = len(got)
        assert reader.valid_bytes <= length
    assert best == len(messages)


def test_a_flipped_byte_costs_its_record(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    _, messages = written(path)
    whole = path.read_bytes()
    for position in random.Random(4).sample(range(2000, len(whole)), 50):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with JournalReader(path) as reader:
            got = {message.first: message for message in reader.messages()}
        assert len(got) >= len(messages) - 1
        assert all(same(got[message.first], message) for message in messages if message.first in got)


def test_writing_goes_on_after_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    header, messages = written(path, end=False)
    path.write_bytes(path.read_bytes()[:-10])
    with JournalReader(path) as reader:
        kept = list(reader.messages())
        keep_bytes = reader.valid_bytes
    assert len(kept) == len(messages) - 1
    journal = Journal(path, header, keep_bytes=keep_bytes)
    journal.append(messages[-1])
    journal.close()
    with JournalReader(path) as reader:
        assert len(list(reader.messages())) == len(messages)
        assert reader.damage == []  # nothing is left of the record that was cut short


def test_damaged_records_at_the_end_are_kept_when_writing_goes_on(tmp_path: Path) -> None:
    """They may be all that is left of their frames: only a record cut short by a killed writer is overwritten."""
    path = tmp_path / "a.journal"
    header, messages = written(path, end=False)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with JournalReader(path) as reader:
        kept = list(reader.messages())
        assert (reader.torn_bytes, reader.keep_bytes) == (0, len(content))
    journal = Journal(path, header, keep_bytes=reader.keep_bytes)
    journal.append(messages[-1])
    journal.close()
    assert path.read_bytes()[: len(content)] == content
    with JournalReader(path) as reader:
        assert len(list(reader.messages())) == len(kept) + 1 == len(messages)


def test_only_what_was_synced_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptylive.streamer.recording.journal.SYNC_INTERVAL_S", 3600.0)
    header = make_header()
    journal = Journal(tmp_path / "a.journal", header)
    journal.append(messages_of(header, make_frames(header))[1])
    assert not journal.safe.any()
    journal.close()
    assert np.flatnonzero(journal.safe).tolist() == [5, 6, 7, 8, 9]


def test_what_the_disk_does_not_take_is_not_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    header = make_header()
    journal = Journal(tmp_path / "a.journal", header)
    monkeypatch.setattr(os, "fdatasync", fail)
    with contextlib.suppress(OSError):  # the writing thread may meet it first
        journal.append(messages_of(header, make_frames(header))[1])
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        journal.close()
    assert not journal.safe.any()


def test_a_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = make_header(pixels=(256, 256))
    messages = messages_of(header, make_frames(header))
    real, calls = os.writev, iter(range(1000))

    def full(fd: int, buffers: Any) -> int:
        if next(calls) < 4:
            return real(fd, buffers)
        real(fd, [bytes(buffers[0])[:100]])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    journal = Journal(tmp_path / "a.journal", header)
    with contextlib.suppress(OSError):  # the writing thread may meet it later
        for message in messages:
            journal.append(message)
    with pytest.raises(OSError, match="No space"):
        journal.close()
    with JournalReader(tmp_path / "a.journal") as reader:
        got = list(reader.messages())
        assert reader.valid_bytes == reader.size
    assert len(got) == 3
    assert all(same(a, b) for a, b in zip(got, messages, strict=False))


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    header = make_header()
    journal = Journal(tmp_path / "a.journal", header)
    with JournalReader(tmp_path / "a.journal") as reader:
        assert not reader.lock()
    with pytest.raises(OSError, match="temporarily unavailable"):
        Journal(tmp_path / "a.journal", header)
    journal.close()


def test_what_is_no_journal_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    path.write_bytes(b"something else entirely")
    with pytest.raises(InputFileError, match="is not a journal"):
        JournalReader(path)


def test_whatever_ends_the_thread_that_writes_is_said() -> None:
    """Including a bug of ours: otherwise frames would be accepted, but not written."""
    header = make_header()

    def nowhere() -> Path:
        raise ValueError("no such place")

    journal = Journal(nowhere, header)
    assert journal.opened.wait(60)
    with pytest.raises(OSError, match="no such place"):
        journal.append(messages_of(header, make_frames(header))[0])
    with pytest.raises(OSError, match="no such place"):
        journal.close()


def test_whatever_ends_the_thread_that_syncs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise written data would wait forever to be called safe."""
    header = make_header()
    journal = Journal(tmp_path / "a.journal", header)

    def broken(*_: object) -> None:
        raise ValueError("not an open file")

    monkeypatch.setattr(JournalFile, "sync", broken)
    journal.append(messages_of(header, make_frames(header))[0])
    journal._syncer.join(0.05)
    while journal.error is None:
        assert journal._syncer.is_alive()
        journal._syncer.join(0.05)
    assert "cannot be synced" in str(journal.error)
    monkeypatch.undo()
    with pytest.raises(OSError, match="cannot be synced"):
        journal.close()
