"""Atoms from structure files by ase, and potentials by abTEM: both optional, imported when needed."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.simulation.atoms import Atoms, Cell, tiled
from ptylive.engine.simulation.object_grid import ObjectGrid
from ptylive.schema.errors import InputFileError, MetadataError
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import FloatArray
from ptylive.schema.scan import rotation_matrix
from ptylive.schema.units import interaction_rad_per_VA

FORMATS = {".cif": "cif", ".xyz": "extxyz", ".extxyz": "extxyz", ".pdb": "proteindatabank", ".vasp": "vasp"}
"""Suffixes that are accepted, and ase's name of the format: text only, nothing that could be unpickled."""
MOST_BYTES = 64 * 2**20
UPRIGHT = 1e-3
"""Fraction of a cell's height by which its first two vectors may extend along the beam."""


def structure_atoms(
    path: Path, extent_A: tuple[float, float], thickness_A: float, orientation_deg: float
) -> tuple[Atoms, float]:
    """Atoms of a file, and their height along the beam, the file's z.

    A periodic cell is repeated over the field and up to ``thickness_A`` along the beam; a non-periodic structure is
    placed once in the middle of the field. The file's x runs along the rows' axis, y along the columns'. Raises
    InputFileError for unreadable files, MetadataError if ase is missing or the cell does not lie across the beam.
    """
    found = _read(path)
    symbols = np.asarray(found.get_chemical_symbols())
    places, cell = np.asarray(found.positions, dtype=float), np.asarray(found.cell[:], dtype=float)
    if not len(symbols) or not np.isfinite(places).all():
        raise InputFileError(f"{path} holds no atoms", "give a file with a structure")
    if not (found.pbc[0] and found.pbc[1]) or abs(np.linalg.det(cell[:2, :2])) < 1e-6:
        return _once(symbols, places, extent_A, orientation_deg)
    if np.abs(cell[:2, 2]).max() > UPRIGHT * np.abs(cell).max():
        raise MetadataError(
            f"{path}: the first two vectors of the cell are not perpendicular to the beam",
            "rotate it so that their z is 0 (with ase)",
        )
    height = abs(float(cell[2, 2])) if found.pbc[2] else 0.0
    layers = max(1, round(thickness_A / height)) if height > 0 else 1
    across = ((float(cell[0, 0]), float(cell[0, 1])), (float(cell[1, 0]), float(cell[1, 1])))
    inner = tuple((float(x), float(y), float(z)) for x, y, z in places - [0.0, 0.0, places[:, 2].min()])
    atoms = tiled(Cell(across, height, tuple(symbols.tolist()), inner), layers, extent_A, orientation_deg)
    return atoms, layers * height or float(np.ptp(places[:, 2]))


def _once(symbols: Any, places: Any, extent_A: tuple[float, float], orientation_deg: float) -> tuple[Atoms, float]:
    """A cluster in the middle of the field."""
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    flat = (places[:, :2] - middle[:2]) @ rotation_matrix(orientation_deg).T + np.asarray(extent_A) / 2
    depth = places[:, 2:] - places[:, 2].min()
    atoms = Atoms(symbols, np.concatenate([flat, depth], axis=1)).within(extent_A)
    return atoms, float(depth.max())


def _read(path: Path) -> Any:
    """The structure of a file as ase's Atoms."""
    check_is_file(path, "give the path of the structure file itself")
    if path.suffix.lower() not in FORMATS:
        raise InputFileError(f"{path} is not a structure file", f"use a file that ends in {', '.join(FORMATS)}")
    if path.stat().st_size > MOST_BYTES:
        raise InputFileError(f"{path} is larger than {MOST_BYTES // 2**20} MiB", "is it the right file?")
    reader = _optional("ase.io", "structure_file")
    try:
        return reader.read(path, format=FORMATS[path.suffix.lower()])
    except Exception as error:  # whatever a reader raises for an invalid file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputFileError(f"{path} cannot be read: {reason}", "give a file that ase reads") from None


def abtem_layers(atoms: Atoms, grid: ObjectGrid, energy_eV: float, height_A: float, layers: int) -> FloatArray:
    """Phases (layers, rows, cols), rad, of abTEM's potential of the same atoms. Raises MetadataError without abTEM."""
    abtem, ase = _optional("abtem", "potential = abtem"), _optional("ase", "potential = abtem")
    abtem.config.set({"precision": "float32", "device": "cpu", "diagnostics.progress_bar": False})
    box = ase.Atoms(list(atoms.symbols), atoms.positions_A, cell=[*grid.extent_A, height_A], pbc=True)
    thick = height_A / layers * (1 + 1e-9)  # the exact quotient is sometimes too thin by a rounding error
    potential = abtem.Potential(box, gpts=grid.shape, slice_thickness=thick, projection="infinite").build(lazy=False)
    values = np.asarray(potential.array, np.float32).reshape(-1, *grid.shape)
    if len(values) != layers or not math.isfinite(float(values.sum())):
        raise MetadataError("abTEM made a different number of slices", "use potential = lobato")
    return values * np.float32(interaction_rad_per_VA(energy_eV))


def _optional(name: str, setting: str) -> ModuleType:
    """A module of an optional package. Raises MetadataError with installation instructions."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise MetadataError(f"{setting} needs {package}", "pip install 'ptylive[simulate]'") from None
