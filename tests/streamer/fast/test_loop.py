"""The compiled loop: it accepts what Python would accept, leaves the rest untouched, and can be ended."""

import ast
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from quick_first import quick_first
from stream_tools import compressed, connected, make_frames, make_header, messages_of, running, send

from ptylive.engine.backend import cache
from ptylive.schema import PtyliveError, ScanHeader, WireError
from ptylive.streamer.blocks import BlockMemory
from ptylive.streamer.fast import libzmq
from ptylive.streamer.fast.header import CODEC, COUNT, FIRST, new_values, read_frames_header
from ptylive.streamer.fast.loop import BROKEN, HEADER, IDLE
from ptylive.streamer.fast.receive import CompiledLoop
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, decode, encode

SCAN_HEADER = make_header((20, 20))
FRAMES = make_frames(SCAN_HEADER)
CODED = [compressed(frame) for frame in FRAMES]
UID = np.frombuffer(SCAN_HEADER.uid.encode(), np.uint8)


def understood(header: bytes) -> tuple[int, int, str] | None:
    """first, count and codec as the compiled reader sees them; None if it leaves the header to Python."""
    values = new_values()
    data = np.frombuffer(bytearray(header), np.uint8)  # writable, as in the program: for others it is compiled anew
    if not read_frames_header(data, UID, values):
        return None
    return int(values[FIRST]), int(values[COUNT]), ("none", "bslz4")[values[CODEC]]


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, 65535, 65536, 2**28 - 1])
@pytest.mark.parametrize("codec", ["none", "bslz4"])
def test_ordinary_headers_are_understood(number: int, codec: Any) -> None:
    message = FramesMessage(SCAN_HEADER.uid, number, max(number % 4096, 1), codec, (), number)
    assert understood(bytes(encode(message)[0])) == (number, max(number % 4096, 1), codec)
    named = replace(message, sender=2**63 - 1 - number)
    assert understood(bytes(encode(named)[0])) == (number, max(number % 4096, 1), codec)
    bare = {"count": 3, "type": "frames", "first": number, "uid": SCAN_HEADER.uid}
    assert understood(msgpack.packb(bare)) == (number, 3, "none")


@pytest.mark.parametrize(
    "change",
    [
        {"type": "ping"},
        {"uid": "another"},
        {"uid": SCAN_HEADER.uid + "x"},
        {"first": -1},
        {"first": 1.0},
        {"first": True},
        {"first": 2**63},
        {"count": 0},
        {"count": 4097},
        {"first": 2**28},
        {"count": None},
        {"codec": "lz4"},
        {"codec": "bslz44"},
        {"note": "hello"},
        {"sender": -1},
        {"sender": 2**63},
        {"sender": "me"},
    ],
)
def test_everything_else_is_left_to_python(change: dict[str, Any]) -> None:
    plain = {"type": "frames", "uid": SCAN_HEADER.uid, "seq": 0, "first": 1, "count": 2, "codec": "none"}
    assert understood(msgpack.packb(plain)) is not None
    assert understood(msgpack.packb({**plain, **change})) is None
    assert understood(msgpack.packb(plain) + b"\0") is None
    assert understood(msgpack.packb({k: v for k, v in plain.items() if k != "first"})) is None


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(changed))
        if chance.random() < 0.7:
            changed[at] = chance.randrange(256)
        else:
            del changed[at : at + chance.randrange(1, 5)]
        if not changed:
            return b"\0"
    return bytes(changed)


def test_what_is_understood_of_damaged_headers_is_what_python_understands() -> None:
    chance, agreed = random.Random(7), 0
    for _ in range(20_000):
        number = chance.choice([3, 200, 70_000])
        header = mutated(bytes(encode(FramesMessage(SCAN_HEADER.uid, number, 2, "bslz4", (), number))[0]), chance)
        if (seen := understood(header)) is not None:
            message = decode([header])
            assert isinstance(message, FramesMessage)
            assert (message.uid, message.first, message.count, message.codec) == (SCAN_HEADER.uid, *seen)
            agreed += 1
    assert agreed > 100


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    """A PUSH and a PULL socket, connected."""
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.setsockopt(zmq.RCVTIMEO, 50)
    pull.setsockopt(zmq.RCVHWM, 0)
    push.setsockopt(zmq.SNDHWM, 0)
    pull.bind("inproc://pair")
    push.connect("inproc://pair")
    yield push, pull
    context.destroy(linger=0)


