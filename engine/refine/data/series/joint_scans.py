"""Several scans of one place as one data set: the patterns of all scans, each with the number of its scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.pattern_view import PatternView
from ptylive.schema import Calibration, Origin
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array, DoubleArray, IndexArray

SAME = {"energy_eV": 1e-3, "convergence_semiangle_mrad": 0.02, "detector_pixel_invA": 0.005}
"""Relative difference allowed between scans. A pixel off by 0.5 % moves the edge of 60 mrad by 0.3 mrad."""
FARTHEST_CENTRE = 1 / 8
"""Share of the detector by which the beam may have moved between scans."""
OWN = ("beam_center_px",)
"""Estimates that each scan keeps; for all others those of the first scan are the best common values."""


def under_one_calibration(first: Calibration, other: Calibration) -> Calibration:
    """The calibration of a later scan: values not given are those of the first scan, except for the beam position.

    Raises MetadataError for scans whose given values differ.
    """
    for name, tolerated in SAME.items():
        first_value, other_value = first.get(name), other.get(name)
        if other.origin(name) is not Origin.GIVEN or first_value is None or other_value is None:
            continue
        if abs(float(other_value) - float(first_value)) > tolerated * abs(float(first_value)):
            raise MetadataError(
                f"the scans have different {name}: {float(first_value):.6g} and {float(other_value):.6g}",
                "refine them separately",
            )
    own_entries = {n: q for n, q in other.entries.items() if n in OWN or q.origin is Origin.GIVEN}
    return Calibration({**first.entries, **own_entries})


def joined(scans: Sequence[Dataset], names: Sequence[str], shifts_A: DoubleArray) -> Dataset:
    """The patterns of all scans; the positions of scan k are shifted by ``shifts_A[k]`` (row, column).

    The rest is as in the first scan. The rasters are stacked with an empty row between them. If beam centres differ,
    the model is shifted. Raises MetadataError naming what is incompatible.
    """
    first = scans[0]
    for name, scan in zip(names, scans, strict=True):
        _check(first, scan, name)
    columns = max(scan.scan_shape[1] for scan in scans)
    first_row = np.cumsum([0, *(scan.scan_shape[0] + 1 for scan in scans)])
    point = [_in_columns(scan, columns) + row * columns for scan, row in zip(scans, first_row[:-1], strict=True)]
    moved = [_offsets(first, scan) for scan in scans]
    bad = np.any([scan.bad_pixels for scan in scans], axis=0)
    return replace(
        first,
        patterns=_concatenated([scan.patterns for scan in scans]),
        point=np.concatenate(point),
        positions_A=np.concatenate([s.positions_A + by for s, by in zip(scans, shifts_A, strict=True)]),
        bad_pixels=bad,
        scan_shape=(int(first_row[-1]) - 1, columns),
        offsets_px=None if not any(offsets.any() for offsets in moved) else np.concatenate(moved),
        current=_current(scans),
        scan_of=np.repeat(np.arange(len(scans)), [len(scan.point) for scan in scans]),
        scan_names=tuple(names),
    )


def _check(first: Dataset, scan: Dataset, name: str) -> None:
    if scan.masks is not None:
        raise MetadataError(f"{name} holds coefficients", "only scans of frames can be refined together")
    if scan.scan_of is not None:
        raise MetadataError(f"{name} already consists of several scans", "join all of them in one step")
    shape, own_shape = first.patterns.shape[1:], scan.patterns.shape[1:]
    if own_shape != shape:
        raise MetadataError(
            f"{name} has patterns of {own_shape[0]} x {own_shape[1]} pixels, the first scan of {shape[0]} x {shape[1]}",
            "crop or bin them to the same size: ptylive convert --help",
        )
    under_one_calibration(first.calibration, scan.calibration)
    distance_px = np.abs(scan.beam_center_px - first.beam_center_px).max()
    if distance_px > FARTHEST_CENTRE * min(shape):
        raise MetadataError(
            f"the beam of {name} is {distance_px:.3g} px away from that of the first scan",
            "centre the patterns first (ptylive convert)",
        )


def _in_columns(scan: Dataset, columns: int) -> IndexArray:
    """(N,) scan points renumbered for a raster with more columns."""
    row, column = np.divmod(scan.point, scan.scan_shape[1])
    return np.asarray(row * columns + column)


def _offsets(first: Dataset, scan: Dataset) -> DoubleArray:
    """(N, 2) offsets of the patterns from the beam position of the first scan."""
    offsets = np.zeros((len(scan.point), 2)) if scan.offsets_px is None else scan.offsets_px
    return np.asarray(offsets + (scan.beam_center_px - first.beam_center_px))


def _current(scans: Sequence[Dataset]) -> DoubleArray | None:
    """(N,) beam current of the patterns, relative to the mean of each scan; None if it changes in none of them."""
    if all(scan.current is None for scan in scans):
        return None
    return np.concatenate([np.ones(len(scan.point)) if scan.current is None else scan.current for scan in scans])


def _concatenated(patterns: Sequence[Array]) -> Array:
    """Patterns of all scans, read from their sources on demand."""
    ends = np.cumsum([len(array) for array in patterns])
    dtype = np.result_type(*(array.dtype for array in patterns))
    shape = (int(ends[-1]), int(patterns[0].shape[1]), int(patterns[0].shape[2]))

    def read(chosen: IndexArray) -> Array:
        result = np.empty((len(chosen), *shape[1:]), dtype)
        scan_of = np.searchsorted(ends, chosen, side="right")
        for scan in np.unique(scan_of):
            in_scan = scan_of == scan
            result[in_scan] = patterns[scan][chosen[in_scan] - (ends[scan] - len(patterns[scan]))]
        return result

    return PatternView(shape, np.dtype(dtype), read).as_array()
