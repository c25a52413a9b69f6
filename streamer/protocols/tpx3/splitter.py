"""Split the bytes of a TCP stream into whole headers and chunks, skipping damage.

A header is accepted where the bytes that must be zero are zero and its lengths follow from one another; a chunk, if in
addition its first array counts its events and another header follows it, or nothing does for a while. Otherwise the
next header that could stand there is searched for, so that every whole chunk after the damage is found; a chunk of
which only the header is damaged is recovered. A message is a header with the data that follow it; a large chunk is
handed on in pieces, and a chunk damaged elsewhere as its header alone, which gives the number of its frames.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from ptylive.schema import WireError
from ptylive.streamer.protocols.received_bytes import ReceivedBytes
from ptylive.streamer.protocols.tpx3.chunks import PIECE_BYTES, cut, frame_ends, read_csr, repaired
from ptylive.streamer.protocols.tpx3.headers import (
    HEADER_BYTES,
    ITEM_BYTES,
    MAX_CHUNK_BYTES,
    AcquisitionEnd,
    AcquisitionStart,
    Chunk,
    ScanEnd,
    ScanStart,
    Tpx3Header,
    parse_header,
)
from ptylive.streamer.wire.arrays import Buffer

DATA_PORT = 8283
"""Port where LiberTEM-live looks for the detector, and where its simulator listens."""
_MOST_BYTES = MAX_CHUNK_BYTES + 2**16
REPAIRED = "repaired_header"
"""Reason of damage that cost nothing."""
_KEPT_BYTES = 8 * 2**20
"""Skipped bytes that are kept to find out what they were."""
_SCANS_AHEAD = 16
"""How far ahead the sequence number of the next scan of an acquisition may be, where headers were lost."""
_HEADER = re.compile(
    rb"\x00[\s\S][\x00\x01][\s\S]{4}[\x02-\x05][\s\S]{4}[\x02-\x05][\s\S]{4}\x00{15}"
    rb"|\x01[\s\S]{12}\x00{19}|\x02[\x02-\x05][\s\S]{16}\x00{14}|[\x03\x04][\s\S]{4}\x00{27}"
)
"""Appearance of a header among other bytes."""
_NO_TEXT = re.compile(rb"[\x00-\x08]")


class Tpx3Splitter(ReceivedBytes):
    """A buffer into which bytes are read, and the messages that have arrived; bounded by one message."""

    def __init__(self) -> None:
        super().__init__(_MOST_BYTES)
        self._header: Tpx3Header | None = None  # header of the message that begins at _first
        self._counted = False  # its first array has been checked
        self._acquisition: AcquisitionStart | None = None
        self._scan: int | None = None  # sequence number of the last scan that began
        self._usual = 0  # bytes of a count in the last chunk
        self._problem: WireError | None = None  # error of the skipped bytes; None once it has been reported

    def read(self, count: int) -> Iterator[Buffer | WireError]:
        """Yield the messages that ``count`` bytes complete, and the errors of refused bytes. No bytes: nothing more has
        arrived for a while. Messages may be parts of the buffer: valid until more is read.
        """
        self._last += count
        wait = count > 0
        while self._first < self._last:
            if self._skipping:
                yield from self._skipped(self._next_header(wait=wait), wait=wait)
                if self._skipping:
                    return
            try:
                header = self._complete_header(wait=wait)
            except WireError as error:
                self._skipping, self._header, self._problem = True, None, error
                self._searched = self._first + 1
                continue
            if header is None:
                return
            yield from self._handed_on(header)

    def _complete_header(self, *, wait: bool) -> Tpx3Header | None:
        """Header of the message that begins here, once all of it has arrived; None before. Raises WireError."""
        available = self._last - self._first
        if available < HEADER_BYTES:
            return None
        if self._header is None:
            self._header, self._counted = self._header_at(self._first), False
        header = self._header
        if isinstance(header, Chunk) and not self._counted and available >= HEADER_BYTES + header.indices_offset:
            self._check_counts(header)
            self._counted = True
        if isinstance(header, ScanStart):
            self._check_text(header)
        if available < HEADER_BYTES + header.nbytes:
            return None
        return header if self._is_followed(header, wait=wait) else None

    def _handed_on(self, header: Tpx3Header) -> Iterator[Buffer]:
        """Hand on a whole message."""
        start, stop = self._first, self._first + HEADER_BYTES + header.nbytes
        self._first, self._header, acquisition = stop, None, self._acquisition
        if isinstance(header, AcquisitionStart):
            self._acquisition, self._scan = header, None
        elif isinstance(header, AcquisitionEnd):
            self._acquisition = None
        elif isinstance(header, ScanStart):
            self._scan = header.sequence
        elif isinstance(header, Chunk):
            self._usual = header.value_bytes
            if header.nbytes > 2 * PIECE_BYTES and acquisition is not None:
                frames = read_csr(header, acquisition, self._view[start + HEADER_BYTES : stop])
                yield from () if frames is None else cut(frames, acquisition)
                return
        yield self._part(start, stop)

    def _header_at(self, at: int) -> Tpx3Header:
        """Read a header that could stand at ``at``. Raises WireError."""
        header = parse_header(self._view[at : at + HEADER_BYTES])
        if not isinstance(header, AcquisitionStart | AcquisitionEnd):
            if self._acquisition is None:
                raise WireError("a scan or its frames, whose acquisition start did not arrive", "no_header")
            if isinstance(header, Chunk):
                header.check(self._acquisition)
        return header

    def _check_counts(self, header: Chunk) -> None:
        """Raise WireError where the first array of a chunk does not count its events."""
        if not self._ends_fit(header, self._first):
            raise WireError(f"chunk of {header.frames} frames whose first array does not count its events", "bad_chunk")

    def _check_text(self, header: ScanStart) -> None:
        """Raise WireError where the start of a scan is not followed by text: then its length is wrong."""
        start = self._first + HEADER_BYTES
        if _NO_TEXT.search(self._view, start, min(self._last, start + header.nbytes)) is not None:
            raise WireError(f"{header.nbytes} bytes of metadata that are not text", "bad_header")

    def _ends_fit(self, header: Chunk, at: int) -> bool:
        arrays = self._view[at + HEADER_BYTES : at + HEADER_BYTES + header.indices_offset]
        return self._acquisition is not None and frame_ends(header, self._acquisition, arrays) is not None

    def _is_followed(self, header: Tpx3Header, *, wait: bool) -> bool:
        """Whether a header stands behind a message, or at no other place where it might: False while undecided. Raises
        WireError for a chunk that was cut short, or that cannot be trusted without a header behind it.
        """
        if not isinstance(header, Chunk):
            return True
        message_end = self._first + HEADER_BYTES + header.nbytes
        if message_end + HEADER_BYTES > self._last and wait:
            return False
        if message_end + HEADER_BYTES <= self._last and self._may_be_header(message_end):
            return True
        for at in self._candidates(self._first + HEADER_BYTES + header.indices_offset):
            if at >= message_end:
                break
            if begins := self._begins(at):
                raise WireError("chunk that was cut short: another message begins inside it", "truncated")
            if begins is None and wait:
                return False
        return self._is_usual(header) or self._is_first(header, message_end, wait=wait)

    def _is_usual(self, header: Chunk) -> bool:
        """Whether values that are given once and cannot be checked are as before: type of counts, omitted bytes."""
        close = self._acquisition is not None and header.is_close(self._acquisition)
        return header.value_bytes == self._usual and close

    def _is_first(self, header: Chunk, message_end: int, *, wait: bool) -> bool:
        """Whether a chunk that no header follows is the first one, and none would follow if its counts were wider;
        False while undecided. Raises WireError.
        """
        if message_end + HEADER_BYTES > self._last:
            return True  # nothing speaks against it, and nothing more comes
        widths = [nbytes for nbytes in ITEM_BYTES.values() if nbytes > header.value_bytes]
        ends = [message_end + header.events * (nbytes - header.value_bytes) for nbytes in widths]
        ends = [end for end in ends if end + HEADER_BYTES < self._first + _MOST_BYTES]
        arrived = [end for end in ends if end + HEADER_BYTES <= self._last]
        if self._usual or any(map(self._may_be_header, arrived)):
            raise WireError("chunk of a new kind that is not followed by a header", "bad_header")
        return not wait or len(arrived) == len(ends)

    def _may_be_header(self, at: int) -> bool:
        """Whether a header that belongs here stands at ``at``, judging by its sequence number too."""
        try:
            header = self._header_at(at)
        except WireError:
            return False
        scan, acquisition = self._scan, self._acquisition
        if isinstance(header, ScanStart):
            before = -1 if scan is None else scan
            return before < header.sequence <= before + _SCANS_AHEAD
        if isinstance(header, ScanEnd):
            return scan is None or header.sequence == scan
        if isinstance(header, AcquisitionEnd):
            return acquisition is not None and header.sequence == acquisition.sequence
        return True

    def _next_header(self, *, wait: bool) -> int | None:
        """Position where the next message begins; None while undecided."""
        for at in self._candidates(self._searched):
            begins = self._begins(at)
            if begins:
                return at
            if begins is None and wait:
                self._searched = at
                return None
        self._searched = max(self._searched, self._last - HEADER_BYTES + 1)
        return None

    def _candidates(self, at: int) -> Iterator[int]:
        """Positions from ``at`` on where bytes look like a header."""
        while (found := _HEADER.search(self._view, at, self._last)) is not None:
            yield found.start()
            at = found.start() + 1

    def _skipped(self, at: int | None, *, wait: bool) -> Iterator[Buffer | WireError]:
        """Report the bytes up to the next message: what they were, if all of them are still there."""
        start, problem = self._first, self._problem
        if at is None:
            if problem is not None and (not wait or self._last - start > _KEPT_BYTES):
                self._problem = None
                yield problem
            if self._problem is None:
                self._first = self._searched
            return
        self._first, self._skipping, self._problem = at, False, None
        if problem is not None:
            yield from self._recovered(start, at, problem)

    def _recovered(self, start: int, stop: int, problem: WireError) -> Iterator[Buffer | WireError]:
        """Recover a chunk between two positions of which only the header is damaged; otherwise its header alone."""
        data, acquisition = self._view[start:stop], self._acquisition
        if acquisition is not None and len(data) > HEADER_BYTES:
            chunk = repaired(data, acquisition)
            if chunk is not None:
                yield WireError(f"{problem}: inferred from the rest of the chunk", REPAIRED)
                frames = read_csr(chunk, acquisition, data[HEADER_BYTES:])
                yield from () if frames is None else cut(frames, acquisition)
                return
            with contextlib.suppress(WireError):
                header = self._header_at(start)
                close = isinstance(header, Chunk) and header.is_close(acquisition)
                if close and HEADER_BYTES + header.nbytes == len(data):
                    yield bytes(data[:HEADER_BYTES])
                    return
        yield problem

    def _begins(self, at: int) -> bool | None:
        """Whether a message begins at ``at``; None while undecided."""
        if not self._may_be_header(at):
            return False
        header = self._header_at(at)
        next_at = at + HEADER_BYTES
        if isinstance(header, AcquisitionStart):  # counts and zeros may look like one
            return self._is_scan_or_end(next_at) if next_at + HEADER_BYTES <= self._last else None
        if not isinstance(header, Chunk):
            return True
        return self._ends_fit(header, at) if next_at + header.indices_offset <= self._last else None

    def _is_scan_or_end(self, at: int) -> bool:
        """Whether a header that may follow the start of an acquisition stands at ``at``."""
        try:
            return isinstance(parse_header(self._view[at : at + HEADER_BYTES]), ScanStart | AcquisitionEnd)
        except WireError:
            return False
