"""Recordings and results files as a file worker reads them: plain values and arrays, for the library.

Every function takes a path first and is a task of :class:`ptylive.streamer.vetting.worker.FileWorker`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import Calibration
from ptylive.schema.model import Array, IndexArray

THUMBNAIL_SIDE = 96
AT_ONCE = 32
"""Frames that are in memory at a time while a mean is taken."""
THUMBNAIL_MAPS = ("obf", "idpc", "tcbf", "bf", "adf")


def describe_scan(path: Path) -> dict[str, Any]:
    """What the card of a scan shows of its recording."""
    from ptylive.streamer.source import open_source

    with open_source(path) as source:
        header, received = source.header, source.received
    return {
        "uid": header.uid,
        "series": header.series,
        "shape": None if header.scan.shape is None else list(header.scan.shape),
        "frames": int(received.sum()),
        "lost": int(received.size - received.sum()),
        "bytes": path.stat().st_size,
    }


def describe_results(path: Path) -> dict[str, Any]:
    """What the card of a scan shows of its results file."""
    from ptylive.engine.results import read_runs

    stored = read_results(path, THUMBNAIL_MAPS)
    return {
        "runs": read_runs(path),
        "calibration": Calibration.from_attributes(stored["calibration"]).to_plain(),
        "thumbnail": _thumbnail({found["name"]: found["data"] for found in stored["maps"]}),
    }


def mean_pattern(path: Path, numbers: IndexArray) -> dict[str, Any]:
    """Mean of some frames by their numbers: ``pattern`` (Qy, Qx) float32, and how many ``frames`` there were.

    ``pattern`` is None where none of them arrived, or where the recording holds coefficients in place of patterns.
    """
    from ptylive.streamer.source import open_source

    with open_source(path) as source:
        asked = np.asarray(numbers, dtype=np.int64)
        asked = asked[asked < len(source.received)]
        there = asked[source.received[asked]]
        if not len(there) or not source.header.basis.is_raw:
            return {"pattern": None, "frames": 0}
        total = np.zeros(source.header.detector.shape or source.frames(there[:1]).shape[1:])
        for first in range(0, len(there), AT_ONCE):
            total += source.frames(there[first : first + AT_ONCE]).sum(axis=0, dtype=float)
        return {"pattern": (total / len(there)).astype(np.float32), "frames": len(there)}


def scan_header(path: Path) -> dict[str, Any]:
    """Map and arrays of the arm message of a recorded scan, and how many of its frames arrived."""
    from ptylive.streamer.source import open_source
    from ptylive.streamer.wire.armmap import arm_parts, arm_to_map

    with open_source(path) as source:
        return {
            "arm": arm_to_map(source.header),
            "parts": arm_parts(source.header),
            "received": int(source.received.sum()),
        }


def read_results(path: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Maps (all, or those of ``names``) as dictionaries, coverage, and attributes of the calibration.

    There are neither maps nor coverage (None) where ``ptylive refine`` wrote the file.
    """
    from ptylive.engine.stored_maps import StoredMaps

    stored = StoredMaps.read(path, names)
    return {
        "maps": [vars(live_map) for live_map in stored.maps.values()],
        "coverage": stored.coverage,
        "calibration": stored.calibration,
    }


def _thumbnail(maps: dict[str, Array]) -> dict[str, Any] | None:
    """The best map with finite values as uint8 {shape, dtype, data, map}, 1st to 99th percentile."""
    from ptylive.server.wire.messages import array_to_plain

    for name in THUMBNAIL_MAPS:
        if name not in maps:
            continue
        stride = max(1, -(-max(maps[name].shape) // THUMBNAIL_SIDE))
        small = maps[name][::stride, ::stride]
        finite = small[np.isfinite(small)]
        if finite.size:
            low, high = np.percentile(finite, (1, 99))
            shades = np.clip((np.nan_to_num(small, nan=low) - low) / max(high - low, 1e-30) * 255, 0, 255)
            return {**array_to_plain(shades.astype(np.uint8)), "map": name}
    return None
