"""The sending end of the native stream, used by other programs to send scans, and by `replay`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from operator import index
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ptylive.schema import MetadataError, Optics, ScanHeader, ServerGoneError, WireError
from ptylive.schema.errors import brief
from ptylive.schema.metadata import build, overlay
from ptylive.schema.model import Array
from ptylive.schema.scan_header import sent_texts
from ptylive.simulators.kept_frames import KeptFrames, SafeFrames
from ptylive.simulators.outlet import Outlet, SendPatience
from ptylive.streamer.sockets.security import ClientKeys
from ptylive.streamer.wire import (
    ArmMessage,
    EndMessage,
    FrameLayout,
    FramesMessage,
    Message,
    PingMessage,
    decode,
    encode,
)
from ptylive.streamer.wire.limits import MAX_BATCH

PING_INTERVAL_S = 1.0
_ASK_INTERVAL_S = 0.2
_FIRST_RESEND_S, _SLOWEST_RESEND_S = 1.0, 8.0
_PATIENT = SendPatience(away_s=30.0)
"""Patience of a sender that resends frames missing on a restarted server."""
_MESSAGE_BYTES = 2**20


class Sender:
    """Sends one scan after the other to a server's data address, with a ping every second. A context manager: on exit
    an open scan is finished, or aborted after an exception.

    Scans are sent by ``open``, ``send`` or ``send_row``, ``finish``; ``arm``, ``frames``, ``patterns`` and ``end`` are
    the single messages of the protocol. With ``control``, the server's control address, sent frames are kept (at most
    ``keep_bytes``; beyond that, ``send`` waits) until the server has them on its disk, and sent again if it does not: a
    scan is complete even if the server was killed and restarted. ``safe_s``: how long no further frames may become
    safe.

    Raises ServerGoneError when nobody takes a message in time (see :class:`Outlet`), or when sent frames do not become
    safe, MetadataError for impossible arguments. patience: an ``outlet.SendPatience``, None for the default.
    """

    def __init__(
        self,
        to: str,
        patience: SendPatience | None = None,
        keys: ClientKeys | None = None,
        control: str | None = None,
        safe_s: float = 30.0,
        keep_bytes: int = 2**30,
    ) -> None:
        if not isinstance(to, str):
            raise ServerGoneError(f"{brief(to)} is not an address to send to", "tcp://HOST:PORT")
        if not isinstance(patience, SendPatience | None):
            raise MetadataError(f"patience = {brief(patience)} is no SendPatience", "leave it out, or give one")
        for name, value in (("safe_s", safe_s), ("keep_bytes", keep_bytes)):
            if not isinstance(value, int | float) or not value > 0:
                raise MetadataError(f"{name} = {brief(value)} is impossible", "give a number above 0")
        self._outlet = Outlet(to, patience or (_PATIENT if control else SendPatience()), keys=keys)
        self._number = secrets.randbelow(2**62) + 1
        """Number that identifies this sender in every message, so that another sender may use the same uid."""
        self._header: ScanHeader | None = None
        self._pinged_at = 0.0
        self._server = SafeFrames(control, keys) if control else None
        self._safe_s, self._keep_bytes = safe_s, keep_bytes
        self._open = False  # by open(): a scan armed separately is ended separately
        self._closed = False
        self._sent = np.zeros(0, dtype=bool)
        self._kept = KeptFrames()
        self.resent = 0
        """Number of frames that were sent again."""

    def open(
        self,
        scan_shape: tuple[int, int],
        detector_shape: tuple[int, int],
        dtype: DTypeLike,
        *,
        series: str = "",
        uid: str | None = None,
        sent: Mapping[str, str] | None = None,
        **metadata: Any,
    ) -> str:
        """Announce a scan of (rows, columns) points, patterns (Qy, Qx) and their type; return its uid, by default a
        new one.

        metadata: under the names of docs/conventions.md, as scan_step_A=0.4, energy_eV=300e3, flyback_frames=8.
        ``sent``: texts by names, 16 kB together: further information to be kept with the scan, for people. Raises
        MetadataError for impossible values, ServerGoneError.
        """
        if self._open or self._closed:
            raise ValueError("a scan is open: finish() it first" if self._open else "this sender is closed")
        name = str(uuid4()) if uid is None else uid
        if not isinstance(sent, Mapping | None):
            raise MetadataError(f"sent = {brief(sent)} is not a table of texts", "give sent={NAME: TEXT}")
        header = _header_of(scan_shape, detector_shape, dtype, series, name, metadata)
        header = replace(header, sent=sent_texts(sent or {}))
        if self._server is not None and self._server.ask(header) is None:
            text = f"no server answers at {self._server.control}"
            raise ServerGoneError(text, "start one with ptylive serve, or give the address of its commands")
        self.arm(header)
        self._sent, self._kept, self._open = np.zeros(header.frames, dtype=bool), KeptFrames(), True
        return header.uid

    def send(self, first: int, patterns: ArrayLike) -> None:
        """Send patterns (n, Qy, Qx) or one pattern, numbered from ``first`` in acquisition order (flyback, repeats and
        skipped ones count); in any order, any number of times. The array may be reused at once.

        Raises ValueError if they do not fit the open scan, ServerGoneError.
        """
        if not self._open:
            raise ValueError("open() a scan first")
        array = np.asarray(patterns)
        self.patterns(first, array[np.newaxis] if array.ndim == len(self._layout().shape) else array)

    def send_row(self, row: int, patterns: ArrayLike) -> None:
        """Send all patterns of a row of the scan, repeats and flyback included."""
        if not self._open or self._header is None:
            raise ValueError("open() a scan first")
        scan, array = self._header.scan, np.asarray(patterns)
        if len(array) != scan.frames_per_row:
            raise ValueError(f"a row of {len(array)} patterns: rows of this scan have {scan.frames_per_row}")
        self.send(scan.skip_first + _integer("row", row) * scan.frames_per_row, array)

    def finish(self, *, complete: bool = True) -> None:
        """Finish the open scan, once the server has everything that was sent; ``complete=False``: abort it.

        Raises ServerGoneError if frames do not become safe; it may then be called again.
        """
        if not self._open or self._header is None:
            raise ValueError("no scan is open")
        if complete:
            self._make_safe(0)
        else:
            self._open = False  # whether or not anybody receives it
        sent = int(np.count_nonzero(self._sent))
        self.end(EndMessage(self._header.uid, sent, "complete" if complete else "aborted"))
        self._open = False

    def arm(self, header: ScanHeader) -> None:
        """Announce a scan."""
        self._header = header
        self._pinged_at = time.monotonic()
        self._send(ArmMessage(header))

    def frames(self, message: FramesMessage) -> None:
        """Send frames, and a ping when one is due."""
        self.ping_if_due()
        self._send(message)

    def patterns(self, first: int, patterns: Array) -> None:
        """Send patterns (n, Qy, Qx) of the scan announced last, numbered from ``first``, in messages of about 1 MB.

        Raises ValueError if none is announced, its patterns have another shape or type, or it has no such frames.
        """
        layout, header = self._layout(), self._header
        if (
            header is None
            or patterns.shape[1:] != layout.shape
            or not np.can_cast(patterns.dtype, layout.dtype, "equiv")
        ):
            announced = f"{layout.shape} {layout.dtype.str}"
            raise ValueError(f"patterns of {patterns.shape[1:]} {patterns.dtype.str}, but {announced} were announced")
        first = _integer("first", first)
        if not 0 <= first <= header.frames - len(patterns):
            raise ValueError(f"frames {first} to {first + len(patterns)} of a scan of {header.frames}")
        few = max(1, min(MAX_BATCH, _MESSAGE_BYTES // layout.nbytes))
        for start in range(0, len(patterns), few):
            # a copy: ZeroMQ sends later, and cameras reuse their memory
            part = np.array(patterns[start : start + few], layout.dtype, order="C")
            self._take(FramesMessage(header.uid, first + start, len(part), "none", (part.data.cast("B"),)))

    def ping_if_due(self) -> None:
        """Send a ping with the arm map, at most one a second."""
        if self._header is not None and time.monotonic() - self._pinged_at >= PING_INTERVAL_S:
            self._ping()

    def pause(self, seconds: float) -> None:
        """Wait, while pinging."""
        until = time.monotonic() + seconds
        while (seconds_left := until - time.monotonic()) > 0:
            time.sleep(min(seconds_left, PING_INTERVAL_S / 4))
            self.ping_if_due()

    def end(self, message: EndMessage) -> None:
        """Announce the end of the scan."""
        self._send(message)
        self._header = None

    def close(self, *, flush: bool = True) -> None:
        """Close the connection; with ``flush`` finish the open scan, and wait until everything has been sent, as long
        as a server is there.
        """
        if self._closed:
            return
        try:
            if self._open and flush:
                self.finish()
        finally:
            self._closed, self._open = True, False
            self._outlet.close(flush=flush)
            if self._server is not None:
                self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        completed = kind is None
        if self._open and not completed and not isinstance(error, ServerGoneError):
            with suppress(ServerGoneError):
                self.finish(complete=False)
                completed = True
        self.close(flush=completed)

    def _layout(self) -> FrameLayout:
        if self._header is None:
            raise ValueError("announce the scan first: arm(header)")
        return FrameLayout.of(self._header)

    def _take(self, message: FramesMessage) -> None:
        """Send frames, and keep them where they may have to be sent again."""
        if self._open:
            if self._server is not None:
                self._make_safe(max(0, self._keep_bytes - memoryview(message.parts[0]).nbytes))
                self._kept.keep(message)
            self._sent[message.first : message.first + message.count] = True
        self.frames(message)

    def _make_safe(self, most_bytes: int) -> None:
        """Wait until at most ``most_bytes`` are kept, resending frames the server lacks. Raises ServerGoneError."""
        if self._server is None or self._header is None or self._kept.nbytes <= most_bytes:
            return
        refused = self._server.rejected() or {}
        moved_at, resent_at, pause_s = time.monotonic(), time.monotonic(), _FIRST_RESEND_S
        while True:
            safe = self._server.ask(self._header)
            now = time.monotonic()
            if safe is not None and self._kept.drop(safe):
                moved_at, pause_s = now, _FIRST_RESEND_S
            if self._kept.nbytes <= most_bytes:
                return
            if now - moved_at > self._safe_s:
                raise self._not_safe(self._server, refused, answered=safe is not None)
            if safe is not None and now - max(moved_at, resent_at) > pause_s:
                self._send_again()
                resent_at, pause_s = time.monotonic(), min(2 * pause_s, _SLOWEST_RESEND_S)
            self.pause(_ASK_INTERVAL_S)

    def _send_again(self) -> None:
        self._ping()  # a server that was started again joins by it
        for message in self._kept:
            self.frames(message)
            self.resent += message.count

    def _not_safe(self, server: SafeFrames, before: Any, *, answered: bool) -> ServerGoneError:
        """Return the error for frames that do not become safe."""
        waited = f"within {self._safe_s:g} s"
        if not answered:
            return ServerGoneError(f"no server answers at {server.control} {waited}", "start one with ptylive serve")
        text = f"{self._kept.frames} frames did not become safe {waited} (control {server.control})"
        more = {k: n - before.get(k, 0) for k, n in (server.rejected() or {}).items() if n > before.get(k, 0)}
        if more:
            text += f"; it refused in the meantime: {', '.join(f'{reason} {count}' for reason, count in more.items())}"
        if self._header is not None and (why := server.trouble(self._header)):
            return ServerGoneError(f"{text}: {why}")
        return ServerGoneError(text, "is it recording, and is its disk full? see its log")

    def _ping(self) -> None:
        if self._header is not None:
            self._pinged_at = time.monotonic()
            self._send(PingMessage(self._header.uid, self._header))

    def _send(self, message: Message) -> None:
        if self._closed:
            raise ValueError("this sender is closed")
        self._outlet.send(encode(replace(message, sender=self._number)))


def _integer(name: str, value: Any) -> int:
    """Convert the number of a pattern or a row to a Python int: messages cannot hold numpy's."""
    try:
        return index(value)
    except TypeError:
        raise ValueError(f"{name} = {brief(value)} is not a whole number") from None


def _header_of(
    scan_shape: tuple[int, int],
    detector_shape: tuple[int, int],
    dtype: DTypeLike,
    series: str,
    uid: str,
    metadata: dict[str, Any],
) -> ScanHeader:
    """Return the header of a scan as a server accepts it. Raises MetadataError."""
    try:
        pixel = np.dtype(dtype).newbyteorder("<").str
    except TypeError:
        raise MetadataError(f"dtype: {brief(dtype)} is not a pixel type", "as '<u2' or numpy.uint16") from None
    scan = build("scan", {"shape": scan_shape}, "open")
    detector = build("detector", {"shape": detector_shape, "dtype": pixel}, "open")
    header = overlay(ScanHeader(uid, series, 1, scan, Optics(), detector), metadata, "open")
    header = replace(header, frames=header.scan.frames)
    try:
        message = decode([bytes(part) for part in encode(ArmMessage(header))])
    except WireError as error:
        raise MetadataError(
            f"a server refuses such a scan: {error}", "docs/protocol.md lists what is possible"
        ) from None
    if isinstance(message, ArmMessage) and message.problems:
        raise MetadataError(
            f"a server refuses such a scan: {message.problems[0]}", "docs/protocol.md lists what is possible"
        )
    return header