def drain(loop: CompiledLoop, pull: Any) -> tuple[dict[int, bytes], list[WireError], int]:
    """Everything that is in the socket: patterns, refusals, and how many messages are left to Python."""
    got: dict[int, bytes] = {}
    refused: list[WireError] = []
    left = 0
    while (outcome := loop.receive(pull)) != IDLE:
        if (block := loop.take()) is not None:
            for number, frame in zip(block.index.tolist(), block.batch.frames, strict=True):
                assert number not in got
                got[number] = frame.tobytes()
        refused += loop.refused()
        if outcome == HEADER:
            left += 1
            _, more = loop.left_over()
            if more:
                pull.recv_multipart()
    refused += loop.refused()
    return got, refused, left


def following(codec: Any, scan_header: ScanHeader = SCAN_HEADER) -> tuple[CompiledLoop, ScanProgress]:
    loop, progress = CompiledLoop.prepare(), ScanProgress(scan_header)
    loop.follow(progress)
    loop.expect(codec)
    return loop, progress


def hostile(chance: random.Random) -> list[bytes]:
    """Frames messages, some of them faulty."""
    first, count = chance.randrange(len(FRAMES)), chance.randrange(1, 9)
    header = bytes(encode(FramesMessage(SCAN_HEADER.uid, first, count, "bslz4", ()))[0])
    parts = [CODED[n % len(CODED)] for n in range(first, first + count)]
    kind = chance.randrange(6)
    if kind == 0:
        header = mutated(header, chance)
    elif kind == 1:
        at = chance.randrange(len(parts))
        parts[at] = mutated(parts[at], chance)
    elif kind == 2:
        parts = parts[: chance.randrange(len(parts))]
    elif kind == 3:
        parts.append(chance.randbytes(chance.randrange(3000)))
    elif kind == 4:
        return [chance.randbytes(chance.randrange(300)) for _ in range(chance.randrange(1, 4))]
    return [header, *parts]


def attack(pair: tuple[Any, Any], count: int, seed: int) -> None:
    push, pull = pair
    loop, progress = following("bslz4")
    chance = random.Random(seed)
    refused = 0
    for start in range(0, count, 500):
        progress.received[:] = False
        for _ in range(500):
            push.send_multipart(hostile(chance))
        got, problems, _ = drain(loop, pull)
        refused += len(problems)
        assert np.flatnonzero(progress.received).tolist() == sorted(got), f"seed {seed}, from {start}"
        for number in range(len(FRAMES)):
            if not progress.received[number]:
                push.send_multipart(encode(FramesMessage(SCAN_HEADER.uid, number, 1, "bslz4", (CODED[number],))))
        rest, problems, left = drain(loop, pull)
        assert (problems, left) == ([], 0)
        assert sorted([*got, *rest]) == list(range(len(FRAMES)))
        assert all(rest[number] == FRAMES[number].tobytes() for number in rest)
    assert refused > count / 20


def test_hostile_messages_are_refused(pair: tuple[Any, Any]) -> None:
    attack(pair, 3_000, seed=8)


@pytest.mark.slow
def test_many_hostile_messages(pair: tuple[Any, Any]) -> None:
    attack(pair, 100_000, seed=9)


