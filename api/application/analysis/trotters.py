"""Trotters of a recording, before and after correcting the aberrations, for ``ptylive trotters``."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ptylive.application.offline import reconstruct_source
from ptylive.engine import file_guard
from ptylive.engine.damaged_files import FAULTS
from ptylive.engine.live.trotter import Frequency, Trotter, trotter
from ptylive.pictures.sheet import Cell, sheet
from ptylive.pictures.snapshot import png
from ptylive.pictures.trotters import trotter_views
from ptylive.schema import Calibration, MetadataError
from ptylive.schema.errors import brief
from ptylive.schema.files.atomic import replacing

if TYPE_CHECKING:
    from ptylive.streamer.source import FileSource

STRONGEST = "strongest"
MOST = 64
"""Largest number of frequencies in one call."""


@dataclass(frozen=True, eq=False)
class Trotters:
    """G(k, Q) of a scan at some frequencies, with the calibration that gives the aberrations."""

    found: tuple[Trotter, ...]
    calibration: Calibration

    def to_plain(self) -> list[dict[str, Any]]:
        """Frequency (row, col; scan axes), spacing and flatness before and after, for each trotter."""
        return [
            {
                "frequency_invA": [round(q, 5) for q in result.q_invA],
                "spacing_A": round(1 / float(np.hypot(*result.q_invA)), 3),
                "flat_before": round(result.flatness[0], 3),
                "flat_after": round(result.flatness[1], 3),
            }
            for result in self.found
        ]

    def picture(self) -> bytes:
        """A PNG with one row per frequency: amplitude and both phases."""
        return png(sheet([cell for result in self.found for cell in _cells(result)], 3))

    def _repr_html_(self) -> str:
        return f'<img src="data:image/png;base64,{base64.b64encode(self.picture()).decode()}"/>'

    def write(self, path: Path) -> None:
        """Write the picture as a PNG. Raises OSError."""
        picture = self.picture()
        with replacing(Path(path).expanduser()) as temporary:
            temporary.write_bytes(picture)

    def write_arrays(self, path: Path) -> None:
        """Write a group ``trotters/trotter1`` … per frequency to a new HDF5 file (docs/analysis.md). Raises OSError."""
        with replacing(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(self.calibration.to_attributes())
            for number, result in enumerate(self.found, 1):
                group = file.create_group(f"trotters/trotter{number}")
                group.attrs.update(q_invA=result.q_invA, origin_px=result.origin_px, flatness=result.flatness)
                arrays = {
                    "before": result.values,
                    "after": result.compensated,
                    "area": result.area.astype(np.uint8),
                }
                for name, values in arrays.items():
                    group[name] = values
                group["aberration_rad"] = result.aberration


def holds_trotters(path: Path) -> bool:
    """Whether an HDF5 file was made by :meth:`Trotters.write_arrays`."""
    file_guard.admit(path)
    try:
        with h5py.File(path, "r") as file:
            return "trotters/trotter1" in file
    except FAULTS:
        return False


def trotters_of(
    source: FileSource,
    values: Mapping[str, Any],
    frequencies: Iterable[Frequency | None] = (None,),
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Trotters:
    """Trotters of an open scan at frequencies (row, col; 1/Å, scan axes); None: the strongest. Raises MetadataError."""
    requested = checked(frequencies)
    reconstruction = reconstruct_source(source, values, ["bf"], on_progress=on_progress)
    if reconstruction.engine.store is None:
        raise MetadataError("no frame of a scan point arrived", "give the whole recording")
    found = tuple(trotter(reconstruction.engine.store, reconstruction.calibration, item) for item in requested)
    for item, frequency in zip(found, requested, strict=True):
        if item.q_invA == (0.0, 0.0):
            problem = "no frequency stands out" if frequency is None else f"frequency {frequency} is zero, the mean"
            raise MetadataError(problem, "give a frequency of the lattice, in 1/Å")
    return Trotters(found, reconstruction.calibration)


def checked(frequencies: Iterable[Any]) -> tuple[Frequency | None, ...]:
    """Check frequencies given by a user: pairs of numbers, None or ``strongest``. Raises MetadataError."""
    one_pair = (
        isinstance(frequencies, tuple | list)
        and len(frequencies) > 0
        and all(isinstance(item, int | float) for item in frequencies)
    )
    listed = [frequencies] if isinstance(frequencies, str) or one_pair else list(frequencies)
    if not 0 < len(listed) <= MOST:
        raise MetadataError(f"{len(listed)} frequencies are requested", f"give 1 to {MOST}")
    return tuple(None if item is None or _is_strongest(item) else _pair(item) for item in listed)


def _is_strongest(value: Any) -> bool:
    return isinstance(value, str) and value == STRONGEST


def _pair(value: Any) -> Frequency:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        row, col = (float(part) for part in parts)
    except (TypeError, ValueError):
        row = col = np.nan
    if not np.isfinite([row, col]).all():
        hint = f"give ROW,COLUMN in 1/Å along the axes of the scan, or {STRONGEST}"
        raise MetadataError(f"{brief(value)} is not a frequency", hint)
    return row, col


def _cells(shown: Trotter) -> list[Cell]:
    row, col = shown.q_invA
    frequency = f"Q {row:.4g}, {col:.4g} 1/Å ({1 / float(np.hypot(row, col)):.3g} Å)"
    overlapping = "" if (shown.area > 0).any() else "no two discs overlap here"
    lines = ([frequency], [f"flat {shown.flatness[0]:.0%}"], [f"flat {shown.flatness[1]:.0%}"])
    return [
        Cell(view.data, view.title, text, view.colour_map, view.visited, limits=view.limits, doubt=overlapping)
        for view, text in zip(trotter_views(shown.values, shown.compensated, shown.area), lines, strict=True)
    ]
