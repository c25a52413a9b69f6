"""Arrays that accompany an arm message: msgpack maps {shape, dtype, data}, sizes checked before any allocation."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import msgpack
import numpy as np

from ptylive.schema import WireError
from ptylive.schema.detector import ALLOWED_DTYPES
from ptylive.schema.model import Array
from ptylive.streamer.wire.limits import MAX_ARRAY_DIMENSIONS, MAX_PART_BYTES

ARRAY_DTYPES = ("|b1", *ALLOWED_DTYPES, "<i4", "<i8")
Buffer = bytes | bytearray | memoryview


def unpack_map(data: Buffer, label: str) -> dict[str, Any]:
    """Decode a msgpack map with text keys. Raises WireError ``not_msgpack`` naming ``label`` otherwise."""
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"{label} is not msgpack: {type(error).__name__}", "not_msgpack") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise WireError(f"{label} is not a msgpack map with text keys", "not_msgpack")
    return value


def encode_array(array: Array) -> bytes:
    """Encode an array as one message part."""
    array = np.ascontiguousarray(array)
    return bytes(msgpack.packb({"shape": list(array.shape), "dtype": array.dtype.str, "data": array.tobytes()}))


def decode_array(part: Buffer, name: str) -> Array:
    """Inverse of :func:`encode_array`; returns a writable copy. Raises WireError for anything not exactly an array."""
    if len(part) > MAX_PART_BYTES:
        raise WireError(f"array {name} has {len(part)} bytes: at most {MAX_PART_BYTES}", "oversized")
    fields = unpack_map(part, f"array {name}")
    shape, dtype, data = fields.get("shape"), fields.get("dtype"), fields.get("data")
    if not _is_shape(shape) or dtype not in ARRAY_DTYPES or not isinstance(data, bytes):
        raise WireError(f"array {name} needs shape, dtype (one of {', '.join(ARRAY_DTYPES)}) and data", "bad_array")
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data) != wanted:
        reason = "truncated" if len(data) < wanted else "oversized"
        raise WireError(f"array {name} of shape {shape} {dtype} needs {wanted} bytes, not {len(data)}", reason)
    return np.frombuffer(data, dtype=dtype).reshape(shape).copy()


def _is_shape(value: Any) -> TypeGuard[list[int]]:
    """Whether ``value`` is a list of a few positive integers."""
    return (
        isinstance(value, list)
        and 0 < len(value) <= MAX_ARRAY_DIMENSIONS
        and all(type(side) is int and 0 < side <= MAX_PART_BYTES for side in value)
    )
