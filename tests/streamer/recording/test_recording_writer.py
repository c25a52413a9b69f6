"""Journal to HDF5: exact, with complete metadata, and never at the expense of the journal."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from stream_tools import compressed, digest, digests_of_file, make_frames, make_header, messages_of

from ptylive.schema import Detector, InputFileError, Scan, ScanHeader
from ptylive.schema.model import Array
from ptylive.streamer.recording import recording_writer as recording
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.source import open_source
from ptylive.streamer.wire import FramesMessage


def journalled(path: Path, header: ScanHeader, messages: list[FramesMessage]) -> Path:
    journal = Journal(path, header)
    for message in messages:
        journal.append(message)
    journal.close()
    return path


def made(tmp_path: Path, header: ScanHeader, frames: Array) -> Path:
    target = tmp_path / "a.h5"
    report = record(journalled(tmp_path / "a.journal", header, messages_of(header, frames)), target)
    assert report.placed == report.frames == header.frames
    assert not (tmp_path / "a.journal").exists()
    assert {n: digest(f) for n, f in enumerate(frames)} == digests_of_file(target)
    assert list(tmp_path.iterdir()) == [target]
    return target


def test_a_scan_is_stored_as_it_was_sent(tmp_path: Path) -> None:
    header = make_header(flyback_frames=2, pattern="snake", dwell_time_us=20.0)
    arrays = {"bad_pixel_mask": np.eye(8, dtype=bool), "vacuum_pattern": np.ones((8, 8), np.float32)}
    header = ScanHeader(
        header.uid, header.series, header.frames, header.scan, header.optics, header.detector, header.basis, arrays
    )
    target = made(tmp_path, header, make_frames(header))
    with h5py.File(target) as file:
        assert file["data"].shape == (6, 9, 8, 8)
        assert file["data"].chunks == (1, 1, 8, 8)
        assert file["view/frames"].attrs["signal"] == "data"
        assert "received" not in file["metadata"]
    with open_source(target) as source:
        got = source.header
        assert (got.uid, got.series, got.frames) == (header.uid, header.series, header.frames)
        assert (got.scan, got.optics, got.detector) == (header.scan, header.optics, header.detector)
        np.testing.assert_array_equal(got.arrays["bad_pixel_mask"], arrays["bad_pixel_mask"])


@pytest.mark.parametrize(
    "scan", [Scan(shape=(4, 4), skip_first=2), Scan(shape=(4, 4), repeats=2), Scan(), Scan(shape=(3, 3))]
)
def test_what_is_no_plain_raster_is_stored_flat(tmp_path: Path, scan: Scan) -> None:
    frames = scan.frames if scan.shape in {(4, 4)} else 11
    header = ScanHeader("u-1", "flat", frames, scan, detector=Detector(shape=(8, 8)))
    target = made(tmp_path, header, make_frames(header))
    with h5py.File(target) as file:
        assert file["data"].shape == (frames, 8, 8)
    with open_source(target) as source:
        assert source.header.scan == scan


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<u4", "<f4"])
def test_every_pixel_type(tmp_path: Path, dtype: str) -> None:
    header = ScanHeader("u-1", "t", 4, Scan(shape=(2, 2)), detector=Detector(shape=(8, 9), dtype=dtype))
    frames = make_frames(header)
    target = tmp_path / "a.h5"
    record(journalled(tmp_path / "a.journal", header, messages_of(header, frames)), target)
    with open_source(target) as source:
        assert source.header.frame_dtype == np.dtype(dtype)
        np.testing.assert_array_equal(source.frames(np.arange(4)), frames)


def test_compressed_patterns_are_stored_as_they_came(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    parts = tuple(compressed(frame) for frame in frames)
    target = tmp_path / "a.h5"
    record(journalled(tmp_path / "a.journal", header, [FramesMessage(header.uid, 0, 42, "bslz4", parts)]), target)
    with open_source(target) as source:
        assert source.stores_bslz4
        assert [source.stored_pattern(k) for k in range(42)] == list(parts)
    assert {n: digest(f) for n, f in enumerate(frames)} == digests_of_file(target)


@pytest.mark.parametrize("codec", ["bslz4", "none"])
def test_one_flipped_bit_costs_one_frame_and_is_said(tmp_path: Path, codec: str) -> None:
    """Even if the damaged bytes can be decoded, into something that was never recorded."""
    header = make_header()
    frames = make_frames(header)
    target = tmp_path / "a.h5"
    parts = tuple(compressed(frame) for frame in frames) if codec == "bslz4" else (frames.tobytes(),)
    record(journalled(tmp_path / "a.journal", header, [FramesMessage(header.uid, 0, 42, codec, parts)]), target)
    with h5py.File(target) as file:
        stored = file["data"].id.get_chunk_info_by_coord((2, 3, 0, 0))
    content = bytearray(target.read_bytes())
    content[stored.byte_offset + stored.size // 2] ^= 4
    target.write_bytes(content)
    with open_source(target) as source:
        damaged = 2 * header.scan.frames_per_row + 3
        whole = np.delete(np.arange(42), damaged)
        np.testing.assert_array_equal(source.frames(whole), frames[whole])
        with pytest.raises(InputFileError, match=f"frame {damaged} cannot be read: its bytes are damaged"):
            source.frames(np.arange(42))
        with pytest.raises(InputFileError, match=r"frame \(2, 3\) is damaged"):
            source.stored_pattern(damaged)


def test_lz4_patterns_are_recompressed(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    parts = tuple(compressed(frame, "lz4") for frame in frames)
    record(
        journalled(tmp_path / "a.journal", header, [FramesMessage(header.uid, 0, 42, "lz4", parts)]), tmp_path / "a.h5"
    )
    assert {n: digest(f) for n, f in enumerate(frames)} == digests_of_file(tmp_path / "a.h5")


def test_missing_frames_are_marked(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    messages = [message for message in messages_of(header, frames) if message.seq not in {2, 5}]
    report = record(journalled(tmp_path / "a.journal", header, messages), tmp_path / "a.h5")
    assert report.placed == 32
    with open_source(tmp_path / "a.h5") as source:
        assert np.flatnonzero(~source.received).tolist() == [10, 11, 12, 13, 14, 25, 26, 27, 28, 29]


def test_an_earlier_recording_of_the_scan_is_merged_in(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    messages = messages_of(header, frames)
    record(journalled(tmp_path / "a.journal", header, messages[:4]), tmp_path / "a.h5")
    report = record(journalled(tmp_path / "a.journal", header, messages[3:]), tmp_path / "a.h5")
    assert report.placed == 42
    assert {n: digest(f) for n, f in enumerate(frames)} == digests_of_file(tmp_path / "a.h5")


def test_under_another_name_an_earlier_part_is_merged_in_all_the_same(tmp_path: Path) -> None:
    """Its uid now means another scan; the recording next to the journal was made under the old one."""
    header = make_header()
    frames = make_frames(header)
    messages = messages_of(header, frames)
    for part, name in ((messages[:4], ""), (messages[3:6], "test-again-2"), (messages[6:], "test-again-2")):
        report = record(journalled(tmp_path / "a.journal", header, part), tmp_path / "a.h5", name)
        assert report.uid == (name or header.uid)
        with open_source(tmp_path / "a.h5") as source:
            assert source.header.uid == report.uid
    assert {n: digest(f) for n, f in enumerate(frames)} == digests_of_file(tmp_path / "a.h5")


def test_the_recording_of_another_scan_is_not_touched(tmp_path: Path) -> None:
    header, other = make_header(), make_header()
    record(journalled(tmp_path / "a.journal", other, messages_of(other, make_frames(other))), tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    journal = journalled(tmp_path / "a.journal", header, messages_of(header, make_frames(header, 1)))
    with pytest.raises(InputFileError, match="another scan"):
        record(journal, tmp_path / "a.h5")
    assert journal.exists()
    assert (tmp_path / "a.h5").read_bytes() == before


def test_a_file_that_reads_back_differently_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = make_header()
    journal = journalled(tmp_path / "a.journal", header, messages_of(header, make_frames(header)))
    real = recording.ScanWriter.finish

    def damaged(self: Any) -> None:
        self._data[2, 3, 0, 0] += 1
        real(self)

    monkeypatch.setattr(recording.ScanWriter, "finish", damaged)
    with pytest.raises(InputFileError, match="frame 17 reads back differently"):
        record(journal, tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == [journal]


def test_a_full_disk_keeps_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = make_header()
    journal = journalled(tmp_path / "a.journal", header, messages_of(header, make_frames(header)))

    def full(self: Any, index: Any, frames: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(recording.ScanWriter, "add_frames", full)
    with pytest.raises(OSError, match="No space"):
        record(journal, tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == [journal]


def test_the_recorder_process_says_how_it_went(tmp_path: Path) -> None:
    header = make_header()
    journal = journalled(tmp_path / "a.journal", header, messages_of(header, make_frames(header)))
    command = [sys.executable, "-m", "ptylive.streamer.recording.recorder", str(journal), str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["placed"] == 42
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert not json.loads(done.stdout)["ok"]
    assert done.stdout.count("\n") == 1


def test_a_journal_that_is_being_written_is_not_converted(tmp_path: Path) -> None:
    header = make_header()
    journal = Journal(tmp_path / "a.journal", header)
    assert journal.opened.wait(60)
    with pytest.raises(InputFileError, match="in use by another process"):
        record(tmp_path / "a.journal", tmp_path / "a.h5")
    journal.close()
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("what", ["frames", "received"])
def test_what_reads_back_differently_leaves_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, coded: bool
) -> None:
    """A disk that stores something else, for patterns compressed here and for those stored as they came."""
    header = make_header()
    frames = make_frames(header)
    message = FramesMessage(header.uid, 0, 3, "bslz4", tuple(compressed(frame) for frame in frames[:3]))
    journal = journalled(tmp_path / "a.journal", header, [message] if coded else messages_of(header, frames)[:1])
    whole = recording.ScanWriter.finish

    def spoilt(writer: Any, **given: Any) -> None:
        whole(writer, **given)
        if what == "frames":
            writer.checksums[1] ^= 1
        else:
            writer.received[-1] = True

    monkeypatch.setattr(recording.ScanWriter, "finish", spoilt)
    says = "frame 1 reads back differently" if what == "frames" else "list of received frames reads back differently"
    with pytest.raises(InputFileError, match=says):
        record(journal, tmp_path / "a.h5")
    assert journal.exists()
    assert not (tmp_path / "a.h5").exists()


def test_an_earlier_part_of_another_form_is_not_merged(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    target = made(tmp_path, header, frames)
    other = ScanHeader(header.uid, header.series, header.frames, header.scan, header.optics, Detector(shape=(4, 4)))
    journal = journalled(tmp_path / "a.journal", other, messages_of(other, make_frames(other)))
    with pytest.raises(InputFileError, match="in another form"):
        record(journal, target)
    assert journal.exists()
    assert {n: digest(f) for n, f in enumerate(frames)} == digests_of_file(target)


def test_damaged_journals_are_set_aside_beside_each_other(tmp_path: Path) -> None:
    names = []
    for n in range(3):
        (tmp_path / "a.journal").write_bytes(bytes([n]))
        names.append(recording._set_aside(tmp_path / "a.journal").name)
    assert names == ["a.journal.damaged", "a.journal.damaged-2", "a.journal.damaged-3"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"\0", b"\1", b"\2"]
