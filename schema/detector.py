"""The detector: pixels, their size, and how the recorded pattern is turned."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field, field_validator

from ptylive.schema.model import Array, DoubleArray, Model

ALLOWED_DTYPES = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<f4", ">u2", ">u4", "<f8")
TRANSFORM_WORDS = ("none", "transpose", "flip_rows", "flip_cols")


class Detector(Model):
    """What is known of the detector; beam centre and masks are in recorded coordinates."""

    shape: tuple[int, int] | None = Field(default=None, description="pixels (rows, columns)")
    dtype: str = Field(default="<u2", description="type of a recorded pixel, numpy spelling")
    pixel_mrad: float | None = Field(default=None, gt=0, description="angle covered by one pixel, mrad")
    pixel_invA: float | None = Field(default=None, gt=0, description="spatial frequency covered by one pixel, 1/Å")
    beam_center_px: tuple[float, float] | None = Field(default=None, description="beam centre (row, col), pixels")
    transform: str = Field(default="none", description="what was done to the pattern before recording")
    transform_given: bool = Field(default=False, description="whether the transform was stated, not assumed")
    counts_per_electron: float | None = Field(default=None, gt=0, description="counts one electron leaves")
    saturation_value: float | None = Field(default=None, gt=0, description="most counts a pixel can tell")

    @field_validator("shape", mode="before")
    @classmethod
    def _plain_shape(cls, value: Any) -> Any:
        return None if value is None else tuple(int(v) for v in np.asarray(value).ravel())

    @field_validator("beam_center_px", mode="before")
    @classmethod
    def _plain_center(cls, value: Any) -> Any:
        return None if value is None else tuple(float(v) for v in np.asarray(value).ravel())

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, value: str) -> str:
        dtype = np.dtype(value).str
        if dtype not in ALLOWED_DTYPES:
            raise ValueError(f"pixel type {value!r} is not supported: use one of {', '.join(ALLOWED_DTYPES)}")
        return dtype

    @field_validator("transform")
    @classmethod
    def _known_words(cls, value: str) -> str:
        parse_transform(value)
        return value


def below_saturation(frames: Array, saturation_value: float | None) -> Array:
    """Frames in which no pixel tells more than a pixel can count: full ones often hold a marker far above it.

    The same array where nothing is changed.
    """
    if saturation_value is None or not frames.size or not (frames > saturation_value).any():
        return frames
    return np.asarray(np.minimum(frames, np.asarray(saturation_value).astype(frames.dtype)))


def usable_counts(frames: Array, saturation_value: float | None = None) -> tuple[Array, int]:
    """Frames in which every count is a number no pixel is too full for, and how many values were no finite numbers.

    Those are taken as 0. The same array where nothing is changed.
    """
    masked = 0
    if frames.dtype.kind == "f" and frames.size and not _all_finite(frames):
        wrong = ~np.isfinite(frames)
        masked = int(np.count_nonzero(wrong))
        frames = np.where(wrong, frames.dtype.type(0), frames) if masked else frames
    return below_saturation(frames, saturation_value), masked


def _all_finite(frames: Array) -> bool:
    """Whether no value is infinite or no number: their sum tells quickly, unless it overflows itself."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(frames.sum()))


def parse_transform(words: str) -> tuple[str, ...]:
    """Words of a detector transform in the order they were applied; ``none`` is the empty tuple."""
    parts = tuple(w.strip() for w in words.split("+"))
    for word in parts:
        if word not in TRANSFORM_WORDS:
            raise ValueError(
                f"unknown detector transform {word!r}: use words of {', '.join(TRANSFORM_WORDS)} joined by +"
            )
    return tuple(w for w in parts if w != "none")


def undo_transform(patterns: Array, words: str) -> Array:
    """A view of recorded patterns (..., row, col) in the detector frame: the transform undone, last word first."""
    for word in reversed(parse_transform(words)):
        if word == "transpose":
            patterns = patterns.swapaxes(-1, -2)
        elif word == "flip_rows":
            patterns = patterns[..., ::-1, :]
        else:
            patterns = patterns[..., ::-1]
    return patterns


def undo_transform_of_center(center_px: tuple[float, float], shape: tuple[int, int], words: str) -> DoubleArray:
    """The beam centre (row, col) in the detector frame, given in recorded coordinates of a pattern of ``shape``."""
    center, size = np.asarray(center_px, dtype=float), np.asarray(shape)
    for word in reversed(parse_transform(words)):
        if word == "transpose":
            center, size = center[::-1], size[::-1]
        else:
            axis = 0 if word == "flip_rows" else 1
            center = np.where(np.arange(2) == axis, size - 1 - center, center)
    return np.asarray(center, dtype=float)
