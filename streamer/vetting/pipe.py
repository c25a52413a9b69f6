"""Messages between a program and its file worker: msgpack behind a length of eight bytes, arrays included."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

LENGTH = struct.Struct(">Q")
MAX_BYTES = 2**30
"""Limit on one message."""
_ARRAY = 1
_ANY_TEXT = "surrogatepass"
"""File names and texts may contain bytes that are not UTF-8: Python's lone surrogates are transmitted unchanged."""


def pack(message: Any) -> bytes:
    """Encode a message, preceded by its length."""
    body = msgpack.packb(message, use_bin_type=True, default=_plain, unicode_errors=_ANY_TEXT)
    return LENGTH.pack(len(body)) + bytes(body)


def unpack(body: bytes) -> Any:
    """Inverse of :func:`pack`, without the length. ValueError for an invalid message."""
    limits = {"max_ext_len": MAX_BYTES, "strict_map_key": False}
    return msgpack.unpackb(body, raw=False, ext_hook=_array, unicode_errors=_ANY_TEXT, **limits)


def read_message(read: Callable[[int], bytes]) -> Any:
    """Read the next message; ``read(n)`` gives exactly n bytes, or fewer at the end. EOFError at the end."""
    head = read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (length,) = LENGTH.unpack(head)
    if length > MAX_BYTES:
        raise ValueError(f"a message of {length} bytes")
    body = read(length)
    if len(body) < length:
        raise EOFError
    return unpack(body)


def _plain(value: Any) -> Any:
    """Encode arrays as an extension type, numpy's numbers and paths as plain values."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("arrays of objects cannot be sent")
        return msgpack.ExtType(_ARRAY, msgpack.packb((value.dtype.str, value.shape, value.tobytes())))
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def _array(code: int, data: bytes) -> Any:
    if code != _ARRAY:
        raise ValueError(f"unknown extension {code}")
    dtype, shape, content = msgpack.unpackb(data, raw=False, max_bin_len=MAX_BYTES)
    return np.frombuffer(content, dtype=np.dtype(dtype)).reshape(shape)