@pytest.mark.parametrize(("parts", "reason"), [((b"",), "truncated"), ((bytes(129),), "oversized")])
def test_wrong_sizes_have_reasons(pair: tuple[Any, Any], parts: tuple[bytes, ...], reason: str) -> None:
    push, pull = pair
    loop, progress = following("none")
    push.send_multipart(encode(FramesMessage(SCAN_HEADER.uid, 0, 1, "none", parts)))
    push.send_multipart(encode(FramesMessage(SCAN_HEADER.uid, 0, 1, "none", (FRAMES[0].tobytes(), b"more"))))
    push.send_multipart(encode(FramesMessage(SCAN_HEADER.uid, 0, 1, "none", (FRAMES[0].tobytes(),))))
    got, refused, left = drain(loop, pull)
    assert (got, left) == ({0: FRAMES[0].tobytes()}, 0)
    assert sorted(error.reason for error in refused) == sorted([reason, "wrong_parts"])
    assert all(str(error).startswith("a frames message has ") for error in refused), "not `none message has …`"
    assert progress.received.sum() == 1


def test_a_message_that_no_longer_fits_waits_for_the_next_block(pair: tuple[Any, Any]) -> None:
    push, pull = pair
    scan_header = make_header((1, 320), pixels=(256, 256))  # 256 patterns fill a block
    frames = make_frames(scan_header)
    loop, _ = following("bslz4", scan_header)
    for first in (0, 160):
        parts = tuple(compressed(frame) for frame in frames[first : first + 160])
        push.send_multipart(encode(FramesMessage(scan_header.uid, first, 160, "bslz4", parts)))
    got, refused, left = drain(loop, pull)
    assert (sorted(got), refused, left) == (list(range(320)), [], 0)
    assert all(got[n] == frames[n].tobytes() for n in got)


def test_a_waiting_message_can_be_left_to_python(pair: tuple[Any, Any]) -> None:
    push, pull = pair
    scan_header = make_header((1, 320), pixels=(256, 256))
    part = compressed(np.zeros((256, 256), "<u2"))
    loop, _ = following("bslz4", scan_header)
    for first in (0, 160):
        push.send_multipart(encode(FramesMessage(scan_header.uid, first, 160, "bslz4", (part,) * 160, sender=1001)))
    loop.expect("bslz4", 1001)
    loop.receive(pull)
    assert loop.pending
    read, more = loop.left_over()
    assert more
    assert not loop.pending
    message = decode([*read, *pull.recv_multipart()])
    assert isinstance(message, FramesMessage)
    assert (message.first, message.count, len(message.parts), message.sender) == (160, 160, 160, 1001)


@pytest.mark.parametrize("taken", [(1001,), (1001, 2**62), (0,), ()])
def test_messages_of_another_sender_are_left_to_python(pair: tuple[Any, Any], taken: tuple[int, ...]) -> None:
    push, pull = pair
    loop, _ = following("bslz4")
    loop.forget_senders()
    for sender in taken:
        loop.expect("bslz4", sender)
    senders = (1001, 1002, 0, 2**62, 1001)
    for number, sender in enumerate(senders):
        message = FramesMessage(SCAN_HEADER.uid, number, 1, "bslz4", (CODED[number],), sender=sender)
        push.send_multipart(encode(message))
    got, refused, left = drain(loop, pull)
    wanted = [number for number, sender in enumerate(senders) if sender in taken]
    assert (sorted(got), refused, left) == (wanted, [], 5 - len(wanted))


def test_blocks_are_used_again_once_nobody_holds_them() -> None:
    memory = BlockMemory()
    memory.shape(32)
    first = memory.block()
    view = first[2:].view(np.uint16)
    held = memory.block()
    assert held is not first
    address = first.ctypes.data
    del first
    assert memory.block().ctypes.data != address, "a view still holds it"
    del view
    assert memory.block().ctypes.data == address


def test_a_context_that_ends_wakes_the_loop() -> None:
    pull = zmq.Context().socket(zmq.PULL)
    loop, _ = following("none")
    outcomes: list[int] = []
    thread = threading.Thread(target=lambda: outcomes.append(loop.receive(pull)))
    thread.start()
    time.sleep(0.1)
    ended = threading.Thread(target=pull.context.term)
    ended.start()
    thread.join(60)
    assert outcomes == [BROKEN]
    pull.close(linger=0)
    ended.join(60)
    assert not ended.is_alive()


