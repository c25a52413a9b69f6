"""A refinement read from a results file, for comparing runs in a viewer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.application.analysis.figures import curve, same_place
from ptylive.engine.analysis.fourier_correlation import ring_correlation
from ptylive.engine.analysis.sections import Point, depth_section
from ptylive.engine.refine.results.refinement_result import projected_amplitude
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import CommandError, MetadataError
from ptylive.schema.model import DoubleArray
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.wire.messages import array_to_plain

MOST_PROBE_PIXELS = 2**22
"""Maximum probe pixels over all modes; a larger probe is left out."""
MOST_SLICE_PIXELS = 2**22
"""Maximum pixels over all slices; beyond it slices are left out."""
MOST_POSITIONS = 1600
"""Maximum number of scan positions shown; of larger scans every second, third, …"""


def read_run(path: Path, run: str, nominal_A: DoubleArray | None = None) -> dict[str, Any]:
    """Return what a viewer needs to compare a refinement: losses, preset, the object's phase, summed and by slices,
    and positions.

    nominal_A (N, 2): positions before refinement, in the same order; without it, or if the numbers differ, positions
    are left out. Positions are relative to the object's pixel (0, 0).
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
            "stages": [int(first) for first in group["loss"].attrs.get("stages", ())],
            "preset": json.loads(as_text(group.attrs.get("preset", "{}"))),
            "state": as_text(group.attrs.get("state", "")),
            "falling": is_falling(group.attrs),
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


def is_falling(attributes: Mapping[str, Any]) -> bool:
    """Return whether the loss of a stored run still fell at its end; one that rises has not converged either."""
    return not attributes.get("converged", True) and float(attributes.get("fall_per_epoch", 0.0)) > 0


def _by_slices(phase: DoubleArray, amplitude: DoubleArray | None, sampling: list[float]) -> dict[str, Any]:
    """Return phase and amplitude (n, Y, X) of each slice; empty for a single slice, or if there are too many pixels."""
    if len(phase) < 2 or phase.size > MOST_SLICE_PIXELS:
        return {}
    stacks = {"slices": phase} | ({} if amplitude is None else {"slice_amplitudes": amplitude})
    return {name: {**array_to_plain(each.astype(np.float16)), "sampling_A": sampling} for name, each in stacks.items()}


def nominal_positions(scan: ScanSession) -> DoubleArray | None:
    """Return positions (N, 2) in Å of the points received, in acquisition order; None if the step is unknown."""
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
    """Return some positions before and after, relative to ``origin_A``, and the RMS shift of all positions."""
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
    """Return an attribute as text, whether the file holds text or bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def run_curves(results: Path, run: str, other: str = "", line_A: Iterable[float] | None = None) -> dict[str, Any]:
    """Return the depth section of a run along a line, and its ring correlation with another run of the same file.

    line_A: ROW, COL, ROW, COL in Å from the centre of the object's pixel (0, 0). ``section`` is None for a single
    slice or without a line, ``ring_correlation`` None without another run. Raises PtyliveError for a missing run, a
    line outside the object, or runs that cannot be compared.
    """
    first = StoredRun.read(results, run)
    line = parse_line(line_A)
    section = None
    if line is not None and first.slices > 1:
        try:
            found = depth_section(first.phase(), first.pixel_A, first.spacing_A, line)
        except MetadataError as error:  # from the file's own scale: if the line is right, the file is damaged
            raise MetadataError(f"{run} of {results}: {error}", error.hint) from None
        section = {**array_to_plain(found.phase), "sampling_A": list(found.sampling_A)}
    rings = None
    if other:
        first_object, second_object = same_place(first, StoredRun.read(results, other))
        rings = curve(ring_correlation(first_object.sum(axis=0), second_object.sum(axis=0), first.pixel_A))
    return {"run": run, "slices": first.slices, "section": section, "ring_correlation": rings}


def parse_line(line_A: Iterable[float] | None) -> tuple[Point, Point] | None:
    """Parse two points given with a command. Raises CommandError."""
    if line_A is None:
        return None
    values = [float(v) for v in line_A]
    if len(values) != 4 or not np.isfinite(values).all():
        raise CommandError("line_A must be four numbers", "give ROW, COL, ROW, COL in Å")
    return (values[0], values[1]), (values[2], values[3])
