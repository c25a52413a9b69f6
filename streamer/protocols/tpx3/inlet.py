"""Inlet for the Timepix3 stream: each start of a scan becomes a scan, its chunks become frames of events.

An acquisition gives the shapes, a chunk the type of counts: a scan begins with its first chunk. Frames stay sparse.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ptylive.schema import ScanHeader, WireError
from ptylive.streamer.protocols.header import Header, arm_message, in_words, user_map
from ptylive.streamer.protocols.inlet import Note, ProtocolSettings
from ptylive.streamer.protocols.tcp_connection import event
from ptylive.streamer.protocols.tpx3.chunks import Csr, in_order, read_csr
from ptylive.streamer.protocols.tpx3.headers import (
    HEADER_BYTES,
    AcquisitionEnd,
    AcquisitionStart,
    Chunk,
    ScanEnd,
    ScanStart,
    parse_header,
)
from ptylive.streamer.protocols.tpx3.numbering import FrameNumbering, PlacedFrames
from ptylive.streamer.protocols.tpx3.splitter import REPAIRED
from ptylive.streamer.wire import ArmMessage, EndMessage, FrameLayout, FramesMessage, Message, runs_of
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.events import event_parts, most_together, sum_over_frames

_LOST_TAIL = 0.01
"""A scan that ends with a larger fraction of its frames missing has been aborted."""


class _Scan:
    """The scan being received."""

    def __init__(self, acquisition: AcquisitionStart, start: ScanStart | None, text: bytes = b"") -> None:
        self.numbering = FrameNumbering(acquisition.frames, begun=start is not None)
        self.header: ScanHeader | None = None  # known from its first chunk on
        self.name = f"{acquisition.sequence}" + ("" if start is None else f"_{start.sequence}")
        self.user = _metadata(text)


class Tpx3Inlet:
    """Inlet for messages of Timepix3's data port (:class:`ptylive.streamer.protocols.Inlet`)."""

    def __init__(self, settings: ProtocolSettings, note: Note) -> None:
        self._note = note
        self._settings = settings
        self._acquisition: AcquisitionStart | None = None
        self._scan: _Scan | None = None
        self._waiting: deque[Buffer] = deque()  # arrived together with a message that was refused

    @property
    def holding(self) -> bool:
        """See :class:`Inlet`."""
        return bool(self._waiting)

    def take(self, parts: Sequence[Buffer]) -> Iterator[Message]:
        """See :class:`Inlet`. Detector messages, or events of the connection; a refused message does not affect the
        others.
        """
        try:
            text = event(parts)
        except WireError as error:
            if self._scan is not None and error.reason != REPAIRED:
                self._scan.numbering.lose()
            raise
        if text is not None:
            self._note(text)
        else:
            self._waiting.extend(parts)
        yield from self._taken()

    def flush(self) -> Iterator[Message]:
        """See :class:`Inlet`."""
        yield from self._taken()

    def template(self) -> None:
        """See :class:`Inlet`. The compiled loop does not support this stream."""
        return None

    def advance(self, number: int) -> None:
        """See :class:`Inlet`: nothing bypasses this one."""

    def _taken(self) -> Iterator[Message]:
        """Process what has arrived. Raises WireError for a refused message; those behind it wait for the next call."""
        while self._waiting:
            yield from self._message(self._waiting.popleft())

    def _message(self, message: Buffer) -> Iterator[Message]:
        header = parse_header(message)
        if isinstance(header, Chunk):
            yield from self._chunk(header, message[HEADER_BYTES:])
            return
        problems = list[WireError]()
        yield from self._end_scan(problems, ended=isinstance(header, ScanEnd))
        if isinstance(header, AcquisitionStart):
            self._acquisition = header
            if header.time_over_threshold:
                self._note("Timepix3 sends times over threshold, not counts: set its software to counting")
        elif isinstance(header, AcquisitionEnd):
            self._acquisition = None
        elif isinstance(header, ScanStart) and self._acquisition is not None:
            self._scan = _Scan(self._acquisition, header, bytes(message[HEADER_BYTES:]))
        if problems:
            raise problems[0]

    def _chunk(self, chunk: Chunk, arrays: Buffer) -> Iterator[Message]:
        """Place frames of the scan that began last, or of one whose beginning was missed."""
        acquisition = self._acquisition
        if acquisition is None:
            raise WireError("frames whose acquisition start did not arrive", "no_header")
        scan = self._scan = self._scan or _Scan(acquisition, None)
        frames = read_csr(chunk, acquisition, arrays) if len(arrays) else None
        placed = scan.numbering.put(chunk.frames, frames)
        if frames is None:
            raise WireError(f"chunk of {chunk.frames} frames is damaged", "bad_chunk")
        if scan.header is None:
            message = self._armed(scan, acquisition, chunk)
            scan.header = message.header
            yield message
        if placed is not None:
            yield from self._placed(scan.header, placed)

    def _armed(self, scan: _Scan, acquisition: AcquisitionStart, chunk: Chunk) -> ArmMessage:
        """Return the scan described by acquisition, metadata and configuration. Raises WireError."""
        stated = scan.user.get("scan")
        geometry = {**(stated if isinstance(stated, Mapping) else {}), "shape": list(acquisition.nav_shape)}
        header = Header(
            series=scan.name,
            frames=acquisition.frames,
            shape=acquisition.sig_shape,
            dtype="<u2" if chunk.value_bytes <= 2 else "<u4",
            user={**scan.user, "scan": geometry},
            sent={"metadata": in_words(scan.user)} if scan.user else {},
        )
        return arm_message(header, self._settings.prepare, self._note)

    def _end_scan(self, problems: list[WireError], *, ended: bool) -> Iterator[Message]:
        """End the scan being received; ``ended``: its sender reports that all of it was sent."""
        scan, self._scan = self._scan, None
        if scan is None or scan.header is None:
            return
        held, unplaced = scan.numbering.settle(ended=ended)
        if unplaced:
            problems.append(WireError(f"{unplaced} frames that arrived after a loss cannot be placed", "unplaced"))
        for placed in held:
            try:
                yield from self._placed(scan.header, placed)
            except WireError as error:
                problems.append(error)
        points, reached = scan.header.point_frames, scan.numbering.last + 1
        aborted = points - reached > _LOST_TAIL * points
        frames = scan.header.frames if aborted else max(points, reached)
        yield EndMessage(scan.header.uid, frames, "aborted" if aborted else "complete")

    def _placed(self, scan_header: ScanHeader, placed: PlacedFrames) -> Iterator[Message]:
        """Yield frames as messages. Raises WireError, last, for those that are invalid, or beyond the scan."""
        frames = in_order(placed.frames)
        layout = FrameLayout.of(scan_header)
        most = int(np.iinfo(layout.dtype).max)
        inside = max(0, min(len(frames.ends), scan_header.frames - placed.first))
        good = sum_over_frames((frames.values > most).astype(np.int64), frames.ends)[:inside] == 0
        together = most_together(layout.nbytes)
        for start, stop in runs_of(good):
            for first in range(start, stop, together):
                run = frames.run(first, min(stop, first + together))
                yield _message(scan_header.uid, placed.first + first, run, layout)
        if inside < len(frames.ends):
            text = f"{len(frames.ends) - inside} frames beyond the {scan_header.frames} of their scan"
            raise WireError(text, "beyond_scan")
        if not good.all():
            text = f"{np.count_nonzero(~good)} frames with more than {most} counts in a pixel"
            raise WireError(text, "impossible_value")


def _message(uid: str, first: int, frames: Csr, layout: FrameLayout) -> FramesMessage:
    parts = event_parts(np.diff(frames.ends, prepend=0), frames.indices, frames.values.astype(layout.dtype))
    return FramesMessage(uid, first, len(frames.ends), "events", parts)


def _metadata(text: bytes) -> Mapping[str, Any]:
    """What the sender sent about a scan, as JSON; anything else gives nothing."""
    try:
        return user_map(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        return {}
