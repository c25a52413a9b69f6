"""Sparse scans on the disk: exact, read as patterns, and refused if they contradict themselves."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from event_tools import event_message, sparse_frames
from quick_first import quick_first
from stream_tools import make_header, messages_of

from ptylive.schema import EventBatch, InputFileError, ScanHeader
from ptylive.schema.model import Array
from ptylive.streamer.marks import marks_of
from ptylive.streamer.recording import recording_writer
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import created_scan, record
from ptylive.streamer.source import open_source
from ptylive.streamer.storage.events import events_in
from ptylive.streamer.storage.vectors import stored_bytes
from ptylive.streamer.wire import FrameLayout, FramesMessage

SHAPE = (12, 10)


def scan(electrons: float = 6, **scan_keys: Any) -> tuple[ScanHeader, Array]:
    header = make_header(pixels=SHAPE, **scan_keys)
    return header, sparse_frames(header.frames, SHAPE, electrons)


def event_messages(header: ScanHeader, frames: Array, batch: int = 5) -> list[FramesMessage]:
    return [event_message(header.uid, k, frames[k : k + batch]) for k in range(0, len(frames), batch)]


def recorded(folder: Path, header: ScanHeader, messages: list[FramesMessage]) -> Path:
    journal = Journal(folder / "a.journal", header)
    for message in messages:
        journal.append(message)
    journal.close()
    record(folder / "a.journal", folder / "a.h5")
    return folder / "a.h5"


def read(path: Path) -> Array:
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count))


@pytest.mark.parametrize("electrons", quick_first([6.0, 0.0, 400.0], 2))
@pytest.mark.parametrize("scan_keys", [{}, {"flyback_frames": 2}, {"repeats": 2}])
def test_patterns_are_what_was_sent(tmp_path: Path, electrons: float, scan_keys: dict[str, int]) -> None:
    header, frames = scan(electrons, **scan_keys)
    messages = event_messages(header, frames)
    target = recorded(tmp_path, header, [*messages[::2], *messages[1::2][::-1], messages[0]])
    with h5py.File(target) as file:
        assert "data" not in file and set(file["events"]) == {"first", "length", "pixels", "counts"}
        assert len(file["events/pixels"]) == np.count_nonzero(frames)
        marks = np.concatenate([marks_of(message, FrameLayout(SHAPE, frames.dtype)) for message in messages])
        assert np.array_equal(file["metadata/frame_marks"], marks)
    with open_source(target) as source:
        assert (source.header.scan, source.header.detector_shape) == (header.scan, SHAPE)
        assert source.header.frame_dtype == frames.dtype
        assert source.received.all() and not source.stores_bslz4
        assert np.array_equal(source.frames(np.arange(len(frames))), frames)
        some = np.array([5, 3, 4, 30, 31, 0])
        assert np.array_equal(source.frames(some), frames[some])


def test_batches_are_events(tmp_path: Path) -> None:
    header, frames = scan(flyback_frames=1)
    target = recorded(tmp_path, header, event_messages(header, frames)[1:])
    with open_source(target) as source:
        found = list(source.batches(16))
    assert all(isinstance(batch, EventBatch) for batch in found)
    assert np.array_equal(np.concatenate([batch.index for batch in found]), np.arange(5, len(frames)))
    assert np.array_equal(np.concatenate([batch.frames for batch in found]), frames[5:])


def test_sparse_scans_take_little_room(tmp_path: Path) -> None:
    header = make_header(pixels=(128, 128))
    frames = sparse_frames(header.frames, (128, 128), 20)
    target = recorded(tmp_path, header, event_messages(header, frames))
    assert stored_bytes(target) < 20 * len(frames) * 6 + 10_000 < frames.nbytes / 50


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    header, frames = scan()
    target = recorded(tmp_path, header, event_messages(header, frames)[1:-1])
    with open_source(target) as source:
        assert source.received.tolist() == [5 <= k < 40 for k in range(42)]
        assert not source.frames(np.arange(5)).any()


def test_a_scan_is_resumed_and_codings_may_be_mixed(tmp_path: Path) -> None:
    header, frames = scan()
    as_events, plain = event_messages(header, frames), messages_of(header, frames)
    recorded(tmp_path, header, [*as_events[:2], *plain[2:4]])
    target = recorded(tmp_path, header, as_events[4:7])
    assert np.array_equal(read(target)[:35], frames[:35])
    target = recorded(tmp_path, header, [plain[7], as_events[8]])  # a file of patterns replaces one of events
    assert np.array_equal(read(target), frames)
    with h5py.File(target) as file:
        assert "events" not in file


def test_a_pattern_that_is_none_is_left_out(tmp_path: Path) -> None:
    header, frames = scan()
    messages = event_messages(header, frames)
    parts = list(messages[1].parts)
    pixels = np.frombuffer(parts[1], "<u4").copy()
    pixels[0] = SHAPE[0] * SHAPE[1]
    parts[1] = pixels.tobytes()
    messages[1] = FramesMessage(header.uid, 5, 5, "events", tuple(parts))
    with open_source(recorded(tmp_path, header, messages)) as source:
        assert np.flatnonzero(~source.received).tolist() == [5]


def test_what_reads_back_differently_is_no_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, frames = scan()

    def other(found: Any) -> Array:
        return np.arange(len(found.ends), dtype=np.uint32) + (len(found.ends) > 5)

    monkeypatch.setattr(recording_writer, "marks_of_events", other)
    with pytest.raises(InputFileError, match="frame 0 reads back differently"):
        recorded(tmp_path, header, event_messages(header, frames))
    assert (tmp_path / "a.journal").exists() and not (tmp_path / "a.h5").exists()


def written(path: Path) -> Array:
    header, frames = scan()
    with created_scan(path, header, sparse=True) as writer:
        writer.add_frames(np.arange(42), frames)
        writer.finish()
    return frames


def replaced(file: Any, name: str, values: Any) -> None:
    del file[name]
    file[name] = values


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda file: file.pop("events/first"), "lacks one of"),
        (lambda file: replaced(file, "events/first", np.zeros((6, 8), "i8")), "first is .6, 8., length .6, 7."),
        (lambda file: replaced(file, "events/length", np.zeros((6, 7))), "length is float64, not whole numbers"),
        (lambda file: replaced(file, "events/pixels", np.zeros(3)), "pixels is float64, not whole numbers"),
        (lambda file: replaced(file, "events/pixels", np.zeros(3, "u4")), "pixels is"),
        (lambda file: file["events"].attrs.modify("shape", [0, 3]), "two numbers of pixels"),
        (lambda file: file["events"].attrs.create("shape", "x"), "two numbers of pixels"),
        (lambda file: file["events"].attrs.modify("shape", [2**20, 2**20]), "two numbers of pixels"),
    ],
)
def test_files_that_contradict_themselves(tmp_path: Path, change: Any, text: str) -> None:
    written(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        change(file)
    with pytest.raises(InputFileError, match=text), open_source(tmp_path / "a.h5"):
        pass


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [("first", (0, 3), -1), ("first", (0, 3), 2**40), ("length", (0, 3), 2**31), ("pixels", 0, 120)],
)
def test_a_place_that_is_none_costs_its_pattern(tmp_path: Path, name: str, at: Any, value: int) -> None:
    frames = written(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file[f"events/{name}"][at] = value
    with open_source(tmp_path / "a.h5") as source:
        number = 0 if name == "pixels" else 3
        with pytest.raises(InputFileError, match=f"frame {number} cannot be read"):
            source.frames(np.arange(7))
        assert np.array_equal(source.frames(np.arange(7, 42)), frames[7:])
        with pytest.raises(InputFileError, match=f"frame {number} cannot be read"):
            list(source.batches(16))


def signed(path: Path) -> Array:
    frames = written(path)
    with h5py.File(path, "r+") as file:
        for name in ("length", "pixels"):
            replaced(file, f"events/{name}", file[f"events/{name}"][()].astype(np.int64))
    return frames


def test_whole_numbers_may_be_signed(tmp_path: Path) -> None:
    """Regression: refused as no whole numbers."""
    assert np.array_equal(signed(tmp_path / "a.h5"), read(tmp_path / "a.h5"))


def test_a_pixel_before_the_first_is_none(tmp_path: Path) -> None:
    signed(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["events/pixels"][0] = -1
    with pytest.raises(InputFileError, match="frame 0 cannot be read"):
        read(tmp_path / "a.h5")


def test_patterns_that_lie_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = written(tmp_path / "a.h5")
    monkeypatch.setattr("ptylive.streamer.storage.events._CHUNK", -(10**6))
    assert np.array_equal(read(tmp_path / "a.h5"), frames)


def test_patterns_become_events_and_patterns_again() -> None:
    frames = scan()[1]
    assert np.array_equal(events_in(frames).dense(), frames)
