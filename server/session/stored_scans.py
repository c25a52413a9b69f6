"""Recordings and results files as read by a file worker: plain values and arrays, for the library.

Every function takes a path as its first argument and is a task of
:class:`ptylive.streamer.vetting.worker.FileWorker`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.pictures.sampling import stretched
from ptylive.schema import Calibration, LiveMap
from ptylive.schema.maps import InformationLimit, RingQuality
from ptylive.schema.model import Array, BoolArray, IndexArray

THUMBNAIL_SIDE = 96
MOST_FINER = 4
"""Maximum number of object pixels along each axis that are averaged into one thumbnail pixel."""
MOST_OBJECT = 2**24
"""Maximum size of an object in values, over all slices and modes; a larger object gets no thumbnail."""
AT_ONCE = 32
"""Number of frames in memory at a time while a mean is computed."""
SAMPLE_BYTES = 32 * 2**20
"""Frames of an opened scan that are read for its mean pattern."""
THUMBNAIL_MAPS = ("obf", "idpc", "tcbf", "bf", "adf")


def describe_scan(path: Path) -> dict[str, Any]:
    """Return what the card of a scan shows of its recording."""
    from ptylive.streamer.source import open_source

    with open_source(path) as source:
        header, received = source.header, source.received
    return {
        "uid": header.uid,
        "series": header.series,
        "shape": None if header.scan.shape is None else list(header.scan.shape),
        "frames": int(received.sum()),
        "lost": header.missing(received),
        "bytes": path.stat().st_size,
    }


def describe_results(path: Path) -> dict[str, Any]:
    """Return what the card of a scan shows of its results file."""
    from ptylive.engine.results import read_runs

    stored = read_results(path, THUMBNAIL_MAPS)
    return {
        "runs": read_runs(path),
        "calibration": Calibration.from_attributes(stored["calibration"]).to_plain(),
        "thumbnail": _thumbnail({found["name"]: found for found in stored["maps"]}, stored["coverage"]),
    }


def describe_object(path: Path) -> dict[str, Any] | None:
    """Return the phase of the last refinement over the scanned field, along the scan axes, as a thumbnail; None without
    a refinement, or if the object is too large to be read for it.
    """
    import h5py

    from ptylive.engine.analysis.scan_frame import ScanFrame, averaged, finer_by, phase_on_scan, wraps
    from ptylive.engine.stored_run import StoredRun

    with h5py.File(path, "r") as file:
        runs = file.get("refinements", {})
        name = max(runs, key=run_number, default="")
        if not name or runs[name]["object"].size > MOST_OBJECT:
            return None
    run = StoredRun.read(path, name)
    turned = ScanFrame.turned(float(run.calibration.get("rotation_deg") or 0.0))
    along_scan = run.positions_A @ turned.matrix  # multiplied from the right, it is the inverse
    first, last = along_scan.min(axis=0), along_scan.max(axis=0)
    pixel_A = max(float((last - first).max()) / (THUMBNAIL_SIDE - 1), run.pixel_A)
    rows, cols = (round(float(extent) / pixel_A) + 1 for extent in last - first)
    frame = ScanFrame(turned.place(first), turned.matrix)
    sampling_A = (pixel_A, pixel_A)
    finer = 1 if wraps(run) else min(finer_by(run, (rows, cols), sampling_A), MOST_FINER)
    phase = averaged(phase_on_scan(run, frame, (rows, cols), sampling_A, finer), finer)
    return {**_shades(phase), "run": name}


def run_number(run: str) -> tuple[int, str]:
    """Return a sort key for names of runs: run1, run2, … in numerical order, other names before them."""
    digits = run.removeprefix("run")
    return (int(digits) if digits.isdecimal() else 0, run)


def mean_pattern(path: Path, numbers: IndexArray) -> dict[str, Any]:
    """Return the mean of the numbered frames as ``pattern`` (Qy, Qx) float32, and how many ``frames`` there were.

    ``pattern`` is None if none of them arrived, or if the recording holds coefficients in place of patterns.
    """
    from ptylive.streamer.source import open_source

    with open_source(path) as source:
        requested = np.asarray(numbers, dtype=np.int64)
        requested = requested[requested < len(source.received)]
        received = requested[source.received[requested]]
        if not len(received) or not source.header.basis.is_raw:
            return {"pattern": None, "frames": 0}
        total = np.zeros(source.header.detector.shape or source.frames(received[:1]).shape[1:])
        for first in range(0, len(received), AT_ONCE):
            total += source.frames(received[first : first + AT_ONCE]).sum(axis=0, dtype=float)
        return {"pattern": (total / len(received)).astype(np.float32), "frames": len(received)}


def sampled_patterns(path: Path, most_bytes: int = SAMPLE_BYTES) -> dict[str, Any]:
    """Return the ``mean`` counts of frames spread over a scan (all of a small one) and its ``last`` pattern.

    Both (Qy, Qx) float32; None without frames of scan points, and for a recording of coefficients.
    """
    from ptylive.streamer.source import open_source

    with open_source(path) as source:
        header = source.header
        received = np.flatnonzero(source.received)
        if header.scan.shape is not None:
            received = received[header.scan.point_of(received) >= 0]
        if not len(received) or not header.basis.is_raw:
            return {"mean": None, "last": None}
        frame_bytes = int(np.prod(header.detector_shape)) * np.dtype(header.detector.dtype).itemsize
        count = min(len(received), max(1, most_bytes // frame_bytes))
        chosen = received[np.linspace(0, len(received) - 1, count).round().astype(int)]
        total = np.zeros(header.detector_shape)
        last = total
        for first in range(0, count, AT_ONCE):
            counts = header.readout.counts(source.frames(chosen[first : first + AT_ONCE]))[0]
            total += counts.sum(axis=0, dtype=float)
            last = counts[-1]
        return {"mean": (total / count).astype(np.float32), "last": np.asarray(last, dtype=np.float32)}


def scan_header(path: Path) -> dict[str, Any]:
    """Return map and arrays of the arm message of a recorded scan, and how many frames of its points are missing."""
    from ptylive.streamer.source import open_source
    from ptylive.streamer.wire.armmap import arm_parts, arm_to_map

    with open_source(path) as source:
        return {
            "arm": arm_to_map(source.header),
            "parts": arm_parts(source.header),
            "missing": source.header.missing(source.received),
        }


def read_results(path: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Return maps (all, or those in ``names``) as dictionaries, coverage, and attributes of the calibration.

    A file written by ``ptylive refine`` has no maps, and its coverage is None.
    """
    from ptylive.engine.stored_maps import StoredMaps

    stored = StoredMaps.read(path, names)
    return {
        "maps": [_plain(live_map) for live_map in stored.maps.values()],
        "coverage": stored.coverage,
        "calibration": stored.calibration,
        "places": dict(stored.places),
    }


