"""Compiled examination of runs agrees with numpy's, for headers with arbitrary changes."""

import random

import numpy as np
import pytest
from merlin_tools import acquisition, counts, mpx

from ptylive.schema.model import Array
from ptylive.streamer.fast import merlin_headers
from ptylive.streamer.marks import marked_bytes, marks_of_bytes
from ptylive.streamer.protocols.merlin import runs
from ptylive.streamer.protocols.merlin.headers import parse_frame_header
from ptylive.streamer.protocols.merlin.pixels import pixel_layout
from ptylive.streamer.protocols.merlin.runs import RunTemplate

MESSAGES = acquisition(counts((4, 6), 12, count=9))[1:]


def template() -> RunTemplate:
    header = parse_frame_header(memoryview(MESSAGES[0]))
    made = RunTemplate.of(MESSAGES[0], header, pixel_layout(header, header.counter_depth))
    assert made is not None
    return made


def damaged(chance: random.Random) -> Array:
    """Frames of a run, with some bytes of their headers changed or missing."""
    kept = [message for message in MESSAGES[chance.randrange(3) :] if chance.random() > 0.05] or MESSAGES[:1]
    stream = bytearray(b"".join(map(mpx, kept)))
    each = len(stream) // len(kept)
    for _ in range(chance.choice([0, 0, 1, 2])):
        stream[chance.randrange(len(kept)) * each + chance.randrange(15, 300)] = chance.choice(b"09,xM :\xff")
    return np.frombuffer(stream, np.uint8).reshape(len(kept), -1)


def test_the_same_frames_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_compiled", [])
    one, chance, seen = template(), random.Random(4), set[int]()
    for _ in range(500):
        rows = damaged(chance)
        first, count = merlin_headers.alike(rows, one.places, one.text, one.digits)
        wanted = one.alike(rows)
        assert count == wanted[1]
        assert first == wanted[0] or count == 0
        seen.add(count)
    assert {0, 1, 2, 5, 9} <= seen


@pytest.mark.parametrize("stride", [8, 9, 40, 1000])
def test_marks_of_bytes_in_any_order(stride: int) -> None:
    rng = np.random.default_rng(stride)
    rows = rng.integers(0, 256, (5, stride), dtype=np.uint8)
    places = rng.integers(-1, stride, len(marked_bytes(96)))
    found = rows[:, places]
    found[:, places < 0] = 0
    assert np.array_equal(merlin_headers.marks(rows, places, 96), marks_of_bytes(found, 96))
