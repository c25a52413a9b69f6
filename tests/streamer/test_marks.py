"""Marks of frames: the same in Python and in compiled code, and different for different frames."""

import numpy as np
import pytest

from ptylive.schema import EventFrames
from ptylive.streamer.fast.mark import mark
from ptylive.streamer.marks import KIND, agree, marks_of, marks_of_events, marks_of_frames, marks_of_parts
from ptylive.streamer.wire import FrameLayout, FramesMessage


@pytest.mark.parametrize("nbytes", [1, 7, 8, 9, 31, 255, 256, 4099, 131072])
def test_compiled_code_and_numpy_agree(nbytes: int) -> None:
    data = np.random.default_rng(nbytes).integers(256, size=nbytes, dtype=np.uint8)
    assert int(mark(data.ctypes.data, nbytes, KIND["bslz4"])) == int(marks_of_parts([data.tobytes()], "bslz4")[0])


@pytest.mark.parametrize("sizes", [[], [8], [9, 8, 4099, 256, 31], [9, 7, 4099]])
def test_many_parts_at_once_are_each_by_itself(sizes: list[int]) -> None:
    random = np.random.default_rng(len(sizes))
    parts = [random.integers(256, size=size, dtype=np.uint8).tobytes() for size in sizes]
    singly = [int(marks_of_parts([part], "bslz4")[0]) for part in parts]
    assert marks_of_parts(parts, "bslz4").tolist() == singly


def test_a_message_has_the_marks_of_its_frames() -> None:
    layout = FrameLayout((16, 16), np.dtype("<u2"))
    frames = np.random.default_rng(1).poisson(3, (64, 16, 16)).astype("<u2")
    marks = marks_of(FramesMessage("u", 0, 64, "none", (frames.tobytes(),)), layout)
    assert np.array_equal(marks, marks_of_frames(frames, layout))
    assert len(set(marks.tolist())) == 64
    assert (marks & 3 == KIND["none"]).all()


def test_coefficients_are_compared_with_a_tolerance() -> None:
    layout = FrameLayout((20,), np.dtype("<f4"))
    vectors = np.random.default_rng(2).normal(size=(8, 20)).astype("<f4")
    rounded, other = vectors * np.float32(1 + 1e-6), vectors[::-1]
    marks = marks_of_frames(vectors, layout, exact=False)
    assert agree(marks, marks_of_frames(rounded, layout, exact=False), exact=False).all()
    assert not agree(marks, marks_of_frames(other, layout, exact=False), exact=False).any()


def test_marks_agree_where_they_are_equal() -> None:
    one, other = np.array([1, 2, 3], np.uint32), np.array([1, 3, 3], np.uint32)
    assert agree(one, other).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<f4"])
def test_every_event_of_a_frame_counts(dtype: str) -> None:
    pixels = np.array([3, 9, 200, 7, 8], np.uint32)
    counts = np.array([1, 5, 2, 1, 1], dtype)
    known = marks_of_events(EventFrames(np.array([3, 5]), pixels, counts, (16, 16)))
    for changed in range(3):
        moved, more = pixels.copy(), counts.copy()
        moved[changed] += 1
        more[changed] += 1
        for other in (
            EventFrames(np.array([3, 5]), moved, counts, (16, 16)),
            EventFrames(np.array([3, 5]), pixels, more, (16, 16)),
        ):
            found = marks_of_events(other)
            assert found[0] != known[0]
            assert found[1] == known[1]
    swapped = EventFrames(np.array([3, 5]), pixels, counts[[1, 0, 2, 3, 4]], (16, 16))
    assert marks_of_events(swapped)[0] != known[0]
