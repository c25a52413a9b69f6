"""Marks of recordings come from a file worker; an unreadable file has none."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_tools import PATIENCE_S, make_frames, make_header, stored_recording

from ptylive.streamer.marks import marks_of_frames
from ptylive.streamer.tracking import stored_marks
from ptylive.streamer.tracking.stored_marks import StoredMarks
from ptylive.streamer.wire import FrameLayout

HEADER = make_header()
FRAMES = make_frames(HEADER)


def answer(marks: StoredMarks, uid: str) -> Any:
    give_up = time.monotonic() + PATIENCE_S
    while not marks.ready(uid):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return marks.take(uid)


def test_they_are_those_of_the_frames(tmp_path: Path) -> None:
    path, marks = stored_recording(tmp_path, HEADER, FRAMES), StoredMarks()
    broken = tmp_path / "broken.h5"
    broken.write_bytes(path.read_bytes()[:2000])
    for name, file, frames in (("a", path, 42), ("b", broken, 42), ("c", tmp_path / "gone.h5", 42), ("d", path, 41)):
        marks.ask(name, file, frames)
    assert np.array_equal(answer(marks, "a"), marks_of_frames(FRAMES, FrameLayout.of(HEADER)))
    assert [answer(marks, name) for name in "bcd"] == [None] * 3


def test_questions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_marks, "MOST_ASKED", 2)
    monkeypatch.setattr(StoredMarks, "_read", lambda *_: time.sleep(3600))
    marks = StoredMarks()
    for name in "abc":
        marks.ask(name, tmp_path / "a.h5", 1)
    assert [marks.ready(name) for name in "abc"] == [False, False, True]
    assert marks.take("c") is None
