"""Messages out of a stream of bytes, cut anywhere, with anything between them."""

import random

import pytest
from merlin_tools import acquisition_header, counts, frame, mpx

from ptylive.schema import WireError
from ptylive.streamer.protocols.merlin.splitter import (
    MAX_MPX_BYTES,
    PREFIX_BYTES,
    MpxSplitter,
    is_run,
    message_bytes,
)

FRAMES = [frame(k + 1, "U16", one) for k, one in enumerate(counts((12, 16), 12, count=6))]
BODIES = [acquisition_header(6), *FRAMES]


def split(stream: bytes, pieces: int = 2**20, seed: int | None = None) -> tuple[list[bytes], list[str]]:
    """Messages and reasons of refusals for a stream read in pieces of one length, or of random lengths."""
    splitter, chance = MpxSplitter(), random.Random(seed)
    messages, reasons, at = [], [], 0
    while at < len(stream):
        room = splitter.room()
        count = min(len(room), len(stream) - at, pieces if seed is None else chance.randint(1, pieces))
        room[:count] = stream[at : at + count]
        at += count
        for item in splitter.read(count):
            if isinstance(item, WireError):
                reasons.append(item.reason)
            else:
                messages += single(item)
    for item in splitter.read(0):
        assert isinstance(item, memoryview)
        messages += single(item)
    return messages, reasons


def single(part: memoryview) -> list[bytes]:
    """The message, or those of a run without their prefixes."""
    if not is_run(part):
        return [bytes(part)]
    size = message_bytes(part)
    assert len(part) % size == 0
    return [bytes(part[at + PREFIX_BYTES : at + size]) for at in range(0, len(part), size)]


@pytest.mark.parametrize("pieces", [1, 7, 400, 2**20])
def test_messages_however_they_are_cut(pieces: int) -> None:
    assert split(b"".join(map(mpx, BODIES)), pieces) == (BODIES, [])


@pytest.mark.parametrize(
    ("garbage", "reasons"),
    [
        (b"GARBAGE" * 800, ["not_mpx"]),
        (b"M", ["not_mpx"]),
        (b"MPX", ["not_mpx"]),
        (b"MPX,00000003", ["not_mpx"]),
        (b"MPX,0000000abc,MQ1,", ["not_mpx"]),
        (b"MPX,-000000385,MQ1,", ["not_mpx"]),
        (b"MPX,0000000000,MQ1,", ["oversized"]),
        (b"MPX,0000000002,M", ["oversized"]),
        (b"MPX,9999999999,MQ1,", ["oversized"]),
        (b"MPX,%010d,MQ1," % (MAX_MPX_BYTES + 2), ["oversized"]),
        (b"MPX,%010d,MQ1,000001" % MAX_MPX_BYTES, ["truncated"]),
        (mpx(FRAMES[0])[:200], ["truncated"]),
        (mpx(FRAMES[0])[: PREFIX_BYTES + 1], ["truncated"]),
        (mpx(FRAMES[0])[15:], ["not_mpx"]),
        (mpx(BODIES[0])[:1000] + b"xyz", ["truncated"]),
    ],
)
@pytest.mark.parametrize("pieces", [1, 13, 2**20])
def test_whatever_comes_between_messages_every_whole_one_is_found(
    garbage: bytes, reasons: list[str], pieces: int
) -> None:
    stream = garbage + b"".join(mpx(body) + garbage for body in BODIES[:3]) + b"".join(map(mpx, BODIES[3:]))
    assert split(stream, pieces) == (BODIES, reasons * 4)


@pytest.mark.parametrize("missing", range(1, 20))
@pytest.mark.parametrize("pieces", [1, 17, 2**20])
def test_a_message_that_lacks_its_last_bytes(missing: int, pieces: int) -> None:
    stream = mpx(FRAMES[0])[:-missing] + mpx(FRAMES[1])
    assert split(stream, pieces) == ([FRAMES[1]], ["truncated"])


def test_a_message_that_ends_like_the_beginning_of_another_waits_until_that_is_known() -> None:
    body = frame(1, "U08", counts((12, 16), 6)[0])[:-3] + b"MPX"
    splitter = MpxSplitter()
    room, message = splitter.room(), mpx(body)
    room[: len(message)] = message
    assert list(splitter.read(len(message))) == []
    assert list(splitter.read(0)) == [body]
    assert split(mpx(body) + mpx(FRAMES[0])) == ([body, FRAMES[0]], [])


