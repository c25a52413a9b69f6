"""Mutated and hostile messages between the frames of valid scans, through a real socket and both receive loops.

Every valid frame arrives, every refusal has a reason, none of our code fails, and memory does not grow.
"""

import random
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil
import pytest
from stream_tools import Running, compressed, connected, digest, make_frames, make_header, messages_of, running, send

from ptylive.schema import ScanHeader
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message, encode

MOST_GROWTH_MB = 40
STRANGERS = 30
"""Scans nobody announced, whose messages are mutated: no flipped bit turns them into the valid scan."""


def strangers() -> list[list[bytes]]:
    """Messages of unknown scans, of every kind that does not open a scan."""
    out: list[Message] = []
    for number in range(STRANGERS):
        header = make_header()
        frames = make_frames(header, seed=number)
        out += messages_of(header, frames, batch=9)
        out.append(FramesMessage(header.uid, 3, 2, "bslz4", tuple(compressed(frame) for frame in frames[:2])))
        out.append(EndMessage(header.uid, header.frames, "complete"))
    return [[bytes(part) for part in encode(message)] for message in out]


def mutated(parts: list[bytes], chance: random.Random) -> list[bytes]:
    """Flip bits; cut, insert or repeat bytes; lose, double or swap parts."""
    parts = list(parts)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(parts))
        part = bytearray(parts[at])
        kind = chance.randrange(7)
        if kind == 0 and part:
            part[chance.randrange(len(part))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            part = part[: chance.randrange(len(part) + 1)]
        elif kind == 2:
            position = chance.randrange(len(part) + 1)
            part[position:position] = chance.randbytes(chance.randrange(1, 40))
        elif kind == 3:
            part *= chance.randrange(2, 4)
        elif kind == 4:
            part = bytearray(chance.randbytes(chance.randrange(80)))
        elif kind == 5:
            parts.append(bytes(part))
        else:
            parts.reverse()
            continue
        parts[at] = bytes(part)
    return parts


def hostile(header: ScanHeader, samples: list[list[bytes]], chance: random.Random) -> list[bytes]:
    """One message nobody should send; some name the valid scan, but none is a message of it."""
    kind = chance.randrange(12)
    good = chance.choice(samples)
    if kind == 0:
        huge = chance.choice([-1, header.frames, 10**9, 2**63])
        return [
            msgpack.packb({"type": "frames", "uid": header.uid, "seq": 0, "first": huge, "count": 1, "codec": "none"}),
            b"",
        ]
    if kind == 1:
        many = chance.choice([0, 4097, 2**40])
        return [msgpack.packb({"type": "frames", "uid": header.uid, "first": 0, "count": many, "codec": "none"}), b"x"]
    if kind == 2:
        return [msgpack.packb({"type": "arm", "version": chance.choice([0, 2, 99, "1"]), "uid": "v", "frames": 1})]
    if kind == 3:
        return [b"\x91" * chance.randrange(1, 3000)]
    if kind == 4:
        return [b""] * chance.randrange(1, 60)
    return mutated(good, chance)


def scan_under_fire(run: Running, samples: list[list[bytes]], count: int, chance: random.Random) -> int:
    """A valid scan with hostile messages between its frames; returns their number."""
    header = make_header()
    frames = make_frames(header, seed=chance.randrange(1000))
    messages = messages_of(header, frames, batch=1)
    chance.shuffle(messages)
    with connected(run.address) as socket:
        send(socket, ArmMessage(header))
        for message in messages:
            for _ in range(count // len(messages)):
                socket.send_multipart(hostile(header, samples, chance))
            if chance.random() < 0.5:
                parts = (compressed(frames[message.first]),)
                message = FramesMessage(header.uid, message.first, 1, "bslz4", parts)  # noqa: PLW2901
            send(socket, message)
        run.wait(lambda: any(end.uid == header.uid for end in run.ends()), 60)
    end = run.ends()[-1]
    assert (end.uid, end.reason, end.summary.placed) == (header.uid, "complete", header.frames)
    assert run.frames[header.uid] == {number: digest(frame) for number, frame in enumerate(frames)}
    run.frames.clear()
    return len(messages) * (count // len(messages))


def under_fire(folder: Path, scans: int, count: int, seed: int) -> None:
    chance, samples, sent = random.Random(seed), strangers(), 0
    process = psutil.Process()
    with running(folder) as run:
        sent += scan_under_fire(run, samples, count // 10, chance)
        before = process.memory_info().rss
        for _ in range(scans):
            sent += scan_under_fire(run, samples, count, chance)
        grown = (process.memory_info().rss - before) / 1e6
        rejected = dict(run.receiver.status().rejected)
    said: dict[str, Any] = {"seed": seed, "sent": sent, "rejected": rejected, "grown_MB": grown}
    assert "internal_error" not in rejected, said
    assert all(rejected), said
    assert sum(rejected.values()) > 0.9 * sent, said
    assert {"unknown_scan", "not_msgpack", "beyond_scan", "unknown_version"} <= set(rejected), said
    assert grown < MOST_GROWTH_MB, said


def test_two_thousand_hostile_messages(tmp_path: Path) -> None:
    under_fire(tmp_path, scans=2, count=1_000, seed=31)


@pytest.mark.slow
def test_a_hundred_thousand_hostile_messages(tmp_path: Path) -> None:
    under_fire(tmp_path, scans=10, count=10_000, seed=int(np.random.default_rng(32).integers(1 << 30)))
