"""The C++ sender of docs/examples, compiled against the libzmq included in pyzmq; and servers that lose frames."""

import hashlib
import os
import random
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgpack
import numpy as np
import pytest
import zmq

from ptylive.schema import ScanHeader
from ptylive.streamer.sockets.security import ServerKeys
from ptylive.streamer.wire import (
    ArmMessage,
    EndMessage,
    FrameLayout,
    FramesMessage,
    Message,
    PingMessage,
    decode,
    decode_frames,
    runs_of,
)

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "examples" / "cpp"
PAGE = FOLDER.parents[1] / "senders.md"
STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")


def compiler() -> str:
    """Path of g++; skips the test if there is none."""
    found = shutil.which("g++")
    if found is None:
        pytest.skip("no C++ compiler (g++): the C++ sender cannot be tried")
    return found


def libzmq() -> Path:
    """The library in pyzmq's wheel; skips the test if pyzmq is built differently."""
    packages = Path(zmq.__file__).parents[1]
    found = sorted([*packages.glob("pyzmq.libs/libzmq*"), *packages.glob("zmq/.dylibs/libzmq*")])
    if not found:
        pytest.skip("this pyzmq brings no libzmq to link the C++ sender against")
    return found[0]


def stream_file(*flags: str) -> Path:
    """The compiled example, kept from run to run.

    The lines of docs/senders.md are compiled with it, which takes less time than compiling them separately.
    """
    command = [compiler(), *STRICT, *flags, f"-I{FOLDER}"]
    sources = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.iterdir())]
    (lines,) = re.findall(r"^```cpp\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    # the old kind of run path: libraries needed by an older pyzmq's libzmq are also searched along it
    link = [libzmq(), f"-Wl,-rpath,{libzmq().parent},--disable-new-dtags"]
    key = hashlib.sha256(repr((command, link, sources, lines)).encode()).hexdigest()[:16]
    # one per user: a file made by somebody else may be unreadable, and should not be run
    built = Path(tempfile.gettempdir()) / f"ptylive-stream-file-{os.getuid()}-{key}"
    if not built.exists():
        with tempfile.TemporaryDirectory() as work:
            made, example = Path(work) / "made", Path(work) / "example.h"
            example.write_text(lines, encoding="utf-8")
            subprocess.run([*command, "-include", example, "-o", made, FOLDER / "stream_file.cpp", *link], check=True)
            shutil.move(made, built)
    return built


PATIENCE_S = 90.0
"""Allows for a machine that is busy with ten other things; no result depends on it."""

Loses = Callable[[FramesMessage, int], bool]
"""Whether a message is lost when it comes for the n-th time (from 1)."""


class LossyServer:
    """Accepts scans and reports what it has, but loses messages, and sends other things first. A context manager.

    ``noise``: sent before each reply. ``refuses``: reason under which it counts what was lost. ``about``: further
    content of its replies. ``follows``: a server that has ended; this one takes over its addresses and its data.
    """

    def __init__(
        self,
        loses: Loses = lambda message, time: False,
        noise: Callable[[bytes], list[bytes]] = lambda reply: [],
        refuses: str = "",
        keys: Path | None = None,
        about: Mapping[str, Any] | None = None,
        follows: "LossyServer | None" = None,
    ) -> None:
        self.messages: list[Message] = []
        self.frames: dict[int, bytes] = {} if follows is None else dict(follows.frames)
        self.problem: Exception | None = None
        self._loses, self._noise, self._refuses, self._about = loses, noise, refuses, about
        self._times: Counter[int] = Counter()
        self._rejected: Counter[str] = Counter()
        self._context = zmq.Context()
        self._pull, self._router = self._context.socket(zmq.PULL), self._context.socket(zmq.ROUTER)
        addresses = ("tcp://127.0.0.1:*",) * 2 if follows is None else (follows.data, follows.control)
        for socket, address in zip((self._pull, self._router), addresses, strict=True):
            if keys is not None:
                own = ServerKeys.open(keys)
                socket.curve_server, socket.curve_publickey, socket.curve_secretkey = True, own.public, own.secret
            socket.bind(address)
        self.data, self.control = (str(s.getsockopt_string(zmq.LAST_ENDPOINT)) for s in (self._pull, self._router))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def arm(self) -> ArmMessage:
        give_up = time.monotonic() + 20
        while not (found := [message for message in self.messages if isinstance(message, ArmMessage)]):
            assert time.monotonic() < give_up, "no scan was announced"
            time.sleep(0.01)  # another thread reads it
        return found[0]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds. Raises AssertionError if that takes too long or the server has a problem."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.problem is None
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def wait_for_end(self) -> EndMessage:
        """The message that ends a scan, once it has arrived."""
        self.wait(lambda: any(isinstance(message, EndMessage) for message in self.messages))
        return next(message for message in self.messages if isinstance(message, EndMessage))

    def patterns(self) -> list[bytes]:
        """Frames that have arrived, by number."""
        return [self.frames[number] for number in sorted(self.frames)]

    def _announced(self) -> list[ScanHeader]:
        said = [m.header for m in self.messages if isinstance(m, ArmMessage | PingMessage)]
        return [header for header in said if header is not None]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)
        if self.problem is not None:
            raise self.problem

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._pull, zmq.POLLIN)
        poller.register(self._router, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                ready = dict(poller.poll(20))
                if self._pull in ready:
                    self._take(decode(self._pull.recv_multipart()))
                if self._router in ready:
                    self._answer(*self._router.recv_multipart())
        except Exception as error:
            self.problem = error

    def _take(self, message: Message) -> None:
        self.messages.append(message)
        if not isinstance(message, FramesMessage):
            return
        self._times[message.first] += 1
        if not self._announced():
            self._rejected["unknown_scan"] += 1
            return
        if self._loses(message, self._times[message.first]):
            self._rejected[self._refuses] += 1
            return
        frames, good, _ = decode_frames(message, FrameLayout.of(self._announced()[0]))
        assert good.all()
        self.frames.update({message.first + n: frame.tobytes() for n, frame in enumerate(frames)})

    def _answer(self, peer: bytes, question: bytes) -> None:
        asked = msgpack.unpackb(question)
        reply: dict[str, Any] = {"id": asked["id"], "ok": True, "about": self._about}
        if asked["command"] == "received":
            reply["ranges"] = list(self._ranges())
        else:
            uids = [header.uid for header in self._announced()]
            reply.update(uid=uids[-1] if uids else "", rejected={k: n for k, n in self._rejected.items() if k})
        packed = msgpack.packb(reply)
        for said in (*self._noise(packed), packed):
            self._router.send_multipart([peer, said])

    def _ranges(self) -> Iterator[tuple[int, int]]:
        here = np.zeros(max(self.frames, default=-1) + 1, dtype=bool)
        here[list(self.frames)] = True
        return runs_of(here)


ODDITIES = {
    "nested": [[{"ranges": [[0, 2**40]]}] * 20, {1: 2, -3: None}],
    "numbers": [0, 127, 128, 2**16, 2**32, 2**64 - 1, -1, -33, -(2**15), -(2**40), 1.5, True, None],
    "long": ["x" * n for n in (31, 32, 255, 256, 70_000)] + [b"y" * n for n in (3, 300, 70_000)],
    "extensions": [msgpack.ExtType(5, b"z" * n) for n in (1, 2, 4, 8, 16, 3, 300, 70_000)],
    "many": list(range(20)) + list(range(70_000)),
    "wide": {str(n): n for n in range(70_000)},
}
"""Every form that msgpack has, which a client must be able to skip."""


def damaged(packed: bytes, chance: random.Random) -> bytes:
    """A faulty reply: cut off, with flipped bits, a huge count, deep nesting, or no msgpack at all."""
    kind = chance.randrange(5)
    if kind == 0:
        return packed[: chance.randrange(len(packed))]
    if kind == 1:
        return chance.randbytes(chance.randrange(200))
    if kind == 2:
        return packed[:1] + b"\xa2id" + bytes([chance.choice((0x91, 0x81))]) * chance.randrange(100_000)
    changed = bytearray(packed)
    where = 200 if chance.random() < 0.7 else len(changed)  # long lists make up most of a reply
    for _ in range(chance.randrange(1, 6)):
        changed[chance.randrange(min(where, len(changed)))] = chance.randrange(256)
    if kind == 4:
        start = chance.randrange(min(60, len(changed)))
        changed[start : start + 5] = bytes([chance.choice((0xDB, 0xC6, 0xC9, 0xDD, 0xDF))]) + b"\xff\xff\xff\xff"
    return bytes(changed)
