"""Two senders that use the same uid, their frames, and what recordings hold of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
from stream_tools import (
    Running,
    connected,
    digest,
    digests_of_file,
    make_frames,
    make_header,
    messages_of,
    running,
    send,
)

from ptylive.streamer.events import LogEvent
from ptylive.streamer.wire import FramesMessage, Message

HEADER = replace(make_header(), uid="test")
FIRST, SECOND = make_frames(HEADER, seed=1), make_frames(HEADER, seed=2)
ONE, TWO = messages_of(HEADER, FIRST, 7), messages_of(HEADER, SECOND, 7)
AGAIN = "test-again-2"


def digests(frames: Any, first: int = 0) -> dict[int, bytes]:
    return {first + number: digest(frame) for number, frame in enumerate(frames)}


def part(frames: Any, first: int, stop: int) -> FramesMessage:
    return FramesMessage(HEADER.uid, first, stop - first, "none", (frames[first:stop].tobytes(),))


def recorded(folder: Path) -> dict[str, dict[int, bytes]]:
    """Frames of every recording in a folder, by the name of its scan."""
    return {_uid(path): digests_of_file(path) for path in folder.glob("*.h5")}


def _uid(path: Path) -> str:
    with h5py.File(path) as file:
        return str(file["metadata"].attrs["uid"])


def said_senders(folder: Path) -> dict[str, int]:
    """Number of senders that each recording states, by the name of its scan."""
    found = {}
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            found[_uid(path)] = int(file.attrs.get("senders", 1))
    return found


def warned(run: Running) -> list[str]:
    return [event.text for event in run.events if isinstance(event, LogEvent) and event.level == "warning"]


class Sending:
    """Two connections whose messages are handled one after the other."""

    def __init__(self, run: Running, sockets: tuple[Any, Any]) -> None:
        self.run, self.sockets, self.placed = run, sockets, 0

    def frames(self, who: int, message: Any, new: int | None = None) -> None:
        send(self.sockets[who], message)
        self.placed += message.count if new is None else new
        self.run.wait(lambda: sum(map(len, self.run.frames.values())) == self.placed)

    def other(self, who: int, *messages: Message) -> None:
        """Messages that leave no trace; the refused one after them does."""
        before = self.run.receiver.status().rejected.get("unknown_scan", 0)
        send(self.sockets[who], *messages, replace(ONE[0], uid="nobody"))
        self.run.wait(lambda: self.run.receiver.status().rejected.get("unknown_scan", 0) == before + 1)


@contextmanager
def two_senders(folder: Path) -> Iterator[Sending]:
    with running(folder) as run, connected(run.address) as one, connected(run.address) as two:
        yield Sending(run, (one, two))
