"""Frames of a run are taken together exactly if each of them alone would be treated the same way."""

from collections.abc import Iterator

import numpy as np
import pytest
from merlin_tools import CHIP, acquisition, counts, frame, mpx, raw_frame

from ptylive.schema.model import Array
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.fast.merlin_pixels import CompiledRuns
from ptylive.streamer.marks import marks_of_frames
from ptylive.streamer.protocols.merlin import runs
from ptylive.streamer.protocols.merlin.headers import parse_frame_header
from ptylive.streamer.protocols.merlin.pixels import decode_pixels, pixel_layout
from ptylive.streamer.protocols.merlin.runs import RunDecoder, RunTemplate
from ptylive.streamer.wire import FrameLayout, FramesMessage

FRAMES = counts((12, 16), 12, count=9)
MESSAGES = acquisition(FRAMES)[1:]


@pytest.fixture(params=[False, True], ids=["numpy", "compiled"], autouse=True)
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runs, "_compiled", [CompiledRuns()] if request.param else [])
    yield


def template(message: bytes = MESSAGES[0]) -> RunTemplate:
    header = parse_frame_header(memoryview(message))
    made = RunTemplate.of(message, header, pixel_layout(header, header.counter_depth))
    assert made is not None
    return made


def rows_of(messages: list[bytes]) -> Array:
    rows = template().rows(bytearray(b"".join(map(mpx, messages))))
    assert rows is not None
    return rows


def test_frames_one_after_the_other_are_alike() -> None:
    assert template().alike(rows_of(MESSAGES)) == (0, 9)
    assert template(MESSAGES[4]).alike(rows_of(MESSAGES[2:])) == (2, 7)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"MQ1,", b"MQ2,"),
        (b"MQ1,000004", b"MQ1,00000x"),
        (b"MQ1,000004", b"MQ1,000009"),
        (b",00384,", b",00385,"),
        (b",0016,0012,", b",0012,0016,"),
        (b"U16", b"U08"),
        (b"   1x1", b"   2x2"),
        (b",01,", b",04,"),
        (b",MQ1A,", b",MQ1B,"),
        (b"ns,12,", b"ns,24,"),
    ],
)
def test_a_header_that_says_something_else_is_looked_at_by_itself(before: bytes, after: bytes) -> None:
    other = MESSAGES[3].replace(before, after)
    assert other != MESSAGES[3]
    assert template().alike(rows_of([*MESSAGES[:3], other, *MESSAGES[4:]])) == (0, 3)


def test_times_exposures_and_thresholds_may_change() -> None:
    other = MESSAGES[3].replace(b"0.000309", b"0.000410").replace(b"309200ns", b"410200ns").replace(b"3.40", b"3.50")
    assert template().alike(rows_of([*MESSAGES[:3], other, *MESSAGES[4:]])) == (0, 9)


def test_a_gap_ends_what_is_taken_and_begins_what_is_taken_next() -> None:
    rows = rows_of([*MESSAGES[:3], *MESSAGES[5:]])
    assert template().alike(rows) == (0, 3)
    assert template().alike(rows[3:]) == (5, 4)


def test_frames_of_another_length_are_none_of_this_run() -> None:
    assert template().rows(mpx(MESSAGES[0]) + b"x") is None


def test_of_a_header_with_an_unusual_number_there_is_no_template() -> None:
    message = MESSAGES[0].replace(b"MQ1,000001", b"MQ1, 00001")
    header = parse_frame_header(memoryview(message))
    assert RunTemplate.of(message, header, pixel_layout(header, 12)) is None


def messages_of(kind: str) -> list[bytes]:
    if kind == "gaps":
        stored = counts((2 * CHIP + 2, 2 * CHIP + 2), 6, count=2)
        stored[:, CHIP : CHIP + 2] = stored[:, :, CHIP : CHIP + 2] = 0
        return [raw_frame(k + 1, one, 6, "2x2G") for k, one in enumerate(stored)]
    if kind == "raw24":
        stored = counts((CHIP, CHIP), 24, count=2)
        return [raw_frame(k + 1, one, 24) for k, one in enumerate(stored)]
    if kind == "raw12":
        return [raw_frame(k + 1, one, 12) for k, one in enumerate(counts((CHIP, CHIP), 12, count=3))]
    return [frame(k + 1, "U16", one) for k, one in enumerate(FRAMES)]


@pytest.mark.parametrize("kind", ["small", "raw12", "raw24"])
@pytest.mark.parametrize("held", [bytes, bytearray], ids=["read only", "writable"])
def test_patterns_are_those_of_single_frames(kind: str, held: type) -> None:
    messages = messages_of(kind)
    one = template(messages[0])
    stream = held(b"".join(map(mpx, messages)))
    before = bytearray(stream)  # ``bytes`` of ``bytes`` would be the same object
    rows = one.rows(stream)
    assert rows is not None
    found = RunDecoder().decode(one, rows)
    wanted = b"".join(decode_pixels(one.layout, memoryview(m)[one.header.data_offset :]) for m in messages)
    assert found.tobytes() == wanted
    if held is bytes or kind != "raw12":
        assert bytes(stream) == before


def test_what_is_decoded_stays_as_long_as_it_is_held() -> None:
    decoder, one = RunDecoder(), template()
    held = []
    for k in range(5):
        messages = [frame(1, "U16", np.full_like(FRAMES[0], k))]
        held.append(decoder.decode(one, rows_of(messages)))
    assert [set(patterns.view("<u2").tolist()) for patterns in held] == [{k} for k in range(5)]


@pytest.mark.parametrize("kind", ["small", "raw12", "raw24", "gaps"])
def test_marks_are_those_of_patterns_and_frames_are_handed_on_as_they_came(
    kind: str, compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_LEAST_KEPT_BYTES", 1)
    messages = messages_of(kind)
    one = template(messages[0])
    rows = one.rows(bytearray(b"".join(map(mpx, messages))))
    assert rows is not None
    wanted = RunDecoder().decode(one, rows.copy()).view(one.layout.dtype).reshape(-1, *one.layout.shape)
    layout = FrameLayout(one.layout.shape, np.dtype(one.layout.dtype))
    marks, found = one.marks(rows), RunDecoder().message(one, rows, "u", 5)
    assert (marks is None) == (kind == "raw24")
    if marks is not None:
        assert np.array_equal(marks, marks_of_frames(wanted, layout))
    if isinstance(found, FramesMessage):
        assert kind == "raw24" or not runs._compiled
        assert (found.first, found.count, bytes(found.parts[0])) == (5, len(rows), wanted.tobytes())
        return
    assert isinstance(found, FrameBlock) and found.batch.coded is not None
    assert np.array_equal(found.batch.frames, wanted) and np.array_equal(found.batch.frame(1), wanted[1])
    assert (found.index.tolist(), found.batch.nbytes) == (list(range(5, 5 + len(rows))), rows.nbytes)
    assert np.array_equal(found.in_bytes(layout).batch.frames, wanted)


def test_short_runs_hold_no_buffer(compiled: None) -> None:
    assert isinstance(RunDecoder().message(template(), rows_of(MESSAGES), "u", 0), FramesMessage)
