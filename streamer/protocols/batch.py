"""Gather single images, as detectors send them, into frames messages: fewer records, larger steps."""

from __future__ import annotations

from collections.abc import Iterator

from ptylive.streamer.wire import FramesMessage
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec

_MOST_IMAGES = 32
_MOST_BYTES = 2**20


class Batch:
    """Images of one scan with successive numbers and one codec, until the batch is full or something else arrives."""

    def __init__(self) -> None:
        self._uid = ""
        self._first = 0
        self._codec: Codec = "none"
        self._parts: list[Buffer] = []
        self._nbytes = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, uid: str, number: int, codec: Codec, data: Buffer) -> Iterator[FramesMessage]:
        """Add an image; yield the messages that have to be handed on because of it."""
        if self._parts and (uid, codec, number) != (self._uid, self._codec, self._first + len(self._parts)):
            yield from self.flush()
        if not self._parts:
            self._uid, self._first, self._codec = uid, number, codec
        self._parts.append(data)
        self._nbytes += len(data)
        if len(self._parts) >= _MOST_IMAGES or self._nbytes >= _MOST_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[FramesMessage]:
        """Yield everything that is held, as one message."""
        if not self._parts:
            return
        parts, self._parts, self._nbytes = self._parts, [], 0
        whole = tuple(parts) if self._codec != "none" or len(parts) == 1 else (b"".join(parts),)
        yield FramesMessage(self._uid, self._first, len(parts), self._codec, whole)
