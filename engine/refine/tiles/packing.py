"""Arrays and plain values as bytes, to be sent or kept: an npz archive, nothing pickled, its checksums looked at."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ptylive.schema.errors import RefinementError
from ptylive.schema.model import Array

HEADER = "plain"


def packed(plain: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Plain values (what JSON takes) and arrays of numbers."""
    stream = io.BytesIO()
    named: dict[str, Any] = {**arrays, HEADER: np.frombuffer(json.dumps(plain).encode(), np.uint8)}
    np.savez(stream, **named)
    return stream.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Inverse of :func:`packed`. Raises RefinementError for bytes that are damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        return json.loads(bytes(arrays.pop(HEADER))), arrays
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise RefinementError(f"a tile of the refinement is damaged ({error})", "start without --resume") from None
