"""Patterns made smaller, larger or cleaner before they are used: what ``ptylive convert`` can do to frames.

In this order: corrected by dark and gain references, the detector transform undone, cropped, binned, rescaled, padded,
cut off, divided, normalised, cast. The five steps after the references keep counts; beam centre, pixel size, bad
pixels and vacuum pattern follow. The scan may be read backwards along its rows, its columns or both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ptylive.engine.compression import PatternSource, sample_numbers
from ptylive.schema import MetadataError, ScanHeader
from ptylive.schema.detector import ALLOWED_DTYPES, Descan, parse_transform, undo_transform, undo_transform_of_center
from ptylive.schema.metadata import overlay
from ptylive.schema.model import Array, BoolArray, DoubleArray, IndexArray

_WIDER = {"|u1": "<u2", "<u2": "<u4", ">u2": "<u4", "|i1": "<i4", "<i2": "<i4"}
"""Integer types wide enough for sums over a bin; other types become single precision."""
MOST_BIN = 64
MOST_ROUNDING = 0.01
"""Change of the sum of counts by rounding that is reported."""


@dataclass(frozen=True)
class Preparation:
    """Operations applied to every pattern.

    transform: words of the transform applied before recording, to be undone; crop: pixels removed (top, bottom, left,
    right); bin: side of the square of pixels that become one; rescale: new pixels per old one, along a side; pad: width
    of the border of empty pixels added; cutoff: share of a pattern's maximum below which a pixel counts as empty;
    normalize: scale every pattern to the mean sum; dtype: numpy spelling; cutoff_radius: pixels further from the beam
    centre (or the middle, if unknown) than this share of half the width are emptied; divide: divisor of the counts, or
    ``mean``, the mean sum of a pattern; flip_scan: words rows, cols joined by +: reverse the order of the scan's rows,
    or of the points of a row.
    """

    transform: str = "none"
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    bin: int = 1
    rescale: float = 1.0
    pad: int = 0
    cutoff: float = 0.0
    normalize: bool = False
    dtype: str | None = None
    cutoff_radius: float | None = None
    divide: float | Literal["mean"] = 1.0
    flip_scan: str = ""

    def __post_init__(self) -> None:
        """Refuse impossible values; MetadataError names the option."""
        try:
            parse_transform(self.transform)
        except ValueError as error:
            raise MetadataError(f"--transform: {error}") from None
        if self.dtype is not None and np.dtype(self.dtype).str not in ALLOWED_DTYPES:
            raise MetadataError(f"--dtype {self.dtype} is not supported", f"use one of {', '.join(ALLOWED_DTYPES)}")
        checks = {
            "--crop": (self.crop, min(self.crop) >= 0, "from 0 on"),
            "--bin": (self.bin, 1 <= self.bin <= MOST_BIN, f"from 1 to {MOST_BIN}"),
            "--rescale": (self.rescale, 0.01 <= self.rescale <= 100, "from 0.01 to 100"),
            "--pad": (self.pad, 0 <= self.pad <= 8192, "from 0 to 8192"),
            "--cutoff": (self.cutoff, 0 <= self.cutoff < 1, "from 0 to below 1"),
            "--cutoff-radius": (self.cutoff_radius, self.cutoff_radius is None or self.cutoff_radius > 0, "above 0"),
            "--divide": (self.divide, isinstance(self.divide, str) or 0 < self.divide < math.inf, "above 0, or mean"),
            "--flip-scan": (self.flip_scan, set(self.flip_scan.split("+")) <= {"rows", "cols", ""}, "rows, cols"),
        }
        for option, (value, valid, possible) in checks.items():
            if not valid:
                raise MetadataError(f"{option} {value} is impossible", f"possible values: {possible}")

    @property
    def changes_nothing(self) -> bool:
        """Whether patterns stay unchanged."""
        return self == Preparation()


@dataclass
class Casts:
    """What became of the prepared numbers in integers: how many there were, and how many lay below and above their
    range; sums of those stored, before and after rounding.
    """

    dtype: np.dtype[Any]
    numbers: int = 0
    below: int = 0
    above: int = 0
    before: float = 0.0
    after: float = 0.0

    def forget(self) -> None:
        """Count anew."""
        self.numbers, self.below, self.above, self.before, self.after = 0, 0, 0, 0.0, 0.0

    def cast(self, patterns: Array) -> Array:
        """Return patterns (n, Qy, Qx) in the type; integers are rounded and clipped to its range."""
        if self.dtype.kind not in "ui" or patterns.dtype == self.dtype:
            return np.asarray(patterns.astype(self.dtype, copy=False))
        limits = np.iinfo(self.dtype)
        rounded = np.rint(patterns) if patterns.dtype.kind == "f" else patterns
        within = np.clip(rounded, limits.min, limits.max).astype(self.dtype)
        self.numbers += rounded.size
        self.below += int(np.count_nonzero(rounded < limits.min))
        self.above += int(np.count_nonzero(rounded > limits.max))
        self.before += float(patterns.sum(dtype=float))
        self.after += float(within.sum(dtype=float))
        return within

    @property
    def problem(self) -> str:
        """What was lost of the counts, with the remedy; empty if nothing was."""
        kind = self.dtype.name
        if self.above:
            return (
                f"{100 * self.above / self.numbers:.3g} % of the numbers lie above the range of {kind} and are stored "
                f"as {np.iinfo(self.dtype).max}: their counts are lost; give another --dtype, such as i4 or f4"
            )
        if abs(self.after - self.before) > MOST_ROUNDING * abs(self.before):
            if self.below:
                return (
                    f"{100 * self.below / self.numbers:.3g} % of the numbers lie below the range of {kind} and are "
                    f"stored as {np.iinfo(self.dtype).min}, which changes the sum of all counts from "
                    f"{self.before:.4g} to {self.after:.4g}; give another --dtype, such as i4 or f4"
                )
            return (
                f"rounding to {kind} changes the sum of all counts from {self.before:.4g} to {self.after:.4g}: the "
                "numbers are too small for integers; give --dtype f4"
            )
        return ""


@dataclass(frozen=True, eq=False)
class PreparedSource:
    """An open scan seen through its preparation; read like any other."""

    source: PatternSource
    preparation: Preparation
    header: ScanHeader

    @cached_property
    def casts(self) -> Casts:
        """The conversion of prepared patterns to the type of the header; counts what it loses."""
        return Casts(self.header.frame_dtype)

    @classmethod
    def of(cls, source: PatternSource, preparation: Preparation) -> PreparedSource:
        """Return a scan of frames, prepared. Raises MetadataError if nothing would be left of a pattern."""
        if not source.header.basis.is_raw:
            raise MetadataError("the scan holds coefficients, not patterns", "prepare the frames they were made from")
        if preparation.flip_scan:
            _check_plain(source.header)
        return cls(source, preparation, _prepared_header(source.header.of_counts, preparation))

    @property
    def path(self) -> Path:
        """File that holds the patterns."""
        return self.source.path

    @property
    def received(self) -> BoolArray:
        """Which frames have arrived, in acquisition order."""
        received = self.source.received
        return received[self._recorded(np.arange(len(received)))] if self.preparation.flip_scan else received

    def frames(self, index: IndexArray) -> Array:
        """Return prepared patterns (n, Qy, Qx) by acquisition number, in the type of the header."""
        out = self._reordered(self._recorded(index)) if self.preparation.flip_scan else self._reshaped(index)
        if self.preparation.cutoff:
            floor = self.preparation.cutoff * out.max(axis=(1, 2), keepdims=True)
            out = np.where(out < floor, 0, out)
        if self.preparation.cutoff_radius is not None:
            out = np.where(self._within_cutoff, out, 0)
        if self.preparation.divide != 1:
            out = out / (self._mean_sum if isinstance(self.preparation.divide, str) else self.preparation.divide)
        if self.preparation.normalize:
            sums = out.sum(axis=(1, 2), keepdims=True, dtype=float)
            out = out * (self._mean_sum / np.where(sums > 0, sums, 1.0))
        return self.casts.cast(out)

    def _reshaped(self, index: IndexArray) -> Array:
        return _reshaped(self._counts(index), self.preparation)

    def _counts(self, index: IndexArray) -> Array:
        """Return frames as recorded, corrected by the references if there are any."""
        recorded, readout = self.source.frames(index), self.source.header.readout
        return readout.counts(recorded)[0] if readout.corrects else recorded

    def _reordered(self, recorded: IndexArray) -> Array:
        """Return patterns by numbers in any order; the file is read in ascending order."""
        ascending, place = np.unique(recorded, return_inverse=True)
        return self._reshaped(ascending)[place]

    def _recorded(self, index: IndexArray) -> IndexArray:
        """Return the numbers under which frames of the flipped scan were recorded."""
        rows, cols = self.header.scan.require_shape()
        row, col = np.divmod(index, cols)
        words = self.preparation.flip_scan.split("+")
        row = rows - 1 - row if "rows" in words else row
        return np.asarray(row * cols + (cols - 1 - col if "cols" in words else col), dtype=np.int64)

    @cached_property
    def _within_cutoff(self) -> BoolArray:
        """Pixels (Qy, Qx) within the cut-off radius."""
        shape = self.header.detector_shape
        center = self.header.detector.beam_center_px or ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
        rows, cols = np.indices(shape)
        distance = np.hypot(rows - center[0], cols - center[1])
        return np.asarray(distance <= (self.preparation.cutoff_radius or 0.0) * max(shape) / 2)

    @cached_property
    def _mean_sum(self) -> float:
        """Mean sum of the reshaped patterns of a sample of the scan."""
        return float(self._reshaped(sample_numbers(self.source)).sum(axis=(1, 2), dtype=float).mean())


def kept_orientation(header: ScanHeader, preparation: Preparation) -> str:
    """Return which stated orientation a scan keeps although its points or patterns are turned; empty if none.

    Whether the given value holds before or after turning is not stated; if it is the other, phases are wrong.
    """
    given = header.detector.transform if header.detector.transform_given else "none"
    scan_turned = bool(preparation.flip_scan)
    patterns_turned = preparation.transform not in ("none", given)
    kept = [] if header.scan.rotation_deg is None else [f"rotation_deg {header.scan.rotation_deg:g}"]
    if scan_turned and not patterns_turned and header.detector.transform_given:
        kept.append(f"detector_transform {given if preparation.transform == 'none' else 'none'}")
    if not kept or not (scan_turned or patterns_turned):
        return ""
    option = f"--flip-scan {preparation.flip_scan}" if scan_turned else f"--transform {preparation.transform}"
    return (
        f"{' and '.join(kept)} of the recorded scan is kept although {option} turns the scan: phases are wrong if it "
        "no longer applies; give it with --set"
    )


def left_over(header: ScanHeader, preparation: Preparation) -> str:
    """Return how many rows and columns at the end of patterns make no square for binning; empty if none."""
    unbinned = Preparation(preparation.transform, preparation.crop)
    shape = _reshaped(np.zeros((1, *header.detector_shape), np.uint8), unbinned).shape[1:]
    ends = [
        f"{n % preparation.bin} {name}"
        for n, name in zip(shape, ("rows", "columns"), strict=True)
        if n % preparation.bin
    ]
    if not ends:
        return ""
    return (
        f"--bin {preparation.bin} leaves out the last {' and '.join(ends)} of {shape[0]} x {shape[1]} pixels; --crop "
        "decides which"
    )


def _check_plain(header: ScanHeader) -> None:
    """Raise unless the scan consists of rows of points with one frame each: it is flipped by frame numbers alone."""
    scan = header.scan
    surplus = scan.flyback_frames or scan.skip_first or scan.repeats > 1
    if scan.pattern != "raster" or surplus or "positions_A" in header.arrays:
        raise MetadataError(
            "--flip-scan needs a raster scan with one frame per point", "turn the scan with --set rotation_deg"
        )


def _reshaped(patterns: Array, preparation: Preparation) -> Array:
    """Return patterns (n, Qy, Qx) turned, cropped, binned, rescaled and padded; integers stay integers if possible."""
    patterns = undo_transform(patterns, preparation.transform)
    top, bottom, left, right = preparation.crop
    patterns = patterns[:, top : patterns.shape[1] - bottom, left : patterns.shape[2] - right]
    patterns = _binned(patterns, preparation.bin)
    if preparation.rescale != 1.0:
        rows, cols = (_overlaps(n, preparation.rescale) for n in patterns.shape[1:])
        patterns = rows @ patterns.astype(np.float32) @ cols.T
    padding = (preparation.pad, preparation.pad)
    return np.pad(patterns, ((0, 0), padding, padding)) if preparation.pad else patterns


def _binned(patterns: Array, width: int) -> Array:
    """Return sums over squares of ``width`` pixels; left-over rows and columns at the end are dropped."""
    if width == 1:
        return patterns
    rows, cols = patterns.shape[1] // width, patterns.shape[2] // width
    blocks = patterns[:, : rows * width, : cols * width].reshape(len(patterns), rows, width, cols, width)
    sum_dtype = np.uint64 if patterns.dtype.kind == "u" else np.int64 if patterns.dtype.kind == "i" else np.float64
    return np.asarray(blocks.sum(axis=(2, 4), dtype=sum_dtype))


def _overlaps(pixels: int, scale: float) -> Any:
    """Return the share of each old pixel that lies in each new one, (round(pixels * scale), pixels) float32."""
    count = max(1, round(pixels * scale))
    edges = np.arange(count + 1) / scale
    old = np.arange(pixels)
    shared = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return np.clip(shared, 0, 1).astype(np.float32)


def _prepared_header(header: ScanHeader, preparation: Preparation) -> ScanHeader:
    """Return the header that describes the prepared frames."""
    shape = _reshaped(np.zeros((1, *header.detector_shape), np.uint8), preparation).shape[1:]
    if min(shape) < 2:
        rows, columns = header.detector_shape
        raise MetadataError(f"nothing is left of patterns of {rows} x {columns} pixels", "crop or bin less")
    factor = preparation.rescale / preparation.bin
    detector = header.detector.model_copy(
        update={"shape": shape, "dtype": _dtype_after(header.frame_dtype.str, preparation)}
    )
    for name in ("pixel_mrad", "pixel_invA"):
        if getattr(detector, name) is not None:
            detector = detector.model_copy(update={name: getattr(detector, name) / factor})
    if detector.beam_center_px is not None:
        turned = undo_transform_of_center(detector.beam_center_px, header.detector_shape, preparation.transform)
        center = _moved_center(turned, preparation)
        detector = detector.model_copy(update={"beam_center_px": (float(center[0]), float(center[1]))})
    if detector.descan_px is not None:
        descan = Descan.of(detector.descan_px).undone(preparation.transform).scaled(factor)
        descan = descan.read_backwards(preparation.flip_scan)
        detector = detector.model_copy(update={"descan_px": descan.numbers})
    arrays = dict(header.arrays)
    if "bad_pixel_mask" in arrays:
        arrays["bad_pixel_mask"] = _reshaped(arrays["bad_pixel_mask"][None].astype(np.uint8), preparation)[0] > 0
    if "vacuum_pattern" in arrays:
        arrays["vacuum_pattern"] = _reshaped(arrays["vacuum_pattern"][None].astype(float), preparation)[0]
    header = replace(header, detector=detector, arrays=arrays)
    return header if preparation.transform == "none" else overlay(header, {"detector_transform": "none"})


def _moved_center(center_px: DoubleArray, preparation: Preparation) -> DoubleArray:
    """Return the beam centre after cropping, binning, rescaling and padding."""
    center = center_px - np.array([preparation.crop[0], preparation.crop[2]])
    return np.asarray((center + 0.5) / preparation.bin * preparation.rescale - 0.5 + preparation.pad)


def _dtype_after(dtype: str, preparation: Preparation) -> str:
    """Return the type of prepared pixels: as requested, or wide enough."""
    if preparation.dtype is not None:
        return np.dtype(preparation.dtype).str
    if preparation.normalize or preparation.rescale != 1.0 or preparation.divide != 1:
        return "<f4"
    return _WIDER.get(dtype, "<f4") if preparation.bin > 1 else dtype
