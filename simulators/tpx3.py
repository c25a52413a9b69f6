"""A Timepix3 detector for tests and demonstrations: listens at a TCP port and sends scans like the detector's
software.

Each acquisition has one scan, with sparse frames, in one chunk per line (see ptylive.streamer.protocols.tpx3). It
serves one client at a time; data sent while a connection breaks are lost.
"""

from __future__ import annotations

import numpy as np

from ptylive.schema import InputFileError, ScanHeader
from ptylive.schema.model import Array
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.tcp_line import TcpDetector
from ptylive.streamer.protocols.tpx3.chunks import Csr, pack_chunk
from ptylive.streamer.protocols.tpx3.headers import (
    AcquisitionEnd,
    AcquisitionStart,
    ScanEnd,
    ScanStart,
    pack_header,
)
from ptylive.streamer.wire import EndMessage, FrameLayout, FramesMessage
from ptylive.streamer.wire.events import PIXEL_TYPE

_MOST_POINTS = 2**16 - 1
"""Limit along each axis of the scan, set by its header."""
_INDEX_BYTES = PIXEL_TYPE.itemsize


class Tpx3Detector(TcpDetector):
    """Replaces :class:`ptylive.simulators.sender.Sender`: arm, frames, end, for one scan after the other."""

    def __init__(self, address: str, patience: SendPatience) -> None:
        """Listen at tcp://HOST:PORT (port 0: any). Raises ServerGoneError when it is taken."""
        super().__init__(address, patience, "tpx3")
        self._sequence = 0

    def arm(self, scan_header: ScanHeader) -> None:
        """Begin an acquisition and its scan. Raises InputFileError for patterns that no such detector makes."""
        self._sequence += 1
        self._layout = FrameLayout.of(scan_header)
        self._acquisition = _acquisition(scan_header, self._layout, self._sequence)
        self._line.send(pack_header(self._acquisition) + pack_header(ScanStart(1)))

    def frames(self, message: FramesMessage) -> None:
        """Send frames coded ``none`` as one chunk; one that a fault has made shorter or longer is damaged thus."""
        (part,) = message.parts
        nbytes = message.count * self._layout.nbytes
        whole = bytes(part).ljust(nbytes, b"\0")[:nbytes]
        patterns = np.frombuffer(whole, self._layout.dtype).reshape(message.count, -1)
        chunk = pack_chunk(_sparse(patterns), self._acquisition)
        beyond = len(part) - nbytes
        self._line.send(chunk + bytes(beyond) if beyond >= 0 else chunk[:beyond])

    def end(self, message: EndMessage) -> None:
        """End the scan and its acquisition."""
        self._line.send(pack_header(ScanEnd(1)) + pack_header(AcquisitionEnd(self._sequence)))


def _acquisition(scan_header: ScanHeader, layout: FrameLayout, sequence: int) -> AcquisitionStart:
    if not scan_header.basis.is_raw or layout.dtype.kind != "u" or not layout.dtype.isnative:
        data = scan_header.detector.dtype if scan_header.basis.is_raw else "coefficients"
        raise InputFileError(f"a Timepix3 detector cannot send {data}", "replay it with the native protocol")
    rows, columns = scan_header.scan.shape or (1, scan_header.frames)
    if rows * columns != scan_header.frames:  # with flyback, or frames that are repeated or left out: all of them
        rows, columns = 1, scan_header.frames
    if max(rows, columns) > _MOST_POINTS:
        raise InputFileError(f"a Timepix3 detector cannot send {rows} x {columns} points", "replay a smaller scan")
    return AcquisitionStart((rows, columns), scan_header.detector_shape, 4, _INDEX_BYTES, sequence)


def _sparse(patterns: Array) -> Csr:
    """The pixels of patterns (n, pixels) that counted something."""
    number, pixels = np.nonzero(patterns)
    ends = np.cumsum(np.bincount(number, minlength=len(patterns)))
    return Csr(ends, pixels.astype(PIXEL_TYPE), patterns[number, pixels])
