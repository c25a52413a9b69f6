"""The pixels of the model: those of the detector's window, finer ones, or those of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.memory import Scratch, check_fits
from ptylive.engine.probe import chi_polynomial
from ptylive.engine.refine.data.pattern_view import PatternView
from ptylive.engine.refine.data.scan_window import KEPT_DTYPES, ROWS_AT_ONCE, ScanWindow
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array, DoubleArray, IndexArray
from ptylive.schema.preset.kinds import Auto
from ptylive.schema.preset.patterns import PatternSettings

PIXEL_BYTES = 32
"""Minimum memory per pixel of the model: both frequencies in double precision, and a complex wave."""


@dataclass(frozen=True)
class ModelWindow:
    """The window of the waves, zero frequency at [0, 0]."""

    size: int
    """Side length P in pixels."""
    pixel_invA: float
    k_row: DoubleArray
    """(P, P) spatial frequency relative to the true beam centre, 1/Å."""
    k_col: DoubleArray

    @property
    def object_pixel_A(self) -> float:
        """Real-space pixel: 1 / (P dk)."""
        return 1.0 / (self.size * self.pixel_invA)

    @property
    def k_radius(self) -> DoubleArray:
        """|k| (P, P), 1/Å."""
        return np.hypot(self.k_row, self.k_col)

    @classmethod
    def of(cls, window: ScanWindow, upsampling: int) -> ModelWindow:
        """The window of the detector with ``upsampling`` model pixels per detector pixel along each axis.

        Pixel j of the detector is the sum of model pixels u j … u j + u - 1, so their middle is at its frequency.
        Raises MetadataError if they do not fit into memory.
        """
        if upsampling == 1:
            return cls(window.size, window.pixel_invA, window.k_row, window.k_col)
        size, pixel = window.size * upsampling, window.pixel_invA / upsampling
        smaller = "use a smaller upsample_pattern or window_px"
        check_fits(float(PIXEL_BYTES) * size**2, f"a model of {size} x {size} pixels", smaller)
        frequency = np.rint(np.fft.fftfreq(size) * size) - (upsampling - 1) / 2
        k_row = np.broadcast_to(frequency[:, None] * pixel + window.k_row[0, 0], (size, size)).copy()
        k_col = np.broadcast_to(frequency[None, :] * pixel + window.k_col[0, 0], (size, size)).copy()
        return cls(size, pixel, k_row, k_col)


def chi_per_A(names: tuple[str, ...], window: ModelWindow, wavelength_A: float) -> DoubleArray:
    """(n, P, P) aberration phase of each coefficient at 1 Å, rad."""
    polynomials = [chi_polynomial(wavelength_A, {name: 1.0}) for name in names]
    return np.stack([np.polynomial.polynomial.polyval2d(window.k_row, window.k_col, each) for each in polynomials])


def as_seen(dataset: Dataset, settings: PatternSettings) -> Dataset:
    """The data set with its patterns mirrored and shifted according to the settings."""
    shift = np.asarray(settings.data_shift_vector_px)
    if settings.flip_ky:
        rows = dataset.bad_pixels.shape[0]
        centre = np.array([rows - 1 - dataset.beam_center_px[0], dataset.beam_center_px[1]])
        flipped = (
            {"patterns": _flipped(dataset.patterns)} if dataset.masks is None else {"masks": dataset.masks[:, ::-1]}
        )
        offsets = None if dataset.offsets_px is None else dataset.offsets_px * np.array([-1.0, 1.0])
        mirrored = replace(dataset, bad_pixels=dataset.bad_pixels[::-1], beam_center_px=centre, offsets_px=offsets)
        dataset = replace(mirrored, **flipped)
    if shift.any():  # patterns move relative to the stated beam position
        dataset = replace(dataset, beam_center_px=np.asarray(dataset.beam_center_px) - shift)
    return dataset


def _flipped(patterns: Array) -> Array:
    """Patterns (N, Qy, Qx) with their rows reversed on reading."""
    shape = (len(patterns), int(patterns.shape[1]), int(patterns.shape[2]))

    def read(index: IndexArray) -> Array:
        return np.asarray(patterns[index][:, ::-1])

    return PatternView(shape, patterns.dtype, read).as_array()


def image_window(dataset: Dataset, pixel_A: float | None, window_px: int | Auto) -> ScanWindow:
    """Images as recorded, (0, 0) first, in a window of at least their size. Raises MetadataError without a pixel."""
    if pixel_A is None:
        raise MetadataError("the near field needs image_pixel_A", "give the pixel of the images, Å")
    rows, columns = dataset.bad_pixels.shape
    size = max(rows, columns) if isinstance(window_px, str) else window_px
    if size < max(rows, columns):
        raise MetadataError(f"window_px = {size} is smaller than the images", f"use at least {max(rows, columns)}")
    dtype = dataset.patterns.dtype if dataset.patterns.dtype.name in KEPT_DTYPES else np.dtype(np.float32)
    images = Scratch().zeros((len(dataset.patterns), size, size), dtype.type, "images")
    measured = np.zeros((size, size), dtype=bool)
    for start in range(0, len(images), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        images[block, :rows, :columns] = np.where(dataset.bad_pixels, 0, np.maximum(dataset.patterns[block], 0))
    measured[:rows, :columns] = ~dataset.bad_pixels
    q = np.fft.fftfreq(size, pixel_A)
    k_row, k_col = (np.ascontiguousarray(k) for k in np.meshgrid(q, q, indexing="ij"))
    return ScanWindow(np.asarray(images), measured, k_row, k_col, 1 / (size * pixel_A))
