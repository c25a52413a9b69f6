"""Chunks of packets out of a TCP stream."""

import random

import numpy as np
import pytest

from ptylive.schema import WireError
from ptylive.streamer.protocols.tpx3_raw.splitter import SILENCE, Tpx3RawSplitter


def chunk(words, chip=0):
    return b"TPX3" + bytes([chip, 0]) + (8 * len(words)).to_bytes(2, "little") + np.array(words, "<u8").tobytes()


CHUNKS = [chunk(list(range(n, n + n % 7)), n % 4) for n in range(1, 60)]


def read(stream, seed=0):
    """Items from a stream that is read in pieces; refusals separately."""
    rng, splitter = random.Random(seed), Tpx3RawSplitter()
    at, found, reasons = 0, b"", []
    while at < len(stream):
        room = splitter.room()
        count = min(len(room), len(stream) - at, rng.choice([1, 7, 8, 64, 500]))
        room[:count] = stream[at : at + count]
        at += count
        for item in splitter.read(count):
            if isinstance(item, WireError):
                reasons.append(item.reason)
            else:
                found += item
    return found, reasons, splitter


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_chunk_however_it_is_read(seed):
    found, reasons, splitter = read(b"".join(CHUNKS), seed)
    assert (found, reasons, splitter.pending) == (b"".join(CHUNKS), [], 0)


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_what_is_between_chunks_is_refused_once(seed):
    rubbish = random.Random(seed).randbytes(333)
    found, reasons, _ = read(b"".join([*CHUNKS[:20], rubbish, *CHUNKS[20:]]), seed)
    assert (found, reasons) == (b"".join(CHUNKS), ["not_tpx3"])


def test_a_stream_that_begins_in_the_middle_of_a_chunk():
    whole = chunk(list(range(100)))
    found, reasons, _ = read(whole[37:] + b"".join(CHUNKS))
    assert (found, reasons) == (b"".join(CHUNKS), ["not_tpx3"])


@pytest.mark.parametrize("header", [b"TPX3\x08\x00\x08\x00", b"TPX3\x00\x00\x09\x00"])
def test_a_header_that_cannot_be_is_none(header):
    found, reasons, _ = read(header + bytes(8) + CHUNKS[5])
    assert (found, reasons) == (CHUNKS[5], ["not_tpx3"])


def test_nothing_for_a_while_is_told():
    splitter = Tpx3RawSplitter()
    splitter.room()[:12] = CHUNKS[2][:12]
    assert list(splitter.read(12)) == []
    assert [bytes(item) for item in splitter.read(0)] == [SILENCE]
    assert splitter.pending == 12


@pytest.mark.slow
def test_100_000_damaged_headers():
    """Every whole chunk arrives, and each stretch of damaged ones is refused once, with a reason."""
    rng, stream, whole, stretches, damaged = random.Random(9), [], [], 0, False
    for _ in range(100_000):
        one = chunk([rng.randrange(2**16) for _ in range(rng.randrange(7))], rng.randrange(4))
        if rng.random() < 0.5:
            place, value = rng.choice(
                [(rng.randrange(4), 0xFF), (4, rng.randrange(8, 256)), (6, one[6] + rng.randrange(1, 8))]
            )
            stream.append(one[:place] + bytes([value]) + one[place + 1 :])
            stretches, damaged = stretches + (not damaged), True
        else:
            stream.append(one)
            whole.append(one)
            damaged = False
    found, reasons, _ = read(b"".join(stream))
    assert (found, reasons) == (b"".join(whole), ["not_tpx3"] * stretches)
