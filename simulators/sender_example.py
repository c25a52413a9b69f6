"""A complete sender for the native stream in one file: copy it next to the microscope's script (docs/protocol.md).

Needs Python 3.9, pyzmq and msgpack; nothing of this program. Metadata have the names of docs/conventions.md. ::

    with LiveScan(
        "tcp://127.0.0.1:9999",
        scan={"shape": [64, 64], "step_A": 0.4},
        detector={"shape": [256, 256], "dtype": "<u2"},
        optics={"energy_eV": 300e3, "convergence_semiangle_mrad": 21.4},
        series="gold",
    ) as live:
        for row in camera:            # a NumPy array (64, 256, 256): as many patterns at once as is convenient
            live.send(row, count=64)
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgpack
import zmq

PING_S = 1.0


class LiveScan:
    """One scan, announced at once. A context manager: an exception inside it ends the scan as aborted."""

    def __init__(
        self,
        address: str,
        scan: dict[str, Any],
        detector: dict[str, Any],
        optics: dict[str, Any] | None = None,
        series: str = "",
        frames: int | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """``frames``: patterns of the whole acquisition, if not rows times columns (flyback, repeats and skipped ones
        count). ``timeout_s``: how long to wait for a server that takes nothing; then TimeoutError.
        """
        self.uid = str(uuid.uuid4())
        self.sent = 0
        self._messages = 0
        self._sender = uuid.uuid4().int >> 66
        self._timeout_s = timeout_s
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, 8)
        self._socket.setsockopt(zmq.SNDTIMEO, int(1000 * timeout_s))
        self._socket.connect(address)
        rows, columns = scan["shape"]
        self._arm = {
            "type": "arm",
            "version": 1,
            "uid": self.uid,
            "sender": self._sender,
            "series": series,
            "frames": rows * columns if frames is None else frames,
            "scan": scan,
            "optics": optics or {},
            "detector": detector,
        }
        self._pinged = time.monotonic()
        self._send(_packed(self._arm))

    def send(self, patterns: Any, first: int | None = None, count: int = 1) -> None:
        """Send ``count`` patterns numbered from ``first``; by default they follow the previous ones.

        ``patterns``: bytes or a C-contiguous array, one pattern after the other. About 1 MB at once is fastest.
        """
        first = self.sent if first is None else first
        header = {"type": "frames", "uid": self.uid, "sender": self._sender, "seq": self._messages}
        self.ping()
        self._send(_packed({**header, "first": first, "count": count, "codec": "none"}), patterns)
        self._messages += 1
        self.sent = first + count

    def ping(self) -> None:
        """Report that the scan continues; call it at least every second while there is nothing to send."""
        if time.monotonic() - self._pinged >= PING_S:
            self._pinged = time.monotonic()
            self._send(_packed({"type": "ping", "uid": self.uid, "sender": self._sender, "arm": self._arm}))

    def close(self, reason: str = "complete") -> None:
        """End the scan (``complete`` or ``aborted``), wait until everything has been sent, and disconnect."""
        try:
            end = {"type": "end", "uid": self.uid, "sender": self._sender, "frames": self.sent, "reason": reason}
            self._send(_packed(end))
        finally:
            self._socket.close(linger=int(1000 * self._timeout_s))
            self._context.term()

    def __enter__(self) -> LiveScan:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close("complete" if kind is None else "aborted")

    def _send(self, *parts: Any) -> None:
        try:
            self._socket.send_multipart(parts)
        except zmq.Again:
            raise TimeoutError(f"no server has taken anything for {self._timeout_s:g} s") from None


def _packed(message: dict[str, Any]) -> Any:
    return msgpack.packb(message, default=_plain)


def _plain(value: Any) -> Any:
    """Convert numbers and arrays of numpy to Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} cannot be sent")
