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

    def told(self) -> list[dict[str, Any]]:
        """Frequency (row, col; scan axes), spacing and flatness before and after, for each trotter."""
        return [
            {
                "frequency_invA": [round(q, 5) for q in one.q_invA],
                "spacing_A": round(1 / float(np.hypot(*one.q_invA)), 3),
                "flat_before": round(one.flatness[0], 3),
                "flat_after": round(one.flatness[1], 3),
            }
            for one in self.found
        ]

    def picture(self) -> bytes:
        """A PNG with one row per frequency: amplitude and both phases."""
        return png(sheet([cell for one in self.found for cell in _cells(one)], 3))

    def _repr_html_(self) -> str:
        return f'<img src="data:image/png;base64,{base64.b64encode(self.picture()).decode()}"/>'

    def write(self, path: Path) -> None:
        """Write the picture as a PNG. Raises OSError."""
        picture = self.picture()
        with replacing(path) as temporary:
            temporary.write_bytes(picture)

    def write_arrays(self, path: Path) -> None:
        """Write a group ``trotters/trotter1`` … per frequency to a new HDF5 file (docs/analysis.md). Raises OSError."""
        with replacing(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(self.calibration.to_attributes())
            for number, one in enumerate(self.found, 1):
                group = file.create_group(f"trotters/trotter{number}")
                group.attrs.update(q_invA=one.q_invA, origin_px=one.origin_px, flatness=one.flatness)
                arrays = {"before": one.values, "after": one.compensated, "area": one.area.astype(np.uint8)}
                for name, values in arrays.items():
                    group[name] = values
                group["aberration_rad"] = one.aberration


def trotters_of(
    source: FileSource,
    values: Mapping[str, Any],
    frequencies: Iterable[Frequency | None] = (None,),
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Trotters:
    """Trotters of an open scan at frequencies (row, col; 1/Å, scan axes); None: the strongest. Raises MetadataError."""
    wanted = checked(frequencies)
    made = reconstruct_source(source, values, ["bf"], on_progress=on_progress)
    if made.engine.store is None:
        raise MetadataError("no frame of a scan point arrived", "give the whole recording")
    found = tuple(trotter(made.engine.store, made.calibration, one) for one in wanted)
    for one, asked in zip(found, wanted, strict=True):
        if one.q_invA == (0.0, 0.0):
            what = "no frequency stands out" if asked is None else f"frequency {asked} is zero, the mean"
            raise MetadataError(what, "give a frequency of the lattice, in 1/Å")
    return Trotters(found, made.calibration)


def checked(frequencies: Iterable[Any]) -> tuple[Frequency | None, ...]:
    """Check frequencies given by a user: pairs of numbers, None or ``strongest``. Raises MetadataError."""
    one_pair = (
        isinstance(frequencies, tuple | list)
        and len(frequencies) > 0
        and all(isinstance(one, int | float) for one in frequencies)
    )
    listed = [frequencies] if isinstance(frequencies, str) or one_pair else list(frequencies)
    if not 0 < len(listed) <= MOST:
        raise MetadataError(f"{len(listed)} frequencies are requested", f"give 1 to {MOST}")
    return tuple(None if one is None or _is_strongest(one) else _pair(one) for one in listed)


def _is_strongest(one: Any) -> bool:
    return isinstance(one, str) and one == STRONGEST


def _pair(one: Any) -> Frequency:
    parts = one.split(",") if isinstance(one, str) else one
    try:
        row, col = (float(part) for part in parts)
    except (TypeError, ValueError):
        row = col = np.nan
    if not np.isfinite([row, col]).all():
        hint = f"give ROW,COLUMN in 1/Å along the axes of the scan, or {STRONGEST}"
        raise MetadataError(f"{brief(one)} is not a frequency", hint)
    return row, col


def _cells(one: Trotter) -> list[Cell]:
    row, col = one.q_invA
    where = f"Q {row:.4g}, {col:.4g} 1/Å ({1 / float(np.hypot(row, col)):.3g} Å)"
    overlapping = "" if (one.area > 0).any() else "no two discs overlap here"
    lines = ([where], [f"flat {one.flatness[0]:.0%}"], [f"flat {one.flatness[1]:.0%}"])
    return [
        Cell(view.data, view.title, said, view.colour_map, view.visited, limits=view.limits, doubt=overlapping)
        for view, said in zip(trotter_views(one.values, one.compensated, one.area), lines, strict=True)
    ]
