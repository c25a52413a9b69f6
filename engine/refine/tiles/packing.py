"""Arrays and plain values as bytes, for sending or storing: an npz archive, without pickles, checksums verified."""

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
    """Serialise plain values (JSON) and numeric arrays."""
    stream = io.BytesIO()
    named: dict[str, Any] = {**arrays, HEADER: np.frombuffer(json.dumps(plain).encode(), np.uint8)}
    np.savez(stream, **named)
    return stream.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Inverse of :func:`packed`. Raises RefinementError for damaged bytes."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        return json.loads(bytes(arrays.pop(HEADER))), arrays
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise RefinementError(f"a tile of the refinement is damaged ({error})", "start without --resume") from None
