"""What the first image of a detector shows: dead pixels, marked with the largest number of their type where the header
brings no mask, and counts whose bytes stand in the other order.
"""

from __future__ import annotations

import math

import numpy as np

from ptylive.schema import WireError
from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.protocols.image import Image
from ptylive.streamer.wire.codec import decode_pattern

_MOST = 0.1
"""Marked pixels beyond this fraction of all are an overexposed image, not dead pixels."""


_LEAST_COUNTED = 16
"""Pixels with counts, below which chance may empty their low halves."""


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


def is_swapped(image: Image) -> bool:
    """Whether the bytes of the counts of an image seem to stand in the other order: the low half of each is empty.

    Marked pixels are the same in both orders.
    """
    counts, size = _counts(image), np.dtype(image.dtype).itemsize
    if counts is None or size == 1:
        return False
    counted = counts[(counts > 0) & (counts != np.iinfo(counts.dtype).max)]
    return counted.size >= _LEAST_COUNTED and not (counted % (1 << 4 * size)).any()


def _marked(image: Image) -> BoolArray | None:
    """Pixels that have the largest number of their type; None where the image does not tell."""
    counts = _counts(image)
    return None if counts is None else np.asarray(counts == np.iinfo(counts.dtype).max)


def _counts(image: Image) -> Array | None:
    """The pattern of an image; None where it holds no counts, or cannot be read."""
    dtype = np.dtype(image.dtype)
    if dtype.kind != "u":
        return None
    pattern = image.data
    try:
        if image.codec != "none":
            pattern = decode_pattern(image.codec, pattern, math.prod(image.shape) * dtype.itemsize, dtype.itemsize)
        return np.frombuffer(pattern, dtype).reshape(image.shape)
    except (WireError, ValueError):
        return None
