"""From recorded patterns to the modelled window: beam centre at the origin of the FFT, without resampling.

The whole pixels of the beam centre are rolled away; its sub-pixel remainder enters the coordinates at which the probe's
aperture is evaluated. Window frequencies that no pixel measured, and bad pixels, get weight 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.memory import Scratch, fits
from ptylive.schema.model import Array, BoolArray, DoubleArray, IndexArray
from ptylive.schema.preset.patterns import PatternSettings

KEPT_DTYPES = ("uint8", "uint16", "float32")
"""Types in which patterns are stored: counts in the first one that holds them all, non-integers in the last."""
ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class ScanWindow:
    """Patterns as the model sees them, zero frequency at [0, 0]."""

    patterns: Array
    """(N, P, P) counts; bad and unmeasured pixels are 0. Memory is transposed, as the compiled backend reads it."""
    measured: BoolArray
    """(P, P)."""
    k_row: DoubleArray
    """(P, P) spatial frequency relative to the true beam centre, 1/Å."""
    k_col: DoubleArray
    pixel_invA: float

    @property
    def size(self) -> int:
        """Side length P in pixels."""
        return int(self.patterns.shape[-1])

    @property
    def object_pixel_A(self) -> float:
        """Real-space pixel: 1 / (P dk)."""
        return 1.0 / (self.size * self.pixel_invA)

    @property
    def k_radius(self) -> DoubleArray:
        """|k| (P, P), 1/Å."""
        return np.hypot(self.k_row, self.k_col)

    @classmethod
    def of(cls, dataset: Dataset, size: int) -> ScanWindow:
        """The window of ``size`` pixels for a data set; larger patterns are cropped around the beam.

        Patterns that would take too much memory are stored in a temporary file. Raises MetadataError if the disk has
        no room for them either.
        """
        pixel = float(dataset.calibration.require("detector_pixel_invA", "the refinement"))
        centre = np.floor(np.asarray(dataset.beam_center_px) + 0.5).astype(int)
        remainder = np.asarray(dataset.beam_center_px) - centre
        frequency = np.rint(np.fft.fftfreq(size) * size).astype(int)
        rows = _on_detector(frequency + centre[0], dataset.patterns.shape[1])
        columns = _on_detector(frequency + centre[1], dataset.patterns.shape[2])
        measured = np.zeros((size, size), dtype=bool)
        valid = ~dataset.bad_pixels[np.ix_(rows[1], columns[1])]
        measured[np.ix_(rows[0], columns[0])] = valid
        return cls(
            patterns=_rolled(dataset.patterns, size, rows, columns, valid),
            measured=measured,
            k_row=np.broadcast_to((frequency[:, None] - remainder[0]) * pixel, (size, size)).copy(),
            k_col=np.broadcast_to((frequency[None, :] - remainder[1]) * pixel, (size, size)).copy(),
            pixel_invA=pixel,
        )


def _on_detector(pixel: Array, pixels: int) -> tuple[Array, Array]:
    """Window index and detector pixel of the frequencies that are on the detector."""
    inside = np.flatnonzero((pixel >= 0) & (pixel < pixels))
    return inside, pixel[inside]


def _rolled(
    patterns: Array, size: int, rows: tuple[Array, Array], columns: tuple[Array, Array], valid: BoolArray
) -> Array:
    """Patterns (N, size, size) in FFT order, a view of memory with the detector axes exchanged."""
    dtype, room = patterns.dtype.newbyteorder("="), _Room((len(patterns), size, size), patterns.dtype)
    pixel, dark = _pixels_of_window(patterns.shape[2], size, rows, columns, valid)
    for start in range(0, len(patterns), ROWS_AT_ONCE):
        block = patterns[start : start + ROWS_AT_ONCE]
        values = block.reshape(len(block), -1).take(pixel, axis=1)
        if dtype.kind not in "ub":  # gain-corrected or background-subtracted counts may be negative
            np.maximum(values, 0, out=values)
        if len(dark):
            values[:, dark] = 0
        stored = room.holding(float(values.max(initial=0)), start)
        stored[start : start + ROWS_AT_ONCE] = values.reshape(len(block), size, size)
    return np.swapaxes(room.stored, 1, 2)


def _pixels_of_window(
    width: int, size: int, rows: tuple[Array, Array], columns: tuple[Array, Array], valid: BoolArray
) -> tuple[IndexArray, IndexArray]:
    """The detector pixel of each element of a stored window (size * size,), and the elements without a valid pixel."""
    pixel = np.zeros((size, size), dtype=np.int64)  # elements without a pixel read the first one, and are zeroed
    pixel[np.ix_(columns[0], rows[0])] = columns[1][:, None] + width * rows[1]
    covered = np.zeros((size, size), dtype=bool)
    covered[np.ix_(columns[0], rows[0])] = valid.T
    return pixel.ravel(), np.flatnonzero(~covered)


class _Room:
    """Patterns in the narrowest type that holds the counts so far, widened when larger counts arrive.

    Memory is reserved for the widest type, and widened in place; the system only allocates pages that are written. A
    file is rewritten.
    """

    def __init__(self, shape: tuple[int, int, int], recorded: np.dtype[Any]) -> None:
        widest = recorded.itemsize if recorded.name in KEPT_DTYPES else np.dtype(np.float32).itemsize
        dtypes = [np.dtype(name) for name in KEPT_DTYPES]
        integers = recorded.kind in "uib"
        self._types = [dtype for dtype in dtypes if dtype.itemsize <= widest] if integers else dtypes[-1:]
        self._shape, self._widest = shape, widest
        self._memory: Array | None = None
        self._stored: Array | None = None

    @property
    def stored(self) -> Array:
        """The patterns so far."""
        return self.holding(0, 0)

    def holding(self, largest: float, written: int) -> Array:
        """Storage for patterns whose largest count is ``largest``, after ``written`` patterns have been stored."""
        narrow = self._stored
        if narrow is not None and not largest > _limit(narrow.dtype):
            return narrow
        dtype = next(each for each in self._types if not largest > _limit(each))  # NaN is reported elsewhere
        self._stored = wide = self._allocated(dtype)
        for start in reversed(range(0, written, ROWS_AT_ONCE)):  # last first: none is overwritten unread
            block = slice(start, min(start + ROWS_AT_ONCE, written))
            if narrow is not None:
                wide[block] = narrow[block].copy()
        return wide

    def _allocated(self, dtype: np.dtype[Any]) -> Array:
        """Storage for all patterns: the same memory, or a file if that takes too much."""
        count = math.prod(self._shape)
        extra_bytes = count * (dtype.itemsize - (0 if self._stored is None else self._stored.dtype.itemsize))
        if not fits(extra_bytes) or (self._stored is not None and self._memory is None):
            self._memory = None
            scratch = Scratch().zeros(self._shape, dtype.type, "patterns")
            return np.asarray(scratch)  # compiled code accepts no other kind of array
        if self._memory is None:
            self._memory = np.zeros(count * self._widest, np.uint8)
        return self._memory[: count * dtype.itemsize].view(dtype).reshape(self._shape)


def _limit(dtype: np.dtype[Any]) -> float:
    """Largest count that a type can hold."""
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else math.inf


def check_room(dataset: Dataset, settings: PatternSettings) -> None:
    """Raise MetadataError if the patterns in a window that was given fit nowhere, even with one byte per pixel.

    Trials with some of the patterns precede a refinement; in such a window they alone take minutes.
    """
    size = settings.window_px
    if not isinstance(size, str) and dataset.masks is None:
        Scratch().check(len(dataset.patterns) * size**2, f"patterns in a window_px of {size}")
