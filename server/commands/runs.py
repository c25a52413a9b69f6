"""A refinement read from a results file, for the comparison of runs in a viewer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.refine.results.refinement_result import projected_amplitude
from ptylive.schema import CommandError
from ptylive.schema.model import DoubleArray
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.wire.messages import array_to_plain

MOST_PROBE_PIXELS = 2**22
"""Of all modes; a larger probe does not come along."""
MOST_SLICE_PIXELS = 2**22
"""Of all slices; more of them do not come along."""
MOST_POSITIONS = 1600
"""Positions of a scan that are shown at most; of larger scans every second, third, …"""


def read_run(path: Path, run: str, nominal_A: DoubleArray | None = None) -> dict[str, Any]:
    """A refinement as a viewer compares it: losses, preset, the object's phase, summed and by slices, and positions.

    nominal_A (N, 2): where the positions were before, in the same order; without it, or where the numbers differ, no
    positions come along. Positions are relative to the object's pixel (0, 0).
    """
    import h5py

    with h5py.File(path, "r") as file:
        group = file.get("refinements", {}).get(run)
        if group is None:
            raise CommandError(f"there is no refinement {run!r} in {path}", "see the command runs")
        transmission = np.asarray(group["object"][0])
        phase = np.angle(transmission * np.exp(-1j * np.angle(transmission.sum(axis=(1, 2), keepdims=True))))
        probe = group.get("probe")
        shown = None if probe is None or probe.size > MOST_PROBE_PIXELS else np.asarray(probe[0], dtype=np.complex64)
        sampling = [float(v) for v in group["object"].attrs["sampling_A"]]
        amplitude = projected_amplitude(transmission)
        absorbs = None if amplitude is None else {**array_to_plain(amplitude), "sampling_A": sampling}
        return {
            "run": run,
            "probe": None if shown is None else {**array_to_plain(shown), "sampling_A": sampling},
            "losses": [float(v) for v in group["loss"][()]],
            "phases": [as_text(v) for v in group["loss"].attrs.get("phase", ())],
            "preset": json.loads(as_text(group.attrs.get("preset", "{}"))),
            "state": as_text(group.attrs.get("state", "")),
            "positions": _positions(
                nominal_A, np.asarray(group["positions_A"][()], dtype=float), group["object"].attrs["origin_A"]
            ),
            "object": {
                **array_to_plain(phase.sum(axis=0).astype(np.float32)),
                "sampling_A": sampling,
            },
            "object_amplitude": absorbs,
            **_by_slices(phase, None if amplitude is None else np.abs(transmission), sampling),
        }


def _by_slices(phase: DoubleArray, amplitude: DoubleArray | None, sampling: list[float]) -> dict[str, Any]:
    """Phase and amplitude (n, Y, X) of each of several slices; nothing of one, or where there is too much."""
    if len(phase) < 2 or phase.size > MOST_SLICE_PIXELS:
        return {}
    told = {"slices": phase} | ({} if amplitude is None else {"slice_amplitudes": amplitude})
    return {name: {**array_to_plain(each.astype(np.float16)), "sampling_A": sampling} for name, each in told.items()}


def nominal_positions(scan: ScanSession) -> DoubleArray | None:
    """Positions (N, 2) in Å of the points that arrived, in acquisition order; None where no step is known."""
    header = scan.header
    rotation = scan.calibration.get("rotation_deg") or 0.0
    given = header.arrays.get("positions_A")
    if given is None and (header.scan.shape is None or (header.scan.step_A is None and header.scan.matrix is None)):
        return None
    every = header.scan.positions_A(float(rotation)) if given is None else np.asarray(given, dtype=float)
    point = header.scan.point_of(np.arange(header.frames))
    point = point[point >= 0]
    if scan.coverage.size == len(every):
        point = point[scan.coverage.ravel()[point]]
    return np.asarray(every[point])


def _positions(before_A: DoubleArray | None, after_A: DoubleArray, origin_A: DoubleArray) -> dict[str, Any] | None:
    """Some positions before and after, relative to ``origin_A``, and how far all of them moved (root mean square)."""
    if before_A is None or before_A.shape != after_A.shape:
        return None
    moved = after_A - before_A
    stride = max(1, math.ceil(len(before_A) / MOST_POSITIONS))
    return {
        "before": array_to_plain((before_A - origin_A)[::stride].astype(np.float32)),
        "after": array_to_plain((after_A - origin_A)[::stride].astype(np.float32)),
        "rms_A": float(np.sqrt((moved**2).sum(axis=1).mean())),
    }


def as_text(value: Any) -> str:
    """An attribute as text, whether the file holds text or bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
