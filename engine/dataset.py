"""A scan ready to be modelled: patterns, scan positions and optics."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.bad_pixels import bad_pixels, with_noted_pixels
from ptylive.engine.descan import beyond_detector, descan_of, moved_by_whole_pixels, offsets_px
from ptylive.engine.memory import check_fits
from ptylive.schema import Basis, Calibration, MetadataError, ScanHeader
from ptylive.schema.detector import undo_transform, undo_transform_of_center
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray

RAW = Basis()
"""Basis of raw frames."""


@dataclass(frozen=True)
class Dataset:
    """Patterns that arrived, in acquisition order without flyback, turned into the detector frame.

    patterns: (N, Qy, Qx) in the recorded type; point: (N,) flat scan point of each; positions_A: (N, 2) detector
    frame, first nominal scan point at the origin; bad_pixels: (Qy, Qx); beam_center_px: (2,), detector frame.
    """

    patterns: Array
    point: IndexArray
    positions_A: DoubleArray
    bad_pixels: BoolArray
    beam_center_px: DoubleArray
    scan_shape: tuple[int, int]
    calibration: Calibration
    masks: FloatArray | None = None
    """(K, Qy, Qx), detector frame: with masks, patterns are vectors (N, K + extras) as described by ``basis``."""
    basis: Basis = RAW
    vacuum: DoubleArray | None = None
    """(Qy, Qx) recorded pattern without a specimen, detector frame; None if there is no recording."""
    reach_A: DoubleArray | None = None
    """(n, 2) positions that the object must cover in addition to those of the patterns."""
    offsets_px: DoubleArray | None = None
    """(N, 2) remaining displacement of each pattern, detector frame: the model is shifted by it (descan)."""
    current: DoubleArray | None = None
    """(N,) beam current of each pattern relative to the mean; None if it is not known to change."""
    scan_of: IndexArray | None = None
    """(N,) number of the scan each pattern was taken in, if several were joined; None for a single scan."""
    scan_names: tuple[str, ...] = ()
    """Names of the scans that were joined."""

    @classmethod
    def of(cls, header: ScanHeader, calibration: Calibration, index: IndexArray, frames: Array) -> Dataset:
        """Arrange counts (N, Qy, Qx) in recorded coordinates, numbered by ``index`` (acquisition order with flyback).

        ``header`` describes counts, not what the detector wrote. Compressed scans pass vectors (N, K + extras) instead.
        If the calibration has a descan, counts have been moved back (:func:`counts_at_rest`) with bad pixels filled;
        the bad pixels are then those read from beyond the detector. Otherwise bad pixels of the calibration are added
        to those of the scan.
        """
        header, descan = with_noted_pixels(header, calibration), descan_of(calibration)
        bad = beyond_detector(header, descan) if descan is not None and header.basis.is_raw else bad_pixels(header)
        point = header.scan.point_of(index)
        on_scan = point >= 0
        frames, point = (frames, point) if on_scan.all() else (frames[on_scan], point[on_scan])
        transform = calibration.transform
        shape = header.detector_shape
        center = calibration.require("beam_center_px", "the reconstruction")
        given_positions, vacuum = header.arrays.get("positions_A"), header.arrays.get("vacuum_pattern")
        positions = (
            header.scan.positions_A(calibration.rotation_deg)
            if given_positions is None
            else np.asarray(given_positions, dtype=float)
        )
        return cls(
            patterns=undo_transform(frames, transform) if header.basis.is_raw else frames,
            point=point,
            positions_A=positions[point],
            bad_pixels=np.ascontiguousarray(undo_transform(bad, transform)),
            beam_center_px=undo_transform_of_center(center, shape, transform),
            scan_shape=header.scan.require_shape(),
            calibration=calibration,
            masks=None
            if header.basis.is_raw
            else undo_transform(np.asarray(header.arrays["masks"], np.float32), transform),
            basis=header.basis,
            vacuum=None
            if vacuum is None
            else np.ascontiguousarray(undo_transform(np.asarray(vacuum, float), transform)),
            offsets_px=offsets_px(header, descan, point, transform, frames),
            current=_current(calibration, header.scan.require_shape(), point),
        )

    def part(self, chosen: IndexArray, patterns: Array | None = None) -> Dataset:
        """Return the chosen patterns and their metadata; ``patterns`` passes the patterns if already selected."""
        return replace(
            self,
            patterns=self.patterns[chosen] if patterns is None else patterns,
            point=self.point[chosen],
            positions_A=self.positions_A[chosen],
            offsets_px=None if self.offsets_px is None else self.offsets_px[chosen],
            current=None if self.current is None else self.current[chosen],
            scan_of=None if self.scan_of is None else self.scan_of[chosen],
        )


def _current(calibration: Calibration, shape: tuple[int, int], point: IndexArray) -> DoubleArray | None:
    """Beam current (N,) at scan points (N,), from that of the rows. Raises MetadataError for another scan's rows."""
    by_row = calibration.get("beam_current")
    if by_row is None:
        return None
    current = np.asarray(by_row, dtype=float)
    if current.size == 1:
        return None
    if current.shape != shape[:1] or not (current > 0).all():
        raise MetadataError(
            f"beam_current is not that of the {shape[0]} rows of the scan", "reconstruct the recording again"
        )
    return np.asarray(current[point // shape[1]])


def dataset_of(header: ScanHeader, calibration: Calibration, index: IndexArray, frames: Array) -> Dataset:
    """Arrange frames as recorded, or coefficients, after moving them back by the descan."""
    if header.basis.is_raw:
        if header.readout.corrects or descan_of(calibration) is not None:
            nbytes = frames.size * header.of_counts.frame_dtype.itemsize
            check_fits(float(nbytes), "corrected patterns", "crop or bin them first: ptylive convert --help")
        frames = counts_at_rest(header, calibration, index, frames)
    return Dataset.of(header.of_counts, calibration, index, frames)


def counts_at_rest(header: ScanHeader, calibration: Calibration, index: IndexArray, frames: Array) -> Array:
    """Return counts of recorded frames (n, Qy, Qx), moved back if the calibration has a descan.

    The result consists of frames of ``header.of_counts``.
    """
    counts, descan = header.readout.counts(frames)[0], descan_of(calibration)
    if descan is None:
        return counts
    return moved_by_whole_pixels(with_noted_pixels(header, calibration), descan, index, counts)


def check_metadata(header: ScanHeader, *, far_field: bool = True) -> None:
    """Raise MetadataError naming everything a refinement needs that is neither given nor can be estimated."""
    placed = header.scan.step_A is not None or header.scan.matrix is not None or "positions_A" in header.arrays
    optics = {
        "energy_eV": header.optics.energy_eV,
        "convergence_semiangle_mrad": header.optics.convergence_semiangle_mrad if far_field else 0.0,
    }
    missing = [] if header.scan.shape is not None else ["scan_shape"]
    missing += ([] if placed else ["scan_step_A"]) + [name for name, value in optics.items() if value is None]
    if missing:
        values = " ".join(f"--set {name}={'ROWS,COLUMNS' if name == 'scan_shape' else '…'}" for name in missing)
        without_probe = {"scan_step_A", "convergence_semiangle_mrad"} <= set(missing)  # no convergent beam was scanned
        tilted = "; a series of tilted parallel beams: ptylive larbed" if without_probe else ""
        raise MetadataError(f"the refinement needs {', '.join(missing)}", f"give {values}{tilted}")
