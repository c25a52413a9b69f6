"""Inlet for raw packets of a Timepix3: hits become frames of events according to the configured scan.

The stream has no information about the scan: its shape is in the configuration, and edges at the trigger inputs, or the
dwell time, assign each hit to a frame (:mod:`ptylive.streamer.timepix3.live`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ptylive.schema import Scan, ScanHeader, WireError
from ptylive.schema.model import BoolArray
from ptylive.streamer.protocols.header import Header, arm_message
from ptylive.streamer.protocols.inlet import Note, ProtocolSettings
from ptylive.streamer.protocols.tcp_connection import event, is_gone
from ptylive.streamer.protocols.tpx3_raw.splitter import SILENCE
from ptylive.streamer.timepix3.frames import COUNTS
from ptylive.streamer.timepix3.live import LineFrames, LivePackets, ScanBegan, ScanEnded
from ptylive.streamer.timepix3.packets import TICK_NS, Place, decode
from ptylive.streamer.timepix3.sensor import MOST_CHIPS, Sensor
from ptylive.streamer.wire import ArmMessage, EndMessage, FrameLayout, FramesMessage, Message
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.events import event_parts, most_together

SILENCE_S = 0.2
"""Duration that :data:`SILENCE` stands for."""
_TICKS_PER_US = 1e3 / TICK_NS


class Tpx3RawInlet:
    """Inlet for chunks of packets (:class:`ptylive.streamer.protocols.Inlet`)."""

    holding = False

    def __init__(self, settings: ProtocolSettings, note: Note) -> None:
        self._settings, self._note = settings, note
        self._place = Place()
        self._live: LivePackets | None = None
        self._scan: ScanHeader | None = None
        self._scans = self._untimed = 0
        self._unknown = False  # whether packets of unsupported chips were seen
        self._reported: str | None = None  # why packets cannot be processed, as last reported

    def take(self, parts: Sequence[Buffer]) -> Iterator[Message]:
        """See :class:`Inlet`. Chunks of the detector, or events of the connection."""
        text = event(parts)
        if text is not None:
            self._note(text)
            if is_gone(parts):  # the next one may begin with other times
                if self._live is not None:
                    yield from self._as_messages(self._live.end())
                self._live, self._place = None, Place()
            return
        for part in parts:
            yield from self._chunks(part)

    def flush(self) -> Iterator[Message]:
        """See :class:`Inlet`: held hits wait for time to pass."""
        return iter(())

    def template(self) -> None:
        """See :class:`Inlet`. The compiled loop does not support this stream."""
        return None

    def advance(self, number: int) -> None:
        """See :class:`Inlet`: nothing bypasses this one."""

    def _chunks(self, part: Buffer) -> Iterator[Message]:
        if self._scan is None:  # the next scan uses the configuration of that moment
            known = self._configured()
            if known is None:
                return
            if self._live is None:
                self._live = LivePackets(*known)
            self._live.use(*known)
        live = self._live
        if live is None:
            return
        if len(part) == len(SILENCE) and bytes(part) == SILENCE:
            yield from self._as_messages(live.wait(SILENCE_S))
            return
        packets, self._place = decode(np.frombuffer(part, "<u8"), self._place)
        if packets.untimed and not self._untimed:
            self._note("the detector counts hits without times: set it to time of arrival")
        self._untimed += packets.untimed
        if packets.chips and max(packets.chips) >= MOST_CHIPS and not self._unknown:
            self._unknown = True
            self._note(f"packets of chip {max(packets.chips)} are left out: at most four chips are supported")
        yield from self._as_messages(live.take(packets))

    def _configured(self) -> tuple[Scan, float] | None:
        """Return the scan as configured now, and ticks between hits of one electron; None where that is not enough,
        which is reported once.
        """
        try:
            header = self._armed(Sensor(four=False), None).header
            scan = header.scan
            if scan.repeats > 1 or scan.skip_first:
                raise WireError("repeats and skip_first: a scan has one frame at each point", "bad_configuration")
        except WireError as error:
            if self._reported != str(error):
                self._reported = str(error)
                self._note(f"packets come, but {error}")
            return None
        return scan, (header.detector.cluster_time_us or 0.0) * _TICKS_PER_US

    def _armed(self, sensor: Sensor, dwell_us: float | None) -> ArmMessage:
        """Return the arm message of a new scan. Raises WireError."""
        header = Header(
            series=f"{self._scans}",
            shape=sensor.shape,
            dtype=COUNTS.str,
            frame_time_s=None if dwell_us is None else 1e-6 * dwell_us,
            bad_pixels=_gap(sensor),
        )
        return arm_message(header, self._settings.prepare, lambda _: None)

    def _as_messages(self, items: Iterator[ScanBegan | LineFrames | ScanEnded]) -> Iterator[Message]:
        for item in items:
            if isinstance(item, ScanBegan):
                self._scans += 1
                message = self._armed(item.sensor, item.dwell_us)
                self._scan = message.header
                if item.doubt is not None:
                    self._note(f"scan {message.header.series}: {item.doubt}: correct scan_shape or dwell_time_us")
                yield message
            elif self._scan is None:
                continue
            elif isinstance(item, LineFrames):
                yield from _messages(self._scan, item)
            else:
                yield self._ended(self._scan, item)
                self._scan = None

    def _ended(self, scan: ScanHeader, ended: ScanEnded) -> EndMessage:
        if ended.late:
            self._note(f"scan {scan.series}: {ended.late} hits arrived after their line had been passed on")
        if ended.dropped:
            self._note(
                f"scan {scan.series}: {ended.dropped} hits were dropped: too many to wait for the end of their line"
            )
        if ended.elsewhere:
            text = f"scan {scan.series}: {ended.elsewhere} hits are from chips that had not been seen when it began"
            self._note(f"{text}, and were left out: the next scan uses four chips")
        for note in ended.notes:
            self._note(f"scan {scan.series}: {note}")
        return EndMessage(scan.uid, scan.frames, "complete" if ended.whole else "aborted")


def _gap(sensor: Sensor) -> BoolArray | None:
    return sensor.gap if sensor.four else None


def _messages(scan: ScanHeader, row: LineFrames) -> Iterator[FramesMessage]:
    """Yield frames as messages of events, none larger than a receiver accepts."""
    frames = row.frames
    together = most_together(FrameLayout.of(scan).nbytes)
    lengths = np.diff(frames.ends, prepend=0)
    for start in range(0, len(frames.ends), together):
        stop = min(len(frames.ends), start + together)
        begin = int(frames.ends[start - 1]) if start else 0
        events = slice(begin, int(frames.ends[stop - 1]))
        parts = event_parts(lengths[start:stop], frames.pixels[events], frames.counts[events])
        yield FramesMessage(scan.uid, row.first + start, stop - start, "events", parts)
