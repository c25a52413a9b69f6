"""Sparse patterns: the content of a message comes out as patterns, and nothing else is accepted."""

import numpy as np
import pytest
from event_tools import csr, event_message, sparse_frames
from hypothesis import given
from hypothesis import strategies as st

from ptylive.schema import EventBatch, EventFrames, WireError
from ptylive.streamer.marks import KIND, marks_of
from ptylive.streamer.wire import FrameLayout, FramesMessage, check_size, decode, decode_frames, encode, events_of
from ptylive.streamer.wire.events import (
    MAX_EVENT_BATCH_BYTES,
    event_frames,
    event_parts,
    most_together,
    run_of_events,
    sum_over_frames,
)

SHAPE = (9, 7)
LAYOUT = FrameLayout(SHAPE, np.dtype("<u2"))


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", ">u2", "<f4"])
@pytest.mark.parametrize("electrons", [0.0, 3.0, 500.0])
def test_patterns_come_out_as_they_went_in(dtype: str, electrons: float) -> None:
    frames = sparse_frames(20, SHAPE, electrons, dtype)
    layout = FrameLayout(SHAPE, np.dtype(dtype))
    message = decode(encode(event_message("u", 3, frames)))
    assert isinstance(message, FramesMessage)
    check_size(message, layout)
    found, good, problems = decode_frames(message, layout)
    assert np.array_equal(found, frames) and good.all() and not problems
    assert found.dtype.isnative
    for start, stop in ((0, 20), (1, 2), (4, 11), (19, 20)):
        run = message.run(start, stop)
        check_size(run, layout)
        assert (run.first, run.count) == (3 + start, stop - start)
        assert np.array_equal(decode_frames(run, layout)[0], frames[start:stop])


def test_some_of_the_frames() -> None:
    frames = sparse_frames(12, SHAPE, 8)
    events = events_of(event_message("u", 0, frames), LAYOUT)[0]
    keep = np.arange(12) % 3 > 0
    assert np.array_equal(events.kept(keep).dense(), frames[keep])
    assert np.array_equal(events.dense(2, 5), frames[2:5])
    batch = EventBatch("u", np.arange(12), events)
    assert np.array_equal(batch.frames, frames)
    assert all(np.array_equal(batch.frame(k), frame) for k, frame in enumerate(frames))
    assert batch.nbytes == events.nbytes == 8 * 12 + 6 * len(events.pixels)


def test_a_pattern_that_is_none_takes_no_other_with_it() -> None:
    lengths, pixels, counts = np.array([2, 0, 3, 1, 2, 1]), np.array([3, 5, 7, 6, 8, 63, 1, 1, 0]), np.ones(9, "<u2")
    message = FramesMessage("u", 0, 6, "events", event_parts(lengths, pixels, counts))
    frames, good, problems = decode_frames(message, LAYOUT)
    assert good.tolist() == [True, True, False, False, False, True]  # decreasing, beyond the detector, repeated
    assert [problem.reason for problem in problems] == ["corrupt"] * 3
    assert frames.sum(axis=(1, 2)).tolist() == [2, 0, 0, 0, 0, 1]
    assert frames[5, 0, 0] == 1


def damaged(which: int, part: bytes) -> FramesMessage:
    parts = list(event_message("u", 0, sparse_frames(4, SHAPE, 20)).parts)
    parts[which] = part
    return FramesMessage("u", 0, 4, "events", tuple(parts))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (damaged(0, b""), "truncated"),
        (damaged(0, bytes(12)), "truncated"),
        (damaged(0, bytes(16)), "oversized"),
        (damaged(0, b"\xff" * 16), "truncated"),
        (damaged(1, b""), "truncated"),
        (damaged(2, b""), "oversized"),
        (FramesMessage("u", 0, 4, "events", (b"",)), "wrong_parts"),
        (FramesMessage("u", 0, 4096, "events", (bytes(4 * 4096), b"", b"")), "oversized"),
    ],
)
def test_parts_that_do_not_fit_are_refused(message: FramesMessage, reason: str) -> None:
    layout = FrameLayout((512, 512), LAYOUT.dtype) if message.count > 4 else LAYOUT
    with pytest.raises(WireError) as caught:
        check_size(message, layout)
    assert caught.value.reason == reason


def test_coefficients_are_no_events() -> None:
    with pytest.raises(WireError, match="events of a scan of coefficients"):
        check_size(event_message("u", 0, sparse_frames(2, SHAPE)), FrameLayout((20,), np.dtype("<f4")))


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 5))
def test_whatever_comes_is_frames_or_refused(lengths: bytes, pixels: bytes, counts: bytes, count: int) -> None:
    message = FramesMessage("u", 0, count, "events", (lengths, pixels, counts))
    try:
        check_size(message, LAYOUT)
    except WireError:
        return
    frames, good, problems = decode_frames(message, LAYOUT)
    assert frames.shape == (count, *SHAPE)
    assert len(problems) == np.count_nonzero(~good)


def test_as_many_together_as_may_be_decoded_at_once() -> None:
    assert most_together(2 * 256 * 256) * 2 * 256 * 256 == MAX_EVENT_BATCH_BYTES
    assert (most_together(1), most_together(2**40)) == (4096, 1)


def test_marks_tell_patterns_apart_by_any_event() -> None:
    frames = sparse_frames(64, SHAPE, 4)
    frames[2:] += sparse_frames(62, SHAPE, 2)
    marks = marks_of(event_message("u", 0, frames), LAYOUT)
    assert (marks & 3 == KIND["events"]).all()
    other = frames.copy()
    for frame in other:  # one electron lands beside its pixel
        frame.ravel()[(np.flatnonzero(frame)[-1] + 1) % frame.size if frame.any() else 0] += 1
    assert not (marks_of(event_message("u", 0, other), LAYOUT) == marks).any()
    runs = [marks_of(event_message("u", 0, frames[k : k + 1]), LAYOUT)[0] for k in range(64)]
    assert marks.tolist() == runs


def test_sums_over_frames() -> None:
    ends = np.array([2, 2, 5, 6])
    assert sum_over_frames(np.arange(6), ends).tolist() == [1, 0, 9, 5]
    assert sum_over_frames(np.zeros((0, 3)), np.zeros(2, np.int64)).tolist() == [[0, 0, 0]] * 2
    assert run_of_events(event_parts(np.zeros(2), np.zeros(0), np.zeros(0, "<u2")), 1, 2)[0] == bytes(4)


def test_events_of_a_message_are_not_copied_where_all_are_good() -> None:
    lengths, pixels, counts = csr(sparse_frames(8, SHAPE))
    parts = event_parts(lengths, pixels, counts.astype("<u2"))
    found: EventFrames = event_frames(parts, SHAPE, np.dtype("<u2"))[0]
    assert not found.pixels.flags.owndata and not found.counts.flags.owndata
