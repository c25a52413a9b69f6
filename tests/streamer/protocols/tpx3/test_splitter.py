"""Messages out of a stream of bytes, cut anywhere, damaged anywhere."""

import random
from collections import Counter

import numpy as np
import pytest
from event_tools import sparse_frames
from quick_first import quick_first
from tpx3_tools import acquisition, acquisition_end, acquisition_start, chunk, scan, scan_end, scan_start

from ptylive.schema import WireError
from ptylive.streamer.protocols.tpx3.headers import MAX_CHUNK_BYTES, Chunk, parse_header
from ptylive.streamer.protocols.tpx3.splitter import REPAIRED, Tpx3Splitter

SHAPE = (8, 16)
FRAMES = sparse_frames(24, SHAPE, 6)
MESSAGES = acquisition(FRAMES, 6)
START = MESSAGES[0]


def split(stream: bytes, pieces: int = 2**20, seed: int | None = None) -> tuple[list[bytes], list[str]]:
    """Messages and reasons of refusals for a stream read in pieces of one length, or of random lengths."""
    splitter, chance = Tpx3Splitter(), random.Random(seed)
    messages: list[bytes] = []
    reasons, at = [], 0
    while at <= len(stream):
        room = splitter.room()
        count = min(len(room), len(stream) - at, pieces if seed is None else chance.randint(1, pieces))
        room[:count] = stream[at : at + count]
        at += count or 1
        for item in splitter.read(count):
            if isinstance(item, WireError):
                reasons.append(item.reason)
            else:
                messages.append(bytes(item))
    return messages, reasons


@pytest.mark.parametrize("pieces", [1, 7, 400, 2**20])
@pytest.mark.parametrize("fields", [{}, {"align": 8}, {"indptr": 8, "index": 1, "value": 8}, {"text": b'{"a": 1}'}])
def test_messages_however_they_are_cut(pieces: int, fields: dict[str, int]) -> None:
    messages = acquisition(FRAMES, 6, **fields)
    assert split(b"".join(messages * 2), pieces) == (messages * 2, [])


def test_types_may_change_from_chunk_to_chunk() -> None:
    chunks = [chunk(FRAMES[k : k + 4], value=size) for k, size in ((0, 2), (4, 4), (8, 1), (12, 2), (16, 8), (20, 8))]
    messages = [START, scan_start(), *chunks, scan_end(), acquisition_end()]
    assert split(b"".join(messages), 50) == (messages, [])


def test_a_large_chunk_comes_in_pieces() -> None:
    frames = sparse_frames(9000, SHAPE, 60)
    large = [acquisition_start((90, 100), SHAPE), scan_start(), chunk(frames), scan_end()]
    messages, reasons = split(b"".join(large))
    assert reasons == []
    counts = [header.frames for piece in messages if isinstance(header := parse_header(piece), Chunk)]
    assert len(counts) > 2 and sum(counts) == 9000
    assert messages[:2] + messages[-1:] == [large[0], large[1], large[3]]


@pytest.mark.parametrize("pieces", [1, 13, 2**20])
@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"GARBAGE" * 500, "bad_header"),
        (b"\0" * 100, "bad_header"),
        (b"\x02\x04" + bytes(30), "bad_chunk"),
        (b"\x01" + b"\xff" * 12 + bytes(19), "oversized"),
        (MESSAGES[2][:40], "bad_chunk"),
        (chunk(sparse_frames(60, (16, 16))), "bad_chunk"),
    ],
)
@pytest.mark.parametrize("where", [0, 1, 2, 4, 8])
def test_what_is_no_message_costs_none(garbage: bytes, reason: str, where: int, pieces: int) -> None:
    stream = b"".join([*MESSAGES[:where], garbage, *MESSAGES[where:]])
    messages, reasons = split(stream, pieces)
    assert messages == MESSAGES
    assert len(reasons) == 1
    assert reasons[0] in {reason, "no_header", "bad_chunk"}


def test_frames_without_their_acquisition() -> None:
    assert split(b"".join(MESSAGES[2:-1] + MESSAGES)) == (MESSAGES, ["no_header"])
    assert split(b"".join(MESSAGES[1:-1])) == ([], ["no_header"])


def test_a_chunk_that_is_damaged_inside_says_how_many_frames_it_had() -> None:
    damaged = bytearray(MESSAGES[3])
    damaged[40] ^= 0x80
    assert split(b"".join([*MESSAGES[:3], damaged, *MESSAGES[4:]])) == (
        [*MESSAGES[:3], MESSAGES[3][:32], *MESSAGES[4:]],
        [],
    )


def test_a_length_is_not_believed_before_the_bytes_are_there() -> None:
    frames, events = 3, 2**26
    head = chunk(FRAMES[:3])
    offset = 16 + 4 * events
    huge = head[:6] + events.to_bytes(4, "little") + head[10:14] + offset.to_bytes(4, "little") + head[18:32]
    start = acquisition_start((1, frames), (8192, 8192))
    splitter = Tpx3Splitter()
    stream = start + scan_start() + huge + (bytes(12) + events.to_bytes(4, "little"))
    splitter.room()[: len(stream)] = stream
    assert len(list(splitter.read(len(stream)))) == 2
    assert splitter.pending == 48
    assert len(splitter.room()) < 2**24 < MAX_CHUNK_BYTES
    assert list(splitter.read(0)) == []


@pytest.mark.parametrize("first", quick_first(range(7)))
def test_every_flipped_bit_of_every_header(first: int) -> None:
    """Only a changed number of the acquisition or a sequence goes unnoticed; no other change costs a whole chunk."""
    unseen = {0: range(1, 17), 1: range(1, 5), 8: range(1, 5), 9: range(1, 5)}
    for which, message in enumerate(MESSAGES):
        for bit in range(first, 256, 7):  # 7 and 8 share no factor: every byte, and every bit place
            if bit // 8 in unseen.get(which, ()):
                continue
            damaged = bytearray(message)
            damaged[bit // 8] ^= 1 << bit % 8
            messages, reasons = split(b"".join([*MESSAGES[:which], damaged, *MESSAGES[which + 1 :]]))
            if which == 0:
                assert reasons, bit
                continue
            if which in (1, 8, 9):
                kept = [one for one in messages if one[0] == 2]
                assert kept == MESSAGES[2:8], (which, bit)
                continue
            assert messages == MESSAGES, (which, bit)
            assert reasons == [REPAIRED], (which, bit)


@pytest.mark.parametrize("seed", range(40))
def test_damage_anywhere_costs_what_it_hits(seed: int) -> None:
    """Scans of 40 chunks, some of which are damaged: all others arrive, and in order."""
    chance = random.Random(seed)
    frames = sparse_frames(160, SHAPE, 6)
    messages = scan(frames, 40)
    stream = [START[:3] + (40).to_bytes(2, "little") + START[5:], messages[0]]
    whole = []
    for k, message in enumerate(messages[1:-1]):
        damaged = bytearray(message)
        if k > 1 and chance.random() < 0.2:  # two whole ones establish the usual type of counts
            for _ in range(chance.randint(1, 30)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            damaged = damaged[: chance.randint(1, len(damaged))] if chance.random() < 0.3 else damaged
        else:
            whole.append(bytes(message))
        stream.append(bytes(damaged))
    found, _ = split(b"".join([*stream, messages[-1]]), 500, seed)
    arrived = Counter(found)
    assert all(arrived[one] >= 1 for one in whole)
    kept = [one for one in found if one in set(whole)]
    assert kept == whole
    assert np.all([len(one) >= 32 for one in found])
