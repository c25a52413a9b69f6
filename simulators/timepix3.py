"""A Timepix3 whose raw packets are sent on as they come: listens at a TCP port, like Serval's raw destination.

Patterns lie in the middle of one chip, or of four if they are larger. A line of the scan is sent when it is complete;
its trigger is high as long as the beam is on the line.
"""

from __future__ import annotations

import numpy as np

from ptylive.schema import InputFileError, ScanHeader
from ptylive.schema.model import IndexArray
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.tcp_line import TcpDetector
from ptylive.simulators.timepix3_packets import LineTiming, chunk, edge_word, packets_of_line
from ptylive.streamer.timepix3.live import LATE
from ptylive.streamer.timepix3.packets import TICKS
from ptylive.streamer.timepix3.sensor import Sensor
from ptylive.streamer.wire import EndMessage, FrameLayout, FramesMessage

_USUAL_DWELL_US = 10.0
_FLYBACK_US = 50.0


class RawTimepix3(TcpDetector):
    """Replaces :class:`ptylive.simulators.sender.Sender`: arm, frames, end, for one scan after the other."""

    def __init__(self, address: str, patience: SendPatience) -> None:
        """Listen at tcp://HOST:PORT (port 0: any). Raises ServerGoneError when it is taken."""
        super().__init__(address, patience, "tpx3-raw")
        self._rng = np.random.default_rng(0)
        self._now = 0  # ticks at which the next line may begin

    def arm(self, scan_header: ScanHeader) -> None:
        """Begin a scan. Raises InputFileError for patterns that no such detector makes."""
        self._layout = layout = FrameLayout.of(scan_header)
        if not scan_header.basis.is_raw or layout.dtype.kind != "u":
            data = scan_header.detector.dtype if scan_header.basis.is_raw else "coefficients"
            raise InputFileError(f"a Timepix3 detector cannot send {data}", "replay it with the native protocol")
        self._sensor = Sensor(four=max(scan_header.detector_shape) > Sensor(four=False).shape[0])
        if max(scan_header.detector_shape) > self._sensor.shape[0]:
            rows, columns = scan_header.detector_shape
            raise InputFileError(
                f"a Timepix3 detector does not have {rows} x {columns} pixels", "replay it with another protocol"
            )
        self._places = _places(scan_header.detector_shape, self._sensor)
        self._columns = scan_header.scan.frames_per_row if scan_header.scan.shape is not None else scan_header.frames
        self._timing = LineTiming.of(scan_header.scan.dwell_time_us or _USUAL_DWELL_US, _FLYBACK_US)
        self._point, self._pixel = list[IndexArray](), list[IndexArray]()
        self._next = 0

    def frames(self, message: FramesMessage) -> None:
        """Take frames coded ``none``, in order, and send the lines that they complete; missing ones have no hits."""
        (part,) = message.parts
        nbytes = message.count * self._layout.nbytes
        whole = bytes(part).ljust(nbytes, b"\0")[:nbytes]
        flat = np.frombuffer(whole, self._layout.dtype).reshape(message.count, -1)
        for number, pattern in enumerate(flat, message.first):
            self._lines_until(number)
            lit = np.flatnonzero(pattern)
            pixels = np.repeat(self._places[lit], pattern[lit].astype(np.int64))
            pixels = pixels[pixels >= 0]
            self._pixel.append(pixels)
            self._point.append(np.full(len(pixels), number % self._columns))
        self._lines_until(message.first + message.count)

    def end(self, message: EndMessage) -> None:
        """Send the rest, and advance the time until nothing of it is waited for."""
        self._lines_until(message.frames)
        self._now += 2 * LATE
        self._line.send(chunk(0, np.array([edge_word("2 fall", self._now, 0)], dtype="<u8")))

    def _lines_until(self, number: int) -> None:
        """Send the lines that are over when a frame begins."""
        while self._next + self._columns <= number:
            point, pixel = (np.concatenate([np.zeros(0, np.int64), *some]) for some in (self._point, self._pixel))
            self._point, self._pixel = [], []
            begins, dwell = self._now, self._timing.dwell // 2 * 2
            line = packets_of_line(point, pixel, self._columns, begins, dwell, self._sensor, self._rng)
            self._line.send(line)
            self._now = (begins + self._columns * dwell + self._timing.flyback) // TICKS * TICKS
            self._next += self._columns


def _places(shape: tuple[int, int], sensor: Sensor) -> IndexArray:
    """(rows x columns,) flat pixels of the sensor in whose middle patterns lie; -1 in its gap."""
    first = [(whole - part) // 2 for whole, part in zip(sensor.shape, shape, strict=True)]
    row, column = (index.ravel() + at for index, at in zip(np.indices(shape), first, strict=True))
    return np.where(sensor.gap[row, column], -1, row * sensor.shape[1] + column)
