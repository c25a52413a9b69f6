"""One image of a DECTRIS detector, as used by both protocols."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema import WireError
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE, MAX_FRAME_BYTES


@dataclass(frozen=True)
class Image:
    """One image as received. series: key of its series; number: from 0; shape: (rows, columns); dtype: numpy dtype
    string; data: one pattern coded with ``codec`` (bslz4 and lz4 in the framing of the HDF5 filters); name: name of its
    series for people, where that is not the key.
    """

    series: str
    number: int
    shape: tuple[int, int]
    dtype: str
    codec: Codec
    data: Buffer
    name: str = ""


def check_image(image: Image) -> None:
    """Refuse an image that no detector can have. Raises WireError ``impossible_value``."""
    rows, columns = image.shape
    nbytes = rows * columns * np.dtype(image.dtype).itemsize
    if max(rows, columns) > MAX_DETECTOR_SIDE or min(rows, columns) < 1 or nbytes > MAX_FRAME_BYTES:
        raise WireError(
            f"image {image.number}: {layout_text(image.shape, image.dtype)} is impossible", "impossible_value"
        )


def layout_text(shape: tuple[int, int], dtype: str) -> str:
    """Format shape and type for a message to a person."""
    return f"{shape[0]} x {shape[1]} pixels of type {dtype}"
