"""Split the bytes of a TCP stream into whole messages: ``MPX,<length, ten digits>,`` before each; garbage is skipped.

The length includes the comma behind it. TCP loses nothing, but a sender may: bytes that are not a message are skipped
up to the next beginning of a header or frame, and a message that contains such a beginning was cut short. Whatever
comes in between, every whole message is found. Consecutive frames of equal length are handed on together, with their
prefixes, as a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ptylive.schema import WireError
from ptylive.streamer.protocols.received_bytes import ReceivedBytes
from ptylive.streamer.wire.arrays import Buffer

DATA_PORT = 6342
"""Merlin's default port, where an address names none."""
PREFIX_BYTES = 15
MAX_MPX_BYTES = 16 * 2**20
"""Limit on one message: four chips of 24 bits have 1 MiB."""
_LEAST_BYTES = 4
_BEGINNING = re.compile(rb"MPX,[0-9]{10},(?:MQ1|HDR),")
_SAMPLES = (b"MPX,0000000000,MQ1,", b"MPX,0000000000,HDR,")
_MARKER_BYTES = len(_SAMPLES[0])
_PREFIX = re.compile(rb"MPX,([0-9]{10}),")


def is_run(part: Buffer) -> bool:
    """Whether a part is a run of frames of equal length with their prefixes, rather than one message without prefix."""
    return bytes(part[:4]) == b"MPX,"


def message_bytes(part: Buffer) -> int:
    """Bytes of the first frame of a run with its prefix. Raises WireError where the prefix has no length."""
    found = _PREFIX.match(part)
    if found is None or int(found.group(1)) <= _LEAST_BYTES:
        raise WireError(f"message of unknown type {bytes(part[:_LEAST_BYTES])!r}", "unknown_type")
    return PREFIX_BYTES + int(found.group(1)) - 1


class MpxSplitter(ReceivedBytes):
    """A buffer into which bytes are read, and the messages that have arrived; bounded by one message."""

    def __init__(self) -> None:
        super().__init__(PREFIX_BYTES + MAX_MPX_BYTES)
        self._wanted = 0  # of the message that begins at _first, with its prefix; 0: not known
        self._usual = 0  # length of the last frame, with its prefix
        self._usual_beginning = b""

    def read(self, count: int) -> Iterator[memoryview | WireError]:
        """Yield the messages, without prefixes, that ``count`` bytes complete, and the errors of refused bytes:
        ``not_mpx``, ``oversized``, ``truncated``. No bytes: nothing more has arrived for a while.

        A message whose last bytes may be the beginning of the next one waits for more bytes, or for a pause. A part
        that begins with ``MPX,`` is a run (:func:`is_run`). Messages are parts of the buffer: valid as long as they are
        held.
        """
        self._last += count
        while self._first < self._last:
            if (stop := self._end_of_run()) > self._first:
                yield self._handed_on(stop, skipped=0)
                continue
            if self._skipping and not self._find_message():
                return
            if self._wanted == 0:
                if self._last - self._first < PREFIX_BYTES and self._may_begin():
                    return
                if (problem := self._begin()) is not None:
                    yield problem
                    continue
            available = self._last - self._first
            if count and self._wanted == self._usual and available < self._wanted:
                return
            if not self._fits() and (inside := self._other_message()) is not None:
                text = f"message cut short: another one begins after {inside - self._first} bytes"
                yield WireError(text, "truncated")
                self._first, self._wanted = inside, 0
            elif available < self._wanted or (count and self._may_be_cut()):
                return
            else:
                self._note_usual()
                yield self._handed_on(self._first + self._wanted, skipped=PREFIX_BYTES)

    def _handed_on(self, stop: int, skipped: int) -> memoryview:
        """Return the buffer up to ``stop``, without the first ``skipped`` bytes."""
        start, self._first, self._wanted = self._first + skipped, stop, 0
        return self._part(start, stop)

    def _note_usual(self) -> None:
        """Remember from a received frame how others begin."""
        start = self._first + PREFIX_BYTES
        if self._bytes.startswith(b"MQ1,", start):
            self._usual = self._wanted
            self._usual_beginning = bytes(self._view[self._first : start + _LEAST_BYTES])

    def _end_of_run(self) -> int:
        """Position behind consecutive frames of the usual length that arrived completely and fit (:meth:`_fits`)."""
        at, usual = self._first, self._usual
        if not usual or self._skipping or self._wanted not in (0, usual):
            return at
        begins, last = self._bytes.startswith, self._last
        while begins(self._usual_beginning, at, last) and begins(b"MPX,", at + usual, last):
            at += usual
        return at

    def _fits(self) -> bool:
        """Whether a frame is as long as the one before it and the next message follows, so that it need not be
        searched.

        A truncated frame swallows a part of a whole frame, and then none begins behind it.
        """
        return self._wanted == self._usual and self._bytes.startswith(b"MPX,", self._first + self._wanted, self._last)

    def _may_begin(self) -> bool:
        """Whether the few available bytes may be the beginning of a prefix."""
        text = bytes(self._view[self._first : min(self._last, self._first + 4)])
        return b"MPX,".startswith(text)

    def _begin(self) -> WireError | None:
        """Read the prefix that should stand here; refused bytes are skipped."""
        prefix = bytes(self._view[self._first : min(self._last, self._first + PREFIX_BYTES)])
        found = _PREFIX.fullmatch(prefix)
        nbytes = int(found.group(1)) - 1 if found is not None else 0
        if _LEAST_BYTES <= nbytes <= MAX_MPX_BYTES:
            self._wanted = PREFIX_BYTES + nbytes
            self._searched = self._first + 1
            return None
        self._skipping = True
        self._searched = self._first + 1
        if found is None:
            return WireError(
                f"bytes that are not a Merlin message ({prefix!r}): searching for the next message", "not_mpx"
            )
        return WireError(f"message of {nbytes} bytes: searching for the next message", "oversized")

    def _find_message(self) -> bool:
        """Skip bytes that are not a message; return whether the next one has been found."""
        found = _BEGINNING.search(self._view, self._searched, self._last)
        if found is None:
            self._first = self._searched = max(self._searched, self._last - _MARKER_BYTES + 1)
            return False
        self._first, self._skipping, self._wanted = found.start(), False, 0
        return True

    def _other_message(self) -> int | None:
        """Position at which another message begins inside the current one."""
        stop = self._first + self._wanted
        reach = min(self._last, stop + _MARKER_BYTES - 1)
        at = self._bytes.find(b"MPX,", self._searched, reach)
        while 0 <= at < stop:
            if _BEGINNING.match(self._view, at, reach) is not None:
                return at
            at = self._bytes.find(b"MPX,", at + 1, reach)
        self._searched = max(self._searched, min(stop, reach - _MARKER_BYTES + 1))
        return None

    def _may_be_cut(self) -> bool:
        """Whether the last bytes of the message may be the first of another one, of which more must be seen."""
        stop = self._first + self._wanted
        at = self._bytes.find(b"M", max(self._first + 1, self._last - _MARKER_BYTES + 1), stop)
        while at >= 0:
            received = bytes(self._view[at : self._last])
            if any(_BEGINNING.match(received + sample[len(received) :]) for sample in _SAMPLES):
                return True
            at = self._bytes.find(b"M", at + 1, stop)
        return False
