"""Dead pixels of a detector that does not send its mask: it marks them with the largest number their type has."""

from __future__ import annotations

import math

import numpy as np

from ptylive.schema import WireError
from ptylive.schema.model import BoolArray
from ptylive.streamer.protocols.image import Image
from ptylive.streamer.wire.codec import decode_pattern

_MOST = 0.1
"""Marked pixels beyond this fraction of all are an overexposed image, not dead pixels."""


def dead_pixels(image: Image) -> BoolArray | None:
    """Pixels (rows, columns) that an image marks as masked, in DECTRIS' way; None when there are none.

    A pixel that overflowed has the next smaller number, so one image tells (SIMPLON API, ``pixel_mask_applied``).
    """
    dtype = np.dtype(image.dtype)
    if dtype.kind != "u":
        return None
    pattern = image.data
    try:
        if image.codec != "none":
            pattern = decode_pattern(image.codec, pattern, math.prod(image.shape) * dtype.itemsize, dtype.itemsize)
        marked = np.frombuffer(pattern, dtype).reshape(image.shape) == np.iinfo(dtype).max
    except (WireError, ValueError):
        return None
    return np.asarray(marked) if 0 < np.count_nonzero(marked) <= _MOST * marked.size else None
