"""Decisions before the first frame of a scan is reduced: methods, number of bins that fit in memory, and the disc."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.bases.stream import stream_basis
from ptylive.engine.calibrate.detector import calibrate_detector
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging import registry
from ptylive.engine.imaging.accumulation.reduction import PixelReduction, Reduction, VectorReduction
from ptylive.engine.imaging.declaration import PTYLIVE
from ptylive.engine.imaging.filters import BUILDERS, FilterStock
from ptylive.engine.imaging.imaging_conditions import UPSAMPLE_POINTS
from ptylive.schema import Calibration, MetadataError, ScanHeader
from ptylive.schema.errors import brief
from ptylive.schema.model import Array, DoubleArray

FILTER_MEMORY_BYTES = 2**30
"""Memory that the filters of all built-in maps may need together: it bounds the number of bins."""
MOST_FILTER_BYTES = 4 * 2**30
"""Memory for all filters kept at one time; a map whose filters alone need more is left out."""
MOST_MASKS = 1024
"""Most coefficients of a compressed scan that maps are made from."""
LEAST_BINS, MOST_BINS = 64, 1024
"""Bounds on the number of bright-field bins, whatever the memory."""


def max_bins(header: ScanHeader) -> int:
    """Return how many bright-field bins the filters of this scan may have: bounded by memory, same live and offline."""
    return int(np.clip(FILTER_MEMORY_BYTES / filter_bytes(header), LEAST_BINS, MOST_BINS))


def filter_bytes(header: ScanHeader) -> float:
    """Return the memory that filters of all built-in maps need per coefficient.

    Filters of other packages do not count: the data kept of a scan must not depend on what else is installed.
    """
    own_methods = (name for name in BUILDERS if registry.methods()[name].source == PTYLIVE)
    return sum(_bytes_of(header, name) for name in own_methods)


def _bytes_of(header: ScanHeader, name: str) -> float:
    """Return the bytes per coefficient of the filters of one method."""
    rows, cols = header.scan.require_shape()
    method = registry.methods()[name]
    finer = 4 if method.finer and rows * cols <= UPSAMPLE_POINTS else 1  # twice along both axes
    return 8 * 1.6 * rows * cols * method.planes * finer  # complex64, padded


def filter_sizes(header: ScanHeader) -> dict[str, float]:
    """Return the bytes of the filters of each method, for the largest number of coefficients of a scan."""
    basis = header.basis
    count = max_bins(header) if basis.is_raw else basis.n_bright + basis.n_dark
    return {name: count * _bytes_of(header, name) for name in BUILDERS}


def filter_stock(header: ScanHeader, methods: Iterable[str], background: Executor | None = None) -> FilterStock:
    """Return a stock for the filters of these methods of a scan."""
    filtered = tuple(name for name in BUILDERS if name in set(methods))
    return FilterStock(filtered, background, filter_sizes(header), MOST_FILTER_BYTES)


def left_out(header: ScanHeader, methods: Iterable[str]) -> dict[str, str]:
    """Return methods that a scan's frames do not support, with the reason. Raises MetadataError if none is possible."""
    if not isinstance(header, ScanHeader):
        raise MetadataError(f"{brief(header)} is not a ScanHeader", "ptylive.open_scan takes files and arrays")
    if header.basis.is_raw:
        return {}
    masks = header.basis.n_bright + header.basis.n_dark
    if masks > MOST_MASKS:
        raise MetadataError(f"no live maps from {masks} masks", f"at most {MOST_MASKS} masks make maps")
    excluded = _not_from_roots(header, methods) if header.basis.of == "sqrt_intensity" else {}
    for name, size in filter_sizes(header).items():
        if name in methods and size > MOST_FILTER_BYTES:
            excluded[name] = f"needs {size / 1e9:.0f} GB for filters: send fewer masks"
    return excluded


def _not_from_roots(header: ScanHeader, methods: Iterable[str]) -> dict[str, str]:
    """Return methods that a stream of square roots does not support, with the reason: only extras are linear in it."""
    out = {}
    for name in methods:
        needed = registry.methods()[name].from_roots
        if needed is None:
            out[name] = "needs intensities, not their square roots"
        elif lacking := [extra for extra in needed if extra not in header.basis.extra]:
            out[name] = f"needs the extra {lacking[0]}"
    return out


@dataclass(frozen=True, eq=False)
class ReductionPlan:
    """A calibration and the matching reduction."""

    calibration: Calibration
    reduction: Reduction

    @classmethod
    def of(cls, header: ScanHeader, mean_frame: Array) -> ReductionPlan:
        """Make the plan of a scan from the mean of its frames: pixels (Qy, Qx), or coefficients and extras (n,)."""
        if header.basis.is_raw:
            return cls.of_pattern(header, mean_frame)
        basis = stream_basis(header)
        return cls.of_pattern(header, basis.pattern(mean_frame[: basis.count]))

    @classmethod
    def of_pattern(cls, header: ScanHeader, mean_pattern: DoubleArray) -> ReductionPlan:
        """Make the plan of a scan from its mean pattern (Qy, Qx)."""
        calibration = calibrate_detector(header, mean_pattern)
        center = calibration.require("beam_center_px", "the live maps")
        grid = DetectorGrid.of(header.detector_shape, center, "none", 1.0)
        radius = float(calibration.require("disc_radius_px", "the live maps"))
        if not header.basis.is_raw:
            return cls(calibration, VectorReduction.of(header, grid, radius))
        reduction = PixelReduction.of(grid, radius, bad_pixels(header), max_bins(header))
        if not reduction.basis.count:
            row, col = center
            raise MetadataError(
                f"the bright field covers no good pixel of the detector: beam_center_px = {row:g}, {col:g},"
                f" {header.detector_shape[0]} x {header.detector_shape[1]} pixels",
                "correct beam_center_px or the bad-pixel mask, or leave out the centre: it is found from the data",
            )
        return cls(calibration, replace(reduction, saturation_value=header.of_counts.detector.saturation_value))
