"""A Merlin detector for tests and demonstrations: listens at a TCP port and sends acquisitions like Merlin's software.

It sends an acquisition header with the number of frames and the shape of the scan, then frames (see
ptylive.streamer.protocols.merlin). The end is not announced. It serves one client at a time; data sent while a
connection breaks are lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import numpy as np

from ptylive.schema import InputFileError, MetadataError, ScanHeader
from ptylive.schema.model import Array
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.tcp_line import TcpDetector
from ptylive.streamer.wire import EndMessage, FrameLayout, FramesMessage

MerlinMode = Literal["processed", "raw1", "raw6", "raw12", "raw24"]
"""Pixels as the file has them (U08, U16 or U32), or packed as counters of that number of bits."""
_PIXELS = {"|u1": "U08", "<u2": "U16", "<u4": "U32"}
_RAW_TYPES = {1: "u1", 6: "u1", 12: "<u2", 24: "<u4"}
_CHIP, _QUAD, _GAP = 256, 512, 2
_HEADER_BYTES = 2048
_FRAME_HEADER_BYTES = {1: 384, 4: 768}
_CHIP_FIELDS = "3RX," + "068,511,000," * 9
_DEFAULT_EXPOSURE_US = 100.0


def parse_mode(text: str) -> MerlinMode:
    """Return one of the modes. Raises MetadataError."""
    for name in get_args(MerlinMode):
        if text == name:
            return name  # type: ignore[no-any-return]
    raise MetadataError(f"--mode {text!r} is not known", f"give {', '.join(get_args(MerlinMode))}")


class MerlinDetector(TcpDetector):
    """Replaces :class:`ptylive.simulators.sender.Sender`: arm, frames, end, for one scan after the other."""

    def __init__(self, address: str, patience: SendPatience, mode: MerlinMode = "processed") -> None:
        """Listen at tcp://HOST:PORT (port 0: any). Raises ServerGoneError when it is taken."""
        super().__init__(address, patience, "merlin")
        self._mode = mode

    def arm(self, scan_header: ScanHeader) -> None:
        """Announce an acquisition. Raises InputFileError for patterns that no such detector makes."""
        self._acquisition = _Acquisition(scan_header, self._mode)
        self._line.send(mpx(self._acquisition.header()))

    def frames(self, message: FramesMessage) -> None:
        """Send frames coded ``none``, one message each."""
        for frame in self._acquisition.frames(message):
            self._line.send(mpx(frame))

    def end(self, message: EndMessage) -> None:
        """Do nothing: Merlin does not announce the end."""


def mpx(body: bytes) -> bytes:
    """A message as on the wire: the length includes the comma before the body."""
    return b"MPX,%010d," % (len(body) + 1) + body


