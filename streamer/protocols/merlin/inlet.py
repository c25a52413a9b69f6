"""Inlet for Merlin's messages: acquisition headers and frames become scans, as for DECTRIS (``series.py``).

An acquisition header announces a scan; the scan begins with the first frame, which has the remaining information
(pixels, layout, exposure). Merlin does not report the end of an acquisition: it follows from the number of frames, the
next header, or silence.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from ptylive.schema import ScanHeader, WireError
from ptylive.streamer.protocols.header import Header, in_words
from ptylive.streamer.protocols.image import Image
from ptylive.streamer.protocols.inlet import Note, ProtocolSettings, Taken
from ptylive.streamer.protocols.merlin.headers import (
    AcquisitionHeader,
    FrameHeader,
    exposed_at,
    parse_acquisition_header,
    parse_frame_header,
)
from ptylive.streamer.protocols.merlin.pixels import decode_pixels, gap_pixels, pixel_layout
from ptylive.streamer.protocols.merlin.runs import RunDecoder, RunTemplate
from ptylive.streamer.protocols.merlin.splitter import PREFIX_BYTES, is_run, message_bytes
from ptylive.streamer.protocols.series import Series
from ptylive.streamer.protocols.tcp_connection import event
from ptylive.streamer.wire.arrays import Buffer

_KIND_BYTES = 4
_NAME_LENGTH = 23
"""Characters of a time that name an acquisition: milliseconds."""


@dataclass(frozen=True)
class _Frame:
    """A frame whose header and pixels are understood."""

    header: FrameHeader
    shape: tuple[int, int]
    dtype: str
    data: bytes


class _Exposed(NamedTuple):
    """Number of a frame that has arrived, and the time of its exposure, as text."""

    number: int
    time: str


class MerlinInlet:
    """Inlet for messages of Merlin's data port (:class:`ptylive.streamer.protocols.Inlet`)."""

    def __init__(self, settings: ProtocolSettings, note: Note) -> None:
        self._note = note
        self._settings = settings
        self._series = Series(replace(settings, prepare=self._prepared), note)
        self._key = ""  # of the acquisition being received; empty: none
        self._acquisition = AcquisitionHeader()
        self._announced = False  # its header arrived, none of its frames did
        self._latest: _Exposed | None = None  # the frame with the latest exposure
        self._described: _Frame | None = None  # its header describes the scan
        self._doubtful: _Frame | None = None  # starts an acquisition without a header if the next frame agrees
        self._count = 0
        self._from_zero = 0  # 1: the acquisition's first frame has the number 0, not 1
        self._template: RunTemplate | None = None  # a frame of the acquisition, with which others are compared
        self._runs = RunDecoder()
        self._waiting: deque[Buffer] = deque()  # arrived together with a message that was refused

    @property
    def holding(self) -> bool:
        """See :class:`Inlet`."""
        return bool(self._waiting) or self._series.holding

    def take(self, parts: Sequence[Buffer]) -> Iterator[Taken]:
        """See :class:`Inlet`. Messages of Merlin, or events of the connection; a refused message does not affect the
        others.
        """
        if (text := event(parts)) is not None:
            self._note(text)
        else:
            self._waiting.extend(parts)
        yield from self._taken()

    def _taken(self) -> Iterator[Taken]:
        """Process what has arrived. Raises WireError for a refused message; those behind it wait for the next call."""
        while self._waiting:
            part = self._waiting.popleft()
            yield from self._run(part) if is_run(part) else self._message(part)

    def _run(self, run: Buffer) -> Iterator[Taken]:
        """Process frames of equal length, with prefixes: those that resemble one already placed go together."""
        handled, messages = self._together(run)
        if not handled:
            handled = min(len(run), message_bytes(run))
            messages = self._compared_with(run[PREFIX_BYTES:handled])
        if handled < len(run):
            self._waiting.appendleft(run[handled:])
        yield from messages

    def _together(self, run: Buffer) -> tuple[int, Iterator[Taken]]:
        """Bytes of a run that are handled, 0 where its first frame must be examined; and the resulting messages."""
        template, latest = self._template, self._latest
        if template is None or latest is None or self._announced or self._doubtful is not None:
            return 0, iter(())
        rows, layout = template.rows(run), template.layout
        first, count = (0, 0) if rows is None else template.alike(rows)
        if rows is None or not count:
            self._template = None
            return 0, iter(())
        place = first + self._from_zero
        count = min(count, self._series.together(self._key, layout.shape, layout.dtype, place))
        if not count or first <= latest.number:
            return 0, iter(())
        last = rows[count - 1, PREFIX_BYTES : template.offset].data
        self._note_exposed(first + count - 1, exposed_at(last, len(last)))
        make = partial(self._runs.message, template, rows[:count])
        return count * template.stride, self._series.images(place, count, make)

    def _compared_with(self, message: Buffer) -> Iterator[Taken]:
        """Process a frame; those that follow are compared with it unless it is refused or in doubt."""
        yield from self._message(message)
        if self._template is None and self._key and self._doubtful is None:
            header = parse_frame_header(message)
            layout = pixel_layout(header, header.counter_depth or self._acquisition.counter_depth)
            self._template = RunTemplate.of(message, header, layout)

    def _message(self, message: Buffer) -> Iterator[Taken]:
        """Process one message of Merlin."""
        kind = bytes(message[:_KIND_BYTES])
        if kind == b"MQ1,":
            yield from self._frame(self._decoded(message))
        elif kind == b"HDR,":
            yield from self._header(parse_acquisition_header(message))
        else:
            raise WireError(f"message of unknown type {kind!r}", "unknown_type")

    def flush(self) -> Iterator[Taken]:
        """See :class:`Inlet`."""
        yield from self._taken()
        yield from self._series.flush()

    def template(self) -> None:
        """See :class:`Inlet`. Pixels must be unpacked, which the compiled loop does not support."""
        return None

    def advance(self, number: int) -> None:
        """See :class:`Inlet`."""
        self._series.advance(number)

    def _header(self, acquisition: AcquisitionHeader) -> Iterator[Taken]:
        """Process an acquisition header: the previous acquisition is over."""
        problems = list[WireError]()
        yield from self._settled(problems)
        yield from self._end_current()
        self._acquisition, self._announced, self._key = acquisition, True, ""
        self._latest = self._template = None
        if problems:
            raise problems[0]

    def _end_current(self) -> Iterator[Taken]:
        """End the acquisition that was being received, if it was accepted."""
        if self._key:
            with contextlib.suppress(WireError):
                yield from self._series.end(self._key)

    def _decoded(self, message: Buffer) -> _Frame:
        """Decode a frame to a pattern. Raises WireError."""
        header = parse_frame_header(message)
        layout = pixel_layout(header, header.counter_depth or self._acquisition.counter_depth)
        nbytes = len(message) - header.data_offset
        if nbytes != layout.nbytes:
            reason = "truncated" if nbytes < layout.nbytes else "oversized"
            raise WireError(f"frame {header.number}: {nbytes} bytes of pixels instead of {layout.nbytes}", reason)
        return _Frame(header, layout.shape, layout.dtype, decode_pixels(layout, message[header.data_offset :]))

    def _frame(self, frame: _Frame) -> Iterator[Taken]:
        """Assign a frame to the acquisition whose header came last, unless its number and time contradict this.

        An acquisition that begins with frame 0 counts from there if the next frame is 1: the number may be damaged.
        """
        doubtful, problems = self._doubtful, list[WireError]()
        begins = self._announced or not self._key
        if doubtful is None and (frame.header.number < 0 if begins else self._exposed_last(frame.header)):
            self._doubtful = frame
            return
        if doubtful is not None and frame.header.number == doubtful.header.number + 1:
            if not begins:
                self._note("Merlin restarted its frame count: the header of a new acquisition did not arrive")
                yield from self._end_current()
                self._begin_without_header(doubtful)
            elif frame.header.time > doubtful.header.time:
                yield from self._beginning(doubtful)
        yield from self._settled(problems)
        if self._announced or not self._key:
            yield from self._beginning(frame)
        yield from self._placed(frame)
        if problems:
            raise problems[0]

    def _settled(self, problems: list[WireError]) -> Iterator[Taken]:
        """Place a doubtful frame in the current acquisition; if it is refused, no other frame is lost."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None:
            try:
                yield from self._placed(doubtful)
            except WireError as error:
                problems.append(error)

    def _exposed_last(self, header: FrameHeader) -> bool:
        """Whether a number already received was exposed after all others: a repeat has the same exposure."""
        latest = self._latest
        return latest is not None and header.number <= latest.number and header.time > latest.time

    def _beginning(self, frame: _Frame) -> Iterator[Taken]:
        """Begin an acquisition with its first frame, which supplies what its header lacks."""
        announced, acquisition = self._announced, self._acquisition
        self._begin_without_header(frame)
        if announced:
            self._acquisition = acquisition
            shape = acquisition.scan_shape
            user = {} if shape is None else {"scan": {"shape": list(shape)}}
            yield from self._series.header(
                self._key,
                Header(
                    self._key,
                    acquisition.frames,
                    frame.shape,
                    frame.dtype,
                    user=user,
                    sent={"acquisition header": in_words(acquisition.values)},
                ),
            )

    def _begin_without_header(self, frame: _Frame) -> None:
        """Begin an acquisition of which only the first received frame is known."""
        self._count += 1
        self._key = frame.header.time[:_NAME_LENGTH].replace(":", ".") or f"acquisition {self._count}"
        self._acquisition, self._announced = AcquisitionHeader(), False
        self._described, self._latest, self._template = frame, None, None
        self._from_zero = int(frame.header.number < 0)

    def _placed(self, frame: _Frame) -> Iterator[Taken]:
        header = frame.header
        number = header.number + self._from_zero
        if number < 0:
            raise WireError("frame 0 of an acquisition whose first frame has a different number", "bad_image")
        self._note_exposed(header.number, header.time)
        yield from self._series.image(Image(self._key, number, frame.shape, frame.dtype, "none", frame.data))

    def _note_exposed(self, number: int, time: str) -> None:
        """Note the latest exposure; times are texts that sort by time."""
        if self._latest is None or time >= self._latest.time:
            self._latest = _Exposed(number, time)

    def _prepared(self, scan_header: ScanHeader) -> ScanHeader:
        """Combine the headers' description of a scan with the server's configuration. Raises PtyliveError."""
        frame, acquisition = self._described, self._acquisition
        scan, detector, arrays = scan_header.scan, scan_header.detector, dict(scan_header.arrays)
        if frame is not None:
            if frame.header.exposure_s is not None:
                scan = scan.model_copy(update={"dwell_time_us": 1e6 * frame.header.exposure_s})
            if (most := self._most_counts(frame.header)) is not None:
                detector = detector.model_copy(update={"saturation_value": float(most)})
            if not acquisition.gap_filled and (gaps := gap_pixels(frame.header, frame.shape)) is not None:
                arrays["bad_pixel_mask"] = gaps
        described = replace(scan_header, scan=scan, detector=detector, arrays=arrays)
        return self._with_lines(self._settings.prepare(described))

    def _with_lines(self, scan_header: ScanHeader) -> ScanHeader:
        """Guess a missing scan shape: one line per trigger, where that divides the number of frames."""
        frames, line = self._acquisition.frames, self._acquisition.frames_per_trigger
        if scan_header.scan.shape is not None or not frames or not line or frames % line or not 1 < line < frames:
            return scan_header
        shape = (frames // line, line)
        self._note(f"{frames} frames, {line} for each trigger: a scan of {shape[0]} x {line} is assumed")
        return replace(scan_header, scan=scan_header.scan.model_copy(update={"shape": shape}))

    def _most_counts(self, header: FrameHeader) -> int | None:
        """Largest count that a pixel can record; None for corrected pixels, and for one bit, which is always full."""
        depth = header.counter_depth or self._acquisition.counter_depth
        bare = header.pixels == "R64" or not self._acquisition.corrected
        return 2**depth - 1 if depth is not None and depth > 1 and bare else None
