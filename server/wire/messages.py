"""Arrays in control replies and events: one encoding for both ends of the control protocol (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from ptylive.schema import LiveMap, ServerGoneError
from ptylive.schema.model import Array
from ptylive.server.process.ports import CONTROL_PORT, EVENTS_OFFSET

TOPICS = ("maps", "state", "calibration", "dose", "refinement", "log", "ack")
"""Topics of events."""
ANY_TEXT = "surrogatepass"
"""Encoding of text with the bytes of names that are not Unicode."""
MAX_MESSAGE_BYTES = 256 * 2**20


def pack(message: Mapping[str, Any]) -> bytes:
    """Encode a message as msgpack; text that is not Unicode (bytes of a file name) is replaced by question marks."""
    return bytes(msgpack.packb(dict(message), use_bin_type=True, default=_plain, unicode_errors="replace"))


def pack_exactly(message: Mapping[str, Any]) -> bytes:
    """Encode a message for another process of this program on this machine, which opens the files that it names: with
    all bytes of their names. Decode it with ``msgpack.Unpacker(unicode_errors=ANY_TEXT)``.
    """
    return bytes(msgpack.packb(dict(message), use_bin_type=True, default=_plain, unicode_errors=ANY_TEXT))


def unpack(data: bytes) -> dict[str, Any]:
    """Decode a message; inverse of :func:`pack`. Raises ValueError for anything that is not a map."""
    try:
        message = msgpack.unpackb(data, raw=False, max_bin_len=MAX_MESSAGE_BYTES)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"not a msgpack message: {error}") from None
    if not isinstance(message, dict):
        raise ValueError("not a msgpack map")
    return message


def _plain(value: Any) -> Any:
    """Convert numpy scalars, paths and other small objects to plain values."""
    if isinstance(value, np.ndarray):
        return array_to_plain(value) if value.ndim else value.item()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def array_to_plain(array: Array) -> dict[str, Any]:
    """Return an array as {shape, dtype, data}."""
    array = np.ascontiguousarray(array)
    return {"shape": list(array.shape), "dtype": array.dtype.str, "data": array.tobytes()}


def array_from_plain(plain: Mapping[str, Any]) -> Array:
    """Return the array (a read-only view); inverse of :func:`array_to_plain`."""
    return np.frombuffer(plain["data"], dtype=np.dtype(plain["dtype"])).reshape(plain["shape"])


def map_to_plain(live_map: LiveMap, uid: str) -> dict[str, Any]:
    """Return a live map as the payload of a `maps` event, always with all rows."""
    return {
        "uid": uid,
        "name": live_map.name,
        "rows": [0, int(live_map.data.shape[0])],
        **array_to_plain(live_map.data),
        "units": live_map.units,
        "sampling_A": None if live_map.sampling_A is None else list(live_map.sampling_A),
        "frames": live_map.frames,
        "method": live_map.method,
        "deviation": live_map.deviation,
        "buried": live_map.buried,
        "faint": live_map.faint,
        "modulation": live_map.modulation,
        "information_limits": [
            [dose, at.period_A, at.uncertainty_A, at.finer] for dose, at in live_map.information_limits().items()
        ],
    }


def events_address(control: str) -> str:
    """Return the address of the event socket that belongs to a control address."""
    host, _, port = control.rpartition(":")
    try:
        return f"{host}:{int(port) + EVENTS_OFFSET}"
    except ValueError:
        raise ServerGoneError(f"{control!r} is not an address like tcp://127.0.0.1:{CONTROL_PORT}") from None