def _plain(live_map: LiveMap) -> dict[str, Any]:
    """Return a map as plain values; :func:`map_of` is the inverse."""
    limit, quality = live_map.limit, live_map.quality
    plain_limit = None if limit is None else [limit.period_A, limit.uncertainty_A, limit.finer]
    return {**vars(live_map), "limit": plain_limit, "quality": None if quality is None else dict(vars(quality))}


def map_of(plain: Mapping[str, Any]) -> LiveMap:
    """Return a map from the plain values given by :func:`read_results`."""
    limit, quality = plain["limit"], plain["quality"]
    return LiveMap(
        **{
            **plain,
            "limit": None if limit is None else InformationLimit(*limit),
            "quality": None if quality is None else RingQuality(**quality),
        }
    )


def _thumbnail(maps: dict[str, dict[str, Any]], coverage: BoolArray | None) -> dict[str, Any] | None:
    """Return the best map with finite values as uint8 {shape, dtype, data, map, sampling_A}, 1st to 99th percentile.

    Pixels that were not scanned are 0, others 1 or more. ``sampling_A``: of the map (row, column), None if unknown.
    """
    for name in THUMBNAIL_MAPS:
        if name not in maps:
            continue
        data, sampling_A = maps[name]["data"], maps[name]["sampling_A"]
        stride = max(1, -(-max(data.shape) // THUMBNAIL_SIDE))
        small = data[::stride, ::stride]
        scanned = (
            np.ones(small.shape, bool) if coverage is None else stretched(coverage, data.shape)[::stride, ::stride]
        )
        if np.isfinite(small[scanned]).any():
            shades = _shades(small, scanned)
            return {**shades, "map": name, "sampling_A": None if sampling_A is None else list(sampling_A)}
    return None


def _shades(small: Array, counted: BoolArray | None = None) -> dict[str, Any]:
    """Return values as uint8 {shape, dtype, data}, scaled from 1st to 99th percentile of the finite ones.

    With ``counted``, only these values count, from shade 1, and the others are 0.
    """
    from ptylive.server.wire.messages import array_to_plain

    least, values = (0, small) if counted is None else (1, small[counted])
    low, high = np.percentile(values[np.isfinite(values)], (1, 99))
    shares = np.clip((np.nan_to_num(small, nan=low) - low) / max(high - low, 1e-30), 0, 1)
    shades = (least + (255 - least) * shares).astype(np.uint8)
    return array_to_plain(shades if counted is None else np.where(counted, shades, np.uint8(0)))
