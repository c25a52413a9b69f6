"""Atoms of specimens that no default was made on: heavy and polar crystals, wedges, tilts, boundaries, much vacuum.

As :mod:`benchmarks.zoo.specimens`: a square across the beam, axes (row, col, depth), lengths in Å.
"""

from __future__ import annotations

import ase
import numpy as np
from ase.build import bulk, nanotube
from ase.spacegroup import crystal as by_symmetry

from benchmarks.zoo.specimens import (
    Builder,
    Builders,
    Random,
    along_110,
    apart,
    ball,
    change,
    crystal,
    cut,
    orthogonal,
    perovskite,
)


def _cubic(element: str, structure: str, a: float) -> ase.Atoms:
    return bulk(element, structure, a=a, cubic=True)


def _lead_titanate() -> ase.Atoms:
    """Tetragonal PbTiO3 seen along [100]; titanium and oxygen are displaced along the polar axis, which is axis 1."""
    places = [(0, 0, 0), (0.5, 0.538, 0.5), (0.5, 0.117, 0.5), (0.5, 0.619, 0), (0, 0.619, 0.5)]
    return ase.Atoms("PbTiO3", scaled_positions=places, cell=[3.904, 4.152, 3.904], pbc=True)


def _gallium_nitride() -> ase.Atoms:
    """Wurtzite along [11-20], the polar axis across the beam."""
    rectangular = orthogonal(bulk("GaN", "wurtzite", a=3.189, c=5.185))  # sides along [2-1-10], [01-10] and [0001]
    return _turned(rectangular, (1, 2, 0))


def _iron_phosphate() -> ase.Atoms:
    """LiFePO4 (Pnma) along [010], its channels of lithium."""
    sites = [
        (0, 0, 0),
        (0.2822, 0.25, 0.9747),
        (0.0948, 0.25, 0.4182),
        (0.0968, 0.25, 0.7428),
        (0.4571, 0.25, 0.2060),
        (0.1656, 0.0465, 0.2848),
    ]
    cell = [10.334, 6.010, 4.693, 90, 90, 90]
    return _turned(by_symmetry(["Li", "Fe", "P", "O", "O", "O"], sites, spacegroup=62, cellpar=cell), (2, 0, 1))


def _turned(unit: ase.Atoms, axes: tuple[int, int, int]) -> ase.Atoms:
    """The same orthogonal cell with its axes in another order; an even permutation, so that handedness is kept."""
    chosen = list(axes)
    return ase.Atoms(
        unit.numbers,
        scaled_positions=unit.get_scaled_positions(wrap=True)[:, chosen],
        cell=unit.cell.lengths()[chosen],
        pbc=True,
    )


def _wedge(whole: Builder) -> Builder:
    """Builder of a crystal whose exit face rises from a third of the thickness on one side to all of it."""

    def build(side: float, thickness: float, rng: Random) -> ase.Atoms:
        atoms = whole(side, thickness, rng)
        direction = rng.uniform(0, 2 * np.pi)
        along = (atoms.positions[:, :2] - side / 2) @ [np.cos(direction), np.sin(direction)]
        height = thickness * np.clip(0.67 + 0.8 * along / side, 0.33, 1.0)
        del atoms[np.flatnonzero(atoms.positions[:, 2] > height)]
        return atoms

    return build


def _tilted(whole: Builder, mrad: tuple[float, float]) -> Builder:
    """Builder of a crystal off its zone axis, by an angle within these limits, in any direction."""

    def build(side: float, thickness: float, rng: Random) -> ase.Atoms:
        atoms = whole(side, thickness, rng)
        direction, angle = rng.uniform(0, 2 * np.pi), 1e-3 * rng.uniform(*mrad)
        atoms.positions[:, :2] += np.outer(atoms.positions[:, 2] * angle, [np.cos(direction), np.sin(direction)])
        atoms.positions[:, :2] %= side
        return atoms[apart(atoms.positions, side, 1.0)]

    return build


