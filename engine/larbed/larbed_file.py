"""Tilt series and their results as HDF5, group ``/larbed`` (docs/larbed.md).

The output of one inversion is a valid input series for the next: reflections over tilts are read from ``measured``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine import file_guard
from ptylive.engine.damaged_files import FAULTS, damaged
from ptylive.engine.larbed.inversion import InversionResult
from ptylive.engine.larbed.structure_factors import (
    coefficients,
    on_highest_column,
    potential_map,
    structure_factors,
)
from ptylive.engine.larbed.tilt_series import TiltSeries
from ptylive.engine.memory import check_fits
from ptylive.schema.errors import InputFileError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5
from ptylive.schema.model import DoubleArray

GROUP = "larbed"
MAP_PIXELS = 128
"""Pixels of the potential map along each side of the cell."""
MOST_ORDER = 64
"""Highest order of a reflection: an inversion with higher ones would take days."""


def has_series(path: Path) -> bool:
    """Whether this is an HDF5 file with reflections over tilts."""
    return _holds(path, "measured")


def is_result(path: Path) -> bool:
    """Whether this file was made by :func:`write`."""
    return _holds(path, "structure_factors")


def _holds(path: Path, name: str) -> bool:
    import h5py

    file_guard.admit(path)
    try:
        with h5py.File(path, "r") as file:
            return f"{GROUP}/{name}" in file
    except FAULTS:
        return False


def read_series(path: Path) -> TiltSeries:
    """Reflections over tilts. Raises InputFileError if a part is missing, has a wrong shape or is not finite."""
    import h5py

    file_guard.admit(path)
    try:
        with h5py.File(path, "r") as file:
            group = file[GROUP]
            names = ("measured", "hk", "tilts_mrad")
            if missing := [name for name in names if name not in group]:
                raise InputFileError(f"{path}: /{GROUP} lacks {', '.join(missing)}", "see docs/larbed.md")
            if lacking := [name for name in ("energy_eV", "cell_A") if name not in group.attrs]:
                raise InputFileError(f"{path}: /{GROUP} lacks the attributes {', '.join(lacking)}", "add them")
            shapes = [group[name].shape for name in names]
            if len(shapes[0]) != 2 or shapes[1] != (shapes[0][1], 2) or shapes[2] != (shapes[0][0], 2):
                raise InputFileError(
                    f"{path}: measured {shapes[0]}, hk {shapes[1]}, tilts_mrad {shapes[2]} do not match",
                    "they must be (N, M), (M, 2) and (N, 2)",
                )
            check_fits(8.0 * shapes[0][0] * shapes[0][1], f"{path}: the reflections", "write fewer")
            counts, hk, tilts = (np.asarray(group[name][()]) for name in names)
            attributes = dict(group.attrs)
    except FAULTS as error:
        raise damaged(path, error) from None
    raster = attributes.get("raster")
    return checked(
        TiltSeries(
            np.asarray(counts, np.float32),
            np.asarray(hk, np.int64),
            np.asarray(tilts, np.float64),
            np.asarray(attributes["cell_A"], np.float64).reshape(2, 2),
            float(attributes["energy_eV"]),
            float(attributes.get("electrons_per_pattern", np.mean(counts.sum(axis=1)))),
            None if raster is None else (int(raster[0]), int(raster[1])),
        ),
        str(path),
    )


def checked(series: TiltSeries, source: str) -> TiltSeries:
    """Return the series if it can be inverted. Raises InputFileError, which names ``source``."""
    if not (np.isfinite(series.counts).all() and np.isfinite(series.tilts_mrad).all()):
        raise InputFileError(
            f"{source}: reflections or tilts hold values that are not numbers", "leave those tilts out"
        )
    if len(series.hk) < 3 or not (series.hk == 0).all(axis=1).any():
        raise InputFileError(f"{source}: {len(series.hk)} reflections", "give at least three, including 0 0")
    if int(np.abs(series.hk).max()) > MOST_ORDER:
        raise InputFileError(f"{source}: reflections beyond the order {MOST_ORDER}", "leave them out")
    if len(np.unique(series.hk, axis=0)) < len(series.hk):
        raise InputFileError(f"{source}: a reflection is listed twice", "leave one out")
    if not abs(float(np.linalg.det(series.cell_A))) > 1 or not series.energy_eV > 1e3:
        raise InputFileError(f"{source}: no cell, or no energy", "give cell_A, (2, 2) in Å, and energy_eV in eV")
    if np.abs(series.tilts_mrad).max() > 300:
        raise InputFileError(f"{source}: tilts beyond 300 mrad", "tilts are in mrad")
    if series.raster is not None and np.prod(series.raster) != len(series.tilts_mrad):
        raise InputFileError(f"{source}: {len(series.tilts_mrad)} tilts on a raster of {series.raster}", "correct it")
    if not series.electrons > 0:
        raise InputFileError(f"{source}: no counts", "check the patterns")
    return series


def potential_V(found: InversionResult, pixels: int = MAP_PIXELS) -> DoubleArray:
    """(pixels, pixels) mean potential along the beam over one cell, V, mean 0, the highest column at the origin."""
    spectrum = on_highest_column(coefficients(found.crystal, found.series.energy_eV), found.grid)
    return potential_map(spectrum, pixels)


def table(found: InversionResult) -> list[tuple[Any, ...]]:
    """Rows (h, k, l, q 1/Å, |U| 1/Å^2, |V| V, phase rad), strongest first; l is 0: potentials are projected."""
    energy = found.series.energy_eV
    spectrum = on_highest_column(coefficients(found.crystal, energy), found.grid)
    factors = structure_factors(spectrum, found.grid, energy)
    size_U, size_V, phase = np.abs(factors.U_invA2), np.abs(factors.V), np.angle(factors.V)
    return [
        (int(h), int(k), 0, float(q), float(u), float(v), float(angle))
        for (h, k), q, u, v, angle in zip(factors.hk, factors.q_invA, size_U, size_V, phase, strict=True)
    ]


COLUMNS = ("h", "k", "l", "q_invA", "U_invA2", "V_V", "phase_rad")


def write(path: Path, found: InversionResult, attributes: dict[str, Any]) -> None:
    """Write the result, whole or not at all. Raises OSError."""
    import h5py

    series, crystal = found.series, found.crystal
    rows = table(found)
    with replacing(path) as temporary, for_hdf5(temporary) as stream, h5py.File(stream, "w") as file:
        group = file.create_group(GROUP)
        packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
        group.create_dataset("measured", data=series.counts, **packed)
        group.create_dataset("model", data=found.model, **packed)
        group.create_dataset("hk", data=series.hk)
        group.create_dataset("tilts_mrad", data=series.tilts_mrad)
        group.create_dataset("residual", data=found.residual)
        group.create_dataset("phase_per_slice_rad", data=crystal.phase)
        potential = group.create_dataset("potential_V", data=potential_V(found).astype(np.float32), **packed)
        potential.attrs["units"] = "V"
        kinds = [(name, np.int32 if index < 3 else np.float64) for index, name in enumerate(COLUMNS)]
        group.create_dataset("structure_factors", data=np.array(rows, dtype=kinds))
        group.create_dataset("thickness_curve", data=found.curve).attrs["columns"] = "thickness_A, loss"
        starts = np.array([(s.seed, s.from_A, s.thickness_A, s.loss, s.correlation) for s in found.starts], np.float64)
        group.create_dataset("starts", data=starts).attrs["columns"] = "seed, from_A, thickness_A, loss, correlation"
        group.create_dataset("background", data=crystal.background)
        group.attrs.update(
            energy_eV=series.energy_eV,
            cell_A=series.cell_A,
            electrons_per_pattern=series.electrons,
            thickness_A=crystal.thickness_A,
            slices=crystal.slices,
            centre_mrad=crystal.centre_mrad,
            brightness=crystal.brightness,
            loss=found.loss,
            explained=found.explained,
            warning=found.warning(),
            **attributes,
        )
        if series.raster is not None:
            group.attrs["raster"] = series.raster
    file_guard.wrote(path)
