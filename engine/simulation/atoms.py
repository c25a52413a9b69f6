"""Atoms of specimens: sheets, bilayers, crystals and single atoms, with cutting and disorder."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ptylive.engine.memory import check_fits
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray
from ptylive.schema.scan import rotation_matrix

Random = np.random.Generator
Symbols = npt.NDArray[np.str_]
BYTES_PER_ATOM = 400
"""Memory per atom while a specimen is built."""
SINGLE_ATOM_A = 1.5
"""Radius of the disc that counts as covered by a single atom."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """Symbols (n,) and places (n, 3): row, column, depth in Å; depth counts from the entrance plane."""

    symbols: Symbols
    positions_A: DoubleArray

    def __len__(self) -> int:
        return len(self.symbols)

    def within(self, extent_A: tuple[float, float]) -> Atoms:
        """The atoms in the rectangle from 0 to ``extent_A``."""
        flat = self.positions_A[:, :2]
        return self.chosen(np.all((flat >= 0) & (flat < np.asarray(extent_A)), axis=1))

    def chosen(self, mask: npt.NDArray[np.bool_]) -> Atoms:
        """The selected atoms."""
        return Atoms(self.symbols[mask], self.positions_A[mask])

    def plus(self, other: Atoms) -> Atoms:
        """The atoms of both."""
        return Atoms(
            np.concatenate([self.symbols, other.symbols]), np.concatenate([self.positions_A, other.positions_A])
        )

    def lowered(self, depth_A: float) -> Atoms:
        """All atoms moved further down the beam."""
        return replace(self, positions_A=self.positions_A + np.array([0.0, 0.0, depth_A]))

    def thinned(self, share: float, rng: Random) -> Atoms:
        """The atoms without a random fraction ``share`` of them."""
        return self.chosen(rng.random(len(self)) >= share) if share else self

    def shaken(self, displacement_A: float, rng: Random) -> Atoms:
        """All atoms with random displacements, normally distributed with that standard deviation along each axis."""
        if not displacement_A:
            return self
        return replace(self, positions_A=self.positions_A + rng.normal(0, displacement_A, self.positions_A.shape))


@dataclass(frozen=True)
class Cell:
    """A unit cell: two vectors across the beam (row, column), a height along it, atoms by places in Å."""

    across_A: tuple[tuple[float, float], tuple[float, float]]
    height_A: float
    symbols: tuple[str, ...]
    positions_A: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Sheet:
    """A hexagonal sheet: lattice constant, distance of the outer planes of atoms, distance of stacked sheets."""

    lattice_A: float
    thickness_A: float
    distance_A: float
    centre: str
    outer: str
    """Element above and below the second site; in graphene the atom of that site itself."""


SHEETS = {
    "MoS2": Sheet(3.16, 3.13, 6.15, "Mo", "S"),
    "WS2": Sheet(3.153, 3.14, 6.17, "W", "S"),
    "MoSe2": Sheet(3.29, 3.34, 6.46, "Mo", "Se"),
    "graphene": Sheet(2.46, 0.0, 3.35, "C", "C"),
}
_FACES = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5))
_PEROVSKITE = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5))
_DIAMOND = (*_FACES, *((x + 0.25, y + 0.25, z + 0.25) for x, y, z in _FACES))
CRYSTALS: dict[str, tuple[float, tuple[str, ...], tuple[tuple[float, float, float], ...]]] = {
    "SrTiO3": (3.905, ("Sr", "Ti", "O", "O", "O"), _PEROVSKITE),
    "Si": (5.431, ("Si",) * 8, _DIAMOND),
    "Au": (4.078, ("Au",) * 4, _FACES),
}
"""Cubic crystals seen along [001]: lattice constant in Å, elements, places in the cell."""


def sheet_cell(name: str) -> Cell:
    """The cell of a sheet. Raises MetadataError for an unknown one."""
    if name not in SHEETS:
        raise MetadataError(f"unknown sheet {name!r}", f"material must be one of {', '.join(SHEETS)}")
    sheet = SHEETS[name]
    a, half = sheet.lattice_A, sheet.thickness_A / 2
    across = ((a, 0.0), (-a / 2, a * math.sqrt(3) / 2))
    second = (0.0, a / math.sqrt(3))
    if not half:
        return Cell(across, sheet.distance_A, (sheet.centre, sheet.outer), ((0.0, 0.0, 0.0), (*second, 0.0)))
    places = ((0.0, 0.0, half), (*second, 0.0), (*second, 2 * half))
    return Cell(across, sheet.distance_A, (sheet.centre, sheet.outer, sheet.outer), places)


def crystal_cell(name: str) -> Cell:
    """The cell of a crystal. Raises MetadataError for an unknown one."""
    if name not in CRYSTALS:
        raise MetadataError(f"unknown crystal {name!r}", f"material must be one of {', '.join(CRYSTALS)}")
    a, symbols, places = CRYSTALS[name]
    return Cell(((a, 0.0), (0.0, a)), a, symbols, tuple((a * x, a * y, a * z) for x, y, z in places))


def tiled(cell: Cell, layers: int, extent_A: tuple[float, float], orientation_deg: float) -> Atoms:
    """A cell repeated over the field and along the beam, rotated about the middle of the field.

    Raises MetadataError if there would be more atoms than fit into memory.
    """
    across = np.asarray(cell.across_A, dtype=float)
    area = abs(np.linalg.det(across))
    radius = math.hypot(*extent_A) / 2 + float(np.abs(across).sum())
    count = math.pi * radius**2 / area * layers * len(cell.symbols)
    check_fits(count * BYTES_PER_ATOM, f"a specimen of {count:.3g} atoms", "use a smaller scan or a thinner specimen")
    reach = [math.ceil(radius * float(np.linalg.norm(column))) + 1 for column in np.linalg.inv(across).T]
    i, j = (axis.ravel() for axis in np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"))
    corners = np.stack([i, j], axis=1) @ across
    corners = corners[np.hypot(*corners.T) <= radius]
    inner = np.asarray(cell.positions_A, dtype=float)
    flat = (corners[:, None, :] + inner[None, :, :2]) @ rotation_matrix(orientation_deg).T + np.asarray(extent_A) / 2
    depth = np.broadcast_to(inner[:, 2], flat.shape[:2])
    symbols = np.broadcast_to(np.asarray(cell.symbols), flat.shape[:2]).ravel()
    layer = Atoms(symbols, np.concatenate([flat.reshape(-1, 2), depth.reshape(-1, 1)], axis=1)).within(extent_A)
    heights = np.repeat(np.arange(layers) * cell.height_A, len(layer))
    places = np.tile(layer.positions_A, (layers, 1))
    places[:, 2] += heights
    return Atoms(np.tile(layer.symbols, layers), places)


def bilayer(material: str, extent_A: tuple[float, float], orientation_deg: float, twist_deg: float) -> Atoms:
    """Two sheets, the second rotated against the first. Raises MetadataError for an unknown material."""
    cell = sheet_cell(material)
    upper = tiled(cell, 1, extent_A, orientation_deg)
    return upper.plus(tiled(cell, 1, extent_A, orientation_deg + twist_deg).lowered(cell.height_A))


def scattered(element: str, extent_A: tuple[float, float], coverage: float, rng: Random) -> Atoms:
    """Single atoms of an element in one plane, no two closer than 3 Å."""
    places = apart(extent_A, SINGLE_ATOM_A, coverage, rng)
    return Atoms(np.full(len(places), element), np.concatenate([places, np.zeros((len(places), 1))], axis=1))


MOST_PLACES = 50_000


def apart(extent_A: tuple[float, float], radius_A: float, coverage: float, rng: Random) -> DoubleArray:
    """Centres (n, 2) of non-overlapping discs that cover about that fraction of a field, at least one.

    Raises MetadataError if they are too many to be placed in reasonable time.
    """
    from scipy.spatial import cKDTree

    count = max(1, round(coverage * extent_A[0] * extent_A[1] / (math.pi * radius_A**2)))
    if count > MOST_PLACES:
        raise MetadataError(f"the field would hold {count} features", "use a larger feature_A or a lower coverage")
    centres = np.zeros((0, 2))
    for _ in range(40):
        if len(centres) >= count:
            break
        new = rng.random((2 * (count - len(centres)) + 4, 2)) * extent_A
        if len(centres):
            new = new[cKDTree(centres).query(new)[0] >= 2 * radius_A]
        keep = np.ones(len(new), dtype=bool)
        for first, second in sorted(cKDTree(new).query_pairs(2 * radius_A)) if len(new) else ():
            if keep[first]:
                keep[second] = False
        centres = np.concatenate([centres, new[keep]])
    return centres[:count]