class _Acquisition:
    """Encoding of the messages of one acquisition."""

    def __init__(self, scan_header: ScanHeader, mode: MerlinMode) -> None:
        if not scan_header.basis.is_raw or scan_header.detector.dtype not in _PIXELS:
            data = scan_header.detector.dtype if scan_header.basis.is_raw else "coefficients"
            raise InputFileError(f"a Merlin detector cannot send {data}", "replay it with the native protocol")
        self._scan_header = scan_header
        self._layout = FrameLayout.of(scan_header)
        self._began = datetime.now(UTC).replace(tzinfo=None)
        rows, columns = scan_header.detector_shape
        self._quad = rows == columns and rows in (_QUAD, _QUAD + _GAP)
        self._gap = columns - _QUAD if self._quad else 0
        self._name = ("2x2G" if self._gap else "2x2") if self._quad else "1x1"
        self._raw_depth = 0 if mode == "processed" else int(mode.removeprefix("raw"))
        if self._raw_depth and not self._quad and (rows > _CHIP or columns != _CHIP):
            text = f"{rows} x {columns} pixels are not a raw frame of a Merlin detector"
            raise InputFileError(text, "it has one or four chips of 256 x 256: replay with --mode processed")
        self._depth = self._raw_depth or self._stated_depth()

    def header(self) -> bytes:
        """Return the acquisition header, padded to its usual length."""
        header = self._scan_header
        frames, scan_shape = header.frames, header.scan.shape
        lines = {
            "Time and Date Stamp (day, mnth, yr, hr, min, s)": self._began.strftime("%d/%m/%Y %H:%M:%S"),
            "Chip Type (Medipix 3.0, Medipix 3.1, Medipix 3RX)": "Medipix 3RX",
            "Assembly Size (NX1, 2X2)": f"{self._name:>6}",
            "Counter Depth (number)": self._depth or "",
            "Gap Fill Mode": "None",
            "Flat Field File": "None",
            "Frames in Acquisition (Number)": frames,
            "Frames per Trigger (Number)": frames,
            "Readout System": "Merlin Quad",
            "Software Version": "simulated by ptylive",
        }
        if scan_shape is not None:
            lines |= {"ScanX": scan_shape[1], "ScanY": scan_shape[0]}
        text = "HDR,\t\r\n" + "".join(f"{name}:\t{value}\r\n" for name, value in lines.items()) + "End\t"
        return text.encode("latin-1").ljust(_HEADER_BYTES)

    def frames(self, message: FramesMessage) -> Iterator[bytes]:
        """Yield header and pixels of each frame. A frame that a fault has made shorter or longer stays so."""
        (part,) = message.parts
        nbytes = self._layout.nbytes
        for k in range(message.count):
            last = k == message.count - 1 or len(part) < (k + 1) * nbytes
            data = bytes(part[k * nbytes : None if last else (k + 1) * nbytes])
            if not data:
                return
            pattern = np.frombuffer(data.ljust(nbytes, b"\0")[:nbytes], self._layout.dtype).reshape(self._layout.shape)
            pixels = self._pixels(message.first + k, pattern)
            beyond = len(data) - nbytes
            pixels = pixels + bytes(beyond) if beyond >= 0 else pixels[: beyond * len(pixels) // nbytes]
            yield self._frame_header(message.first + k) + pixels

    def _stated_depth(self) -> int:
        """For processed pixels: the counter whose largest number is the pixels' largest count; 0: unknown."""
        most = self._scan_header.detector.saturation_value
        return next((depth for depth in (6, 12, 24) if most == 2**depth - 1), 0)

    def _frame_header(self, number: int) -> bytes:
        exposure_us = self._scan_header.scan.dwell_time_us or _DEFAULT_EXPOSURE_US
        time_ = self._began + timedelta(microseconds=number * max(exposure_us, 1.0))
        rows, columns = self._scan_header.detector_shape
        chips = 4 if self._quad else 1
        if self._raw_depth:
            columns = chips * _CHIP * (2 if self._raw_depth == 24 else 1)
            rows = (rows - self._gap) // 2 if self._quad else rows
        pixels = "R64" if self._raw_depth else _PIXELS[self._scan_header.detector.dtype]
        offset = _FRAME_HEADER_BYTES[chips]
        text = f"MQ1,{number + 1:06d},{offset:05d},{chips:02d},{columns:04d},{rows:04d},{pixels},{self._name:>6},"
        text += f"{2**chips - 1:02X},{time_},{1e-6 * exposure_us:.6f},0,0,0,4.000000E+1,5.110000E+2,"
        text += "0.000000E+0," * 6 + _CHIP_FIELDS * chips
        if self._depth:
            exposure_ns = round(1e3 * exposure_us)
            text += f"MQ1A,{time_.isoformat(timespec='microseconds')}000Z,{exposure_ns}ns,{self._depth},"
        return text.encode("latin-1").ljust(offset)

    def _pixels(self, number: int, pattern: Array) -> bytes:
        """A pattern as Merlin stores it: the lowest row of the picture first. Raises InputFileError."""
        if not self._raw_depth:
            return pattern[::-1].astype(pattern.dtype.newbyteorder(">")).tobytes()
        if (most := int(pattern.max())) >= 2**self._raw_depth:
            text = f"pattern {number} has {most} counts in a pixel, more than {self._raw_depth} bits hold"
            raise InputFileError(text, "replay with --mode processed, or with more bits")
        counts = pattern.astype(_RAW_TYPES[self._raw_depth])
        lines = self._lines(counts) if self._quad else counts[::-1]
        if self._raw_depth == 24:
            return b"".join(_packed(half.astype("<u2"), 12) for half in (lines >> 12, lines & 0xFFF))
        return _packed(lines, self._raw_depth)

    def _lines(self, counts: Array) -> Array:
        """Four chips (rows, 4, columns), arranged as the lines of a raw frame."""
        upper, lower = counts[:_CHIP], counts[-_CHIP:][::-1]
        left, right = slice(0, _CHIP), slice(-_CHIP, None)
        return np.stack([upper[:, right][:, ::-1], upper[:, left][:, ::-1], lower[:, right], lower[:, left]], axis=1)


def _packed(lines: Array, depth: int) -> bytes:
    """Pixels as words of 64 bits, big-endian, the lowest column in the lowest bits."""
    flat = np.ascontiguousarray(lines).ravel()
    stored = np.packbits(flat, bitorder="little") if depth == 1 else flat
    return stored.view("<u8").astype(">u8").tobytes()
