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


def dead_pixels(image: Image, known: BoolArray | None = None) -> BoolArray | None:
    """Pixels (rows, columns) that an image marks as masked, in DECTRIS' way; None when there are none.

    A pixel that overflowed has the next smaller number, so one image tells (SIMPLON API, ``pixel_mask_applied``).
    ``known``: pixels that an earlier image has marked. Those that count in this one are alive; the others stay where
    the image is overexposed, or cannot be read.
    """
    marked = _marked(image)
    if marked is None:
        return known
    if np.count_nonzero(marked) > _MOST * marked.size:
        marked = marked & (False if known is None or known.shape != marked.shape else known)
    return marked if marked.any() else None


def _marked(image: Image) -> BoolArray | None:
    """Pixels that have the largest number of their type; None where the image does not tell."""
    dtype = np.dtype(image.dtype)
    if dtype.kind != "u":
        return None
    pattern = image.data
    try:
        if image.codec != "none":
            pattern = decode_pattern(image.codec, pattern, math.prod(image.shape) * dtype.itemsize, dtype.itemsize)
        return np.asarray(np.frombuffer(pattern, dtype).reshape(image.shape) == np.iinfo(dtype).max)
    except (WireError, ValueError):
        return None