def _grains(unit: ase.Atoms, closest: float) -> Builder:
    """Builder of two crystals with a common zone axis, turned against each other, and a straight boundary."""

    def build(side: float, thickness: float, rng: Random) -> ase.Atoms:
        column = unit * (1, 1, max(1, round(thickness / unit.cell.lengths()[2])))
        first, direction = rng.uniform(0, 90), rng.uniform(0, 2 * np.pi)
        grains = [cut(column, side, angle, 1.0) for angle in (first, first + rng.uniform(10, 40))]
        for grain, sign in zip(grains, (1, -1), strict=True):
            across = (grain.positions[:, :2] - side / 2) @ [np.cos(direction), np.sin(direction)]
            del grain[np.flatnonzero(sign * across < 0)]
        both = grains[0] + grains[1]
        return both[apart(both.positions, side, closest)]

    return build


def _boron_nitride(side: float, _: float, rng: Random) -> ase.Atoms:
    from ase.build import graphene

    atoms = cut(orthogonal(graphene("BN", a=2.504, vacuum=1.5)), side, rng.uniform(0, 60))
    change(atoms, "B", None, 0.03, rng)
    return atoms


def _phosphorene(side: float, _: float, rng: Random) -> ase.Atoms:
    """One layer of black phosphorus: puckered, so that its two halves lie 2 Å apart in depth."""
    places = [(0, 0, 0), (1.657, 1.48, 0), (1.657, 2.188, 2.13), (0, 3.668, 2.13)]
    unit = ase.Atoms("P4", places, cell=[3.314, 4.376, 5.0], pbc=True)
    atoms = cut(unit, side, rng.uniform(0, 90))
    change(atoms, "P", None, 0.02, rng)
    return atoms


def _nanotube(side: float, _: float, rng: Random) -> ase.Atoms:
    """A carbon nanotube across a field of vacuum, with a few silicon atoms."""
    chirality = [(6, 6), (10, 0), (8, 4)][rng.integers(3)]
    tube = nanotube(*chirality, length=1)
    length = float(tube.cell.lengths()[2])
    tube = tube * (1, 1, int(1.5 * side / length) + 2)
    across, depth, along = tube.positions.T
    along = along - along.mean()
    angle = rng.uniform(0, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    across = across - across.mean()
    flat = np.stack([c * along - s * across, s * along + c * across], axis=1) + side / 2
    inside = np.all((flat >= 0) & (flat < side), axis=1)
    atoms = ase.Atoms(tube.numbers[inside], np.c_[flat, depth - depth.min()][inside])
    atoms = atoms[apart(atoms.positions, side, 1.0)]
    change(atoms, "C", "Si", 0.02, rng)
    return atoms


def _gold_in_vacuum(side: float, thickness: float, rng: Random) -> ase.Atoms:
    """One particle of gold in the middle of the field; vacuum around it."""
    return ball("Au", 4.08, (side / 2, side / 2, 0.0), 0.4 * thickness, rng)


STRONTIUM_TITANATE = crystal(perovskite(), ("Sr", "Ba"), "Ti")
BUILDERS: Builders = {
    "gold_001": crystal(_cubic("Au", "fcc", 4.08), ("Au", "Ag"), "Au"),
    "gold_110": crystal(along_110(_cubic("Au", "fcc", 4.08)), ("Au", "Ag"), "Au"),
    "lead_titanate_100": crystal(_lead_titanate(), ("Pb", "Sr"), "Ti"),
    "gallium_nitride": crystal(_gallium_nitride(), ("Ga", "In"), "N"),
    "iron_phosphate_010": crystal(_iron_phosphate(), ("Fe", "Mn"), "Li"),
    "diamond_110": crystal(along_110(_cubic("C", "diamond", 3.567)), ("C", "Si"), "C"),
    "sto_wedge": _wedge(STRONTIUM_TITANATE),
    "sto_tilted": _tilted(STRONTIUM_TITANATE, (4.0, 15.0)),
    "sto_grains": _grains(perovskite(), 1.7),
    "boron_nitride": _boron_nitride,
    "phosphorene": _phosphorene,
    "nanotube": _nanotube,
    "gold_in_vacuum": _gold_in_vacuum,
}
"""The specimens of the further draws."""