def test_a_message_of_another_kind_is_not_taken_for_garbage() -> None:
    assert split(mpx(b"XYZ,news") + mpx(FRAMES[0])) == ([b"XYZ,news", FRAMES[0]], [])


def test_pixels_that_look_like_a_prefix_alone_cut_nothing_short() -> None:
    pattern = frame(1, "U08", counts((12, 16), 6)[0])[:-40] + b"MPX,0000000001,XYZ," + bytes(21)
    assert split(mpx(pattern), 3) == ([pattern], [])


def test_the_buffer_grows_with_what_has_come_only() -> None:
    splitter = MpxSplitter()
    body = frame(1, "U32", counts((1024, 1024), 24)[0])
    lie = b"MPX,%010d,MQ1," % MAX_MPX_BYTES
    room = splitter.room()
    first = len(room)
    room[: len(lie)] = lie
    assert list(splitter.read(len(lie))) == []
    assert splitter.pending == len(lie)
    assert len(splitter.room()) < first  # an announced length is not trusted before the bytes are there
    assert split(mpx(body) * 2 + mpx(FRAMES[0])) == ([body, body, FRAMES[0]], [])


def test_frames_of_one_length_are_handed_on_together_and_stay_as_long_as_they_are_held() -> None:
    """The last message waits for its continuation; a part that is still held is not overwritten."""
    splitter, held, message = MpxSplitter(), [], mpx(FRAMES[0])
    for number in range(3 * 4 * 2**20 // len(message)):
        body = message.replace(b"MQ1,000001", b"MQ1,%06d" % number)
        splitter.room()[: len(body)] = body
        held += [item for item in splitter.read(len(body)) if isinstance(item, memoryview)]
    held += [item for item in splitter.read(0) if isinstance(item, memoryview)]
    numbers = [int(one[4:10]) for item in held for one in single(item)]
    assert numbers == list(range(len(numbers)))
    stream = b"".join(map(mpx, FRAMES))
    splitter = MpxSplitter()
    splitter.room()[: len(stream)] = stream
    first, run, last = splitter.read(len(stream))
    assert (first, last) == (FRAMES[0], FRAMES[-1])
    assert isinstance(run, memoryview) and is_run(run) and single(run) == FRAMES[1:-1]


def test_garbage_takes_no_room() -> None:
    splitter = MpxSplitter()
    for _ in range(20):
        room = splitter.room()
        room[:] = b"\xff" * len(room)
        assert len([*splitter.read(len(room))]) <= 1
    assert splitter.pending == 0
    assert len(splitter.room()) <= 16 * 2**20


def accident(body: bytes, chance: random.Random) -> bytes:
    """A message with its prefix, damaged so that no whole message is left."""
    message = bytearray(mpx(body))
    kind = chance.choice(["cut", "prefix", "noise", "length"])
    if kind == "cut":
        return bytes(message[: chance.randint(1, len(message) - 1)])
    if kind == "prefix":
        message[chance.choice([0, 1, 2, 3, 14])] ^= 1 << chance.randrange(8)
        return bytes(message)
    if kind == "noise":
        return chance.randbytes(chance.randint(1, 300))
    return b"MPX,%010d," % chance.choice([0, 3, 10**9, MAX_MPX_BYTES, 5000]) + body


def fuzzed(accidents: int, seed: int) -> None:
    chance = random.Random(seed)
    stream, whole = bytearray(), []
    for _ in range(accidents):
        stream += accident(chance.choice(BODIES), chance)
        whole.append(chance.choice(BODIES))
        stream += mpx(whole[-1])
    messages, reasons = split(bytes(stream), 4000, seed)
    assert reasons and set(reasons) <= {"not_mpx", "oversized", "truncated"}
    found = iter(messages)
    assert all(any(body == one for one in found) for body in whole)  # each in its turn


def test_10_000_accidents() -> None:
    fuzzed(10_000, 1)


@pytest.mark.slow
def test_100_000_accidents() -> None:
    for seed in range(10):
        fuzzed(10_000, 100 + seed)