@pytest.mark.parametrize("flowing", [False, True])
def test_it_can_be_stopped(flowing: bool) -> None:
    scan_header = make_header((100, 100))
    receiver = Receiver(ReceiverSettings("tcp://127.0.0.1:0"), on_event=lambda event: None)
    assert receiver.accelerate()
    receiver.start()
    with connected(receiver.address) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        send(socket, ArmMessage(scan_header))
        if flowing:
            for message in messages_of(scan_header, make_frames(scan_header)[:5000], batch=1):
                send(socket, message)
        receiver.stop()  # otherwise it would hang
    assert not receiver._thread.is_alive()


@pytest.mark.slow
def test_freed_memory_is_left_alone() -> None:
    """Compiled code must not free the memory whose address it passes to libzmq; the C library checks this."""
    library = next(Path("/usr/lib").glob("*/libc_malloc_debug.so.0"), None)
    if library is None:
        pytest.skip("the C library has no malloc check here")
    environment = {**os.environ, "LD_PRELOAD": str(library), "MALLOC_CHECK_": "3"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::test_it_can_be_stopped"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_frames_come_while_it_compiles_and_no_frame_is_lost_when_it_takes_over() -> None:
    scan_header = make_header((30, 30))
    frames = make_frames(scan_header)
    messages = messages_of(scan_header, frames, batch=1)
    with running() as run, connected(run.address) as socket:
        send(socket, ArmMessage(scan_header), *messages[:200])
        assert not run.receiver.accelerated
        background = threading.Thread(target=run.receiver.accelerate)
        background.start()
        for message in messages[200:800]:
            send(socket, message)
        background.join()
        assert run.receiver.accelerated
        send(socket, *messages[800:], EndMessage(scan_header.uid, scan_header.frames, "complete"))
        run.wait_for_state("complete")
        assert len(run.frames[scan_header.uid]) == scan_header.frames
        assert run.receiver.status().rejected == {}


def test_without_libzmq_the_plain_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise PtyliveError("no libzmq here")

    monkeypatch.setattr(libzmq, "library", absent)
    scan_header = make_header()
    with running() as run, connected(run.address) as socket:
        assert not run.receiver.accelerate()
        send(socket, ArmMessage(scan_header), *messages_of(scan_header, make_frames(scan_header)))
        run.wait_for_state("complete")
        assert any("not used" in getattr(event, "text", "") for event in run.events)


@pytest.mark.parametrize("name", quick_first(["streamer/fast/bslz4.py", *cache.CONSTANT_FILES], 2))
def test_the_cache_is_another_one_when_a_compiled_file_changes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numba itself only checks the file of the called function, not those of the functions that it calls."""
    root = Path(cache.__file__).resolve().parents[2]
    for folder in ("engine/backend", "schema", "streamer"):
        shutil.copytree(root / folder, tmp_path / folder)
    before = cache.source_hash()
    monkeypatch.setattr(cache, "PACKAGE", tmp_path)
    assert cache.source_hash() == before
    changed = tmp_path / name
    changed.write_text(changed.read_text() + "\n")
    assert cache.source_hash() != before


def test_every_file_whose_constants_are_compiled_is_of_the_hash() -> None:
    """Upper-case names imported by a file with compiled functions may be compiled in."""
    root = Path(cache.__file__).resolve().parents[2]
    for path in (path for folder in cache.COMPILED_FOLDERS for path in (root / folder).rglob("*.py")):
        source = path.read_text()
        if "import numba" not in source:
            continue
        for found in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)):
            module = str(found.module)
            name = f"{module.removeprefix('ptylive.').replace('.', '/')}.py"
            constants = any(alias.name.lstrip("_").isupper() for alias in found.names)
            if constants and module.startswith("ptylive.") and not name.startswith(cache.COMPILED_FOLDERS):
                assert name in cache.CONSTANT_FILES, f"{path.name} imports constants of {module}"
