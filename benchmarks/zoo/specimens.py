"""Atoms of the specimens, in a box that is periodic across the beam. Lengths in Å, axes (row, col, depth)."""

from __future__ import annotations

from collections.abc import Callable

import ase
import numpy as np
from ase.build import bulk, graphene, mx2
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Random = np.random.Generator
Points = NDArray[np.float64]
Builder = Callable[[float, float, Random], ase.Atoms]
"""Makes the atoms of a specimen from side and thickness in Å and a random generator."""
Builders = dict[str, Builder]
"""Builders by the names of their specimens."""


def cut(unit: ase.Atoms, side: float, angle: float, closest: float = 0.9) -> ase.Atoms:
    """A square of a rotated orthogonal crystal, without atoms that touch each other across the border."""
    across = unit.cell.lengths()[:2]
    count = [int(np.ceil(1.5 * side / length)) + 1 for length in across]
    sheet = unit * (count[0], count[1], 1)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    flat = sheet.positions[:, :2] - sheet.cell.lengths()[:2] / 2
    flat = flat @ np.array([[c, s], [-s, c]]) + side / 2
    inside = np.all((flat >= 0) & (flat < side), axis=1)
    places = np.c_[flat[inside], sheet.positions[inside, 2]]
    found = ase.Atoms(sheet.numbers[inside], places, cell=[side, side, unit.cell.lengths()[2]])
    return found[apart(places, side, closest)]


def apart(places: Points, side: float, closest: float) -> NDArray[np.intp]:
    """Points that are no closer than that to an earlier one, also across the border."""
    tall = float(np.ptp(places[:, 2])) + 10 * closest + 1
    tree = cKDTree(places % [side, side, 2 * tall], boxsize=[side, side, 2 * tall])
    keep = np.ones(len(places), bool)
    for i, j in sorted(tree.query_pairs(closest)):
        if keep[i] and keep[j]:
            keep[j] = False
    return np.flatnonzero(keep)


def _packed(
    box: tuple[float, float, float],
    count: int,
    closest: float,
    rng: Random,
    others: Points | None = None,
    allowed: Callable[[Points], NDArray[np.bool_]] | None = None,
) -> Points:
    """Random points in a box, no two closer than a distance, nor too close to others, periodic across the beam."""
    size = np.array([box[0], box[1], 4 * (box[2] + 10)])
    others = np.zeros((0, 3)) if others is None else others
    placed = np.zeros((0, 3))
    for _ in range(24):
        missing = count - len(placed)
        if missing <= 0:
            break
        new = rng.random((int(1.4 * missing) + 8, 3)) * box
        if allowed is not None:
            new = new[allowed(new)]
        for before in (placed, others):
            if len(before) and len(new):
                distances = cKDTree(before % size, boxsize=size).query(new, distance_upper_bound=closest)[0]
                new = new[np.isinf(distances)]
        if len(new):
            placed = np.concatenate([placed, new[apart(new, box[0], closest)]])
    return placed[:count]


def change(atoms: ase.Atoms, old: str, new: str | None, share: float, rng: Random) -> None:
    """Replace a fraction of the atoms of an element by another element, or remove them; at least one."""
    places = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == old)
    chosen = rng.choice(places, max(1, round(share * len(places))), replace=False)
    if new is None:
        del atoms[chosen]
    else:
        symbols = atoms.get_chemical_symbols()
        for place in chosen:
            symbols[place] = new
        atoms.set_chemical_symbols(symbols)


def _dichalcogenide(formula: str, a: float, thickness: float) -> ase.Atoms:
    return orthogonal(mx2(formula, kind="2H", a=a, thickness=thickness, vacuum=1.5))


def orthogonal(sheet: ase.Atoms) -> ase.Atoms:
    """A hexagonal sheet as a rectangular cell of twice the size."""
    from ase.build import make_supercell

    rectangular = make_supercell(sheet, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    rectangular.wrap()
    return rectangular


def _mos2(side: float, _: float, rng: Random) -> ase.Atoms:
    atoms = cut(_dichalcogenide("MoS2", 3.16, 3.127), side, rng.uniform(0, 60))
    change(atoms, "S", None, 0.05, rng)
    change(atoms, "Mo", "W", 0.05, rng)
    return atoms


def _graphene(side: float, _: float, rng: Random) -> ase.Atoms:
    atoms = cut(orthogonal(graphene(vacuum=1.5)), side, rng.uniform(0, 60))
    change(atoms, "C", None, 0.02, rng)
    change(atoms, "C", "Si", 0.03, rng)
    return atoms


def _ws2_edge(side: float, _: float, rng: Random) -> ase.Atoms:
    atoms = cut(_dichalcogenide("WS2", 3.153, 3.14), side, rng.uniform(0, 60))
    direction = rng.uniform(0, 2 * np.pi)
    x, y = (atoms.positions[:, :2] - side / 2).T
    along, across = np.cos(direction) * x + np.sin(direction) * y, np.cos(direction) * y - np.sin(direction) * x
    del atoms[np.flatnonzero(across > 1.5 + 1.5 * np.sin(along / 4))]
    change(atoms, "S", None, 0.05, rng)
    return atoms


def _mose2_boundary(side: float, _: float, rng: Random) -> ase.Atoms:
    unit, first = _dichalcogenide("MoSe2", 3.29, 3.34), rng.uniform(0, 60)
    grains = [cut(unit, side, angle) for angle in (first, first + rng.uniform(10, 50))]
    direction = rng.uniform(0, 2 * np.pi)
    for grain, side_sign in zip(grains, (1, -1), strict=True):
        x, y = (grain.positions[:, :2] - side / 2).T
        del grain[np.flatnonzero(side_sign * (np.cos(direction) * x + np.sin(direction) * y) < 0.3)]
    both = grains[0] + grains[1]
    return both[apart(both.positions, side, 1.8)]


def _mos2_twisted(side: float, _: float, rng: Random) -> ase.Atoms:
    return _stacked(_mos2(side, 0, rng), _mos2(side, 0, rng), 3.0)


def _ws2_on_graphene(side: float, _: float, rng: Random) -> ase.Atoms:
    upper = cut(_dichalcogenide("WS2", 3.153, 3.14), side, rng.uniform(0, 60))
    change(upper, "W", "Mo", 0.06, rng)
    change(upper, "S", None, 0.05, rng)
    return _stacked(upper, _graphene(side, 0, rng), 3.3)


def _stacked(upper: ase.Atoms, lower: ase.Atoms, gap: float) -> ase.Atoms:
    """Stack one above the other; the beam meets the upper one first."""
    lower = lower.copy()
    lower.positions[:, 2] += upper.positions[:, 2].max() + gap - lower.positions[:, 2].min()
    return upper + lower


def _film(symbols: dict[str, int], density: float, closest: float) -> Builder:
    """Builder of an amorphous film: elements with their fractions, atoms per cubic Å."""

    def build(side: float, thickness: float, rng: Random) -> ase.Atoms:
        places = _packed((side, side, thickness), int(density * side**2 * thickness), closest, rng)
        names = np.repeat(list(symbols), list(symbols.values()))
        return ase.Atoms(list(names[np.arange(len(places)) % len(names)]), places)

    return build


def _particles(element: str, a: float, radii: tuple[float, float], coverage: float) -> Builder:
    """Builder of face-centred cubic particles in random orientations on a film of carbon."""

    def build(side: float, thickness: float, rng: Random) -> ase.Atoms:
        film = min(20.0, 0.5 * thickness)
        atoms = _film({"C": 1}, 0.095, 1.25)(side, film, rng)
        covered, centres = 0.0, [(side / 2, side / 2, -1.0)]
        for _ in range(400):
            radius = min(rng.uniform(*radii), 0.6 * (thickness - film))
            x, y = (side / 2 + rng.uniform(-2, 2, 2)) if len(centres) == 1 else rng.uniform(0, side, 2)
            gaps = [
                np.hypot(*((np.array([x - q, y - r]) + side / 2) % side - side / 2)) - radius - s for q, r, s in centres
            ]
            if min(gaps[1:], default=1.0) < 0.5:
                continue
            centres.append((x, y, radius))
            atoms += ball(element, a, (x, y, film + 1.5), radius, rng)
            covered += np.pi * radius**2
            if covered > coverage * side**2:
                break
        atoms.positions[:, :2] %= side
        return atoms

    return build


def ball(element: str, a: float, foot: tuple[float, float, float], radius: float, rng: Random) -> ase.Atoms:
    """A particle with a flat facet where it rests."""
    crystal = bulk(element, "fcc", a=a, cubic=True) * ((int(2 * radius / a) + 3,) * 3)
    places = crystal.positions - crystal.positions.mean(0) + rng.uniform(-1, 1, 3)
    places = places @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    places = places[(np.linalg.norm(places, axis=1) < radius) & (places[:, 2] > -0.6 * radius)]
    places[:, 2] -= places[:, 2].min()
    return ase.Atoms(f"{element}{len(places)}", places + foot)


def crystal(unit: ase.Atoms, dopant: tuple[str, str], vacancy: str) -> Builder:
    """Builder of a crystal along the third axis of an orthogonal cell, with dopants and vacancies at all depths."""

    def build(side: float, thickness: float, rng: Random) -> ase.Atoms:
        height = unit.cell.lengths()[2]
        column = unit * (1, 1, max(1, round(thickness / height)))
        atoms = cut(column, side, float(rng.uniform(0, 90)), closest=1.0)
        change(atoms, vacancy, None, 0.04, rng)
        change(atoms, *dopant, 0.02, rng)
        # a few columns that cross the field differ from the others
        places = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == dopant[0])
        for _ in range(4):
            centre = atoms.positions[rng.choice(places), :2]
            near = places[np.hypot(*(atoms.positions[places, :2] - centre).T) < 0.5]
            symbols = atoms.get_chemical_symbols()
            for place in near[: len(near) // 2]:
                symbols[place] = dopant[1]
            atoms.set_chemical_symbols(symbols)
        return atoms

    return build


def perovskite() -> ase.Atoms:
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return ase.Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True)


def along_110(cubic: ase.Atoms) -> ase.Atoms:
    """An orthogonal cell of a cubic crystal whose third axis is [110]."""
    from ase.build import make_supercell

    a = cubic.cell.lengths()[0]
    turned = make_supercell(cubic, [[0, 0, 1], [1, -1, 0], [1, 1, 0]])
    places = turned.get_scaled_positions(wrap=True)
    return ase.Atoms(turned.numbers, scaled_positions=places, cell=[a, a * 2**0.5, a * 2**0.5], pbc=True)


def _in_ice(
    shape: Callable[[float, float, Random], Points], element_shares: tuple[float, ...] = (0.62, 0.17, 0.2, 0.01)
) -> Builder:
    """Builder of protein-like specimens, atoms without hydrogen, in ice of oxygen atoms."""

    def build(side: float, thickness: float, rng: Random) -> ase.Atoms:
        protein = shape(side, thickness, rng)
        protein[:, :2] %= side
        protein = protein[apart(protein, side, 1.35)]
        names = rng.choice(["C", "N", "O", "S"], len(protein), p=element_shares)
        water = _packed((side, side, thickness), int(0.0314 * side**2 * thickness), 2.6, rng, others=protein)
        return ase.Atoms([*names, *(["O"] * len(water))], np.concatenate([protein, water]))

    return build


def _globules(side: float, thickness: float, rng: Random) -> Points:
    """Bundles of helices within balls that fill about a third of the field."""
    found, centres = [], np.zeros((0, 3))
    for _ in range(600):
        radius = rng.uniform(16, 0.42 * thickness)
        centre = np.array([*rng.uniform(0, side, 2), thickness / 2])
        if (
            len(centres)
            and np.hypot(*((centres[:, :2] - centre[:2] + side / 2) % side - side / 2).T).min() < 2 * radius
        ):
            continue
        centres = np.vstack([centres, centre])
        helices = [_helix(centre + rng.normal(0, 0.45 * radius, 3), rng) for _ in range(max(4, int((radius / 7) ** 3)))]
        points = np.concatenate(helices)
        found.append(points[np.linalg.norm(points - centre, axis=1) < radius])
        if len(centres) * np.pi * 25**2 > 0.35 * side**2:
            break
    return np.concatenate(found)


def _shells(side: float, thickness: float, rng: Random) -> Points:
    """Hollow shells of helices, some of them touching."""
    found, centres = [], np.zeros((0, 2))
    radius = min(0.45 * thickness, 50.0)
    for _ in range(400):
        centre = np.array([*rng.uniform(0, side, 2), thickness / 2])
        if len(centres) and np.hypot(*((centres - centre[:2] + side / 2) % side - side / 2).T).min() < 2 * radius:
            continue
        centres = np.vstack([centres, centre[:2]])
        directions = rng.normal(size=(int(4 * np.pi * radius**2 / 320), 3))
        directions *= (radius - 9) / np.linalg.norm(directions, axis=1, keepdims=True)
        found.extend(_helix(centre + direction, rng) for direction in directions)
    return np.concatenate(found)


def _helix(centre: Points, rng: Random) -> Points:
    """Atoms of an alpha helix 15 to 35 Å long: a backbone, and side chains around it."""
    length = rng.uniform(15, 35)
    count = int(length / 1.5)
    turn, rise = np.arange(count) * np.deg2rad(100), (np.arange(count) - count / 2) * 1.5
    rings = [
        (2.3, 0.0, 0.0),
        (2.0, 0.5, 0.6),
        (1.7, 1.0, 1.1),
        (3.3, 0.2, 0.2),
        (4.6, 0.3, 0.3),
        (5.6, 0.4, 0.0),
        (5.0, 0.7, 0.8),
    ]
    atoms = [np.c_[r * np.cos(turn + a), r * np.sin(turn + a), rise + z] for r, a, z in rings]
    points = np.concatenate(atoms) + rng.normal(0, 0.2, (len(rings) * count, 3))
    points = points[rng.random(len(points)) < 0.95]
    return points @ np.linalg.qr(rng.normal(size=(3, 3)))[0].T + centre


def silicon() -> ase.Atoms:
    return bulk("Si", "diamond", a=5.431, cubic=True)


BUILDERS: Builders = {
    "mos2": _mos2,
    "graphene": _graphene,
    "ws2_edge": _ws2_edge,
    "mose2_boundary": _mose2_boundary,
    "mos2_twisted": _mos2_twisted,
    "ws2_on_graphene": _ws2_on_graphene,
    "gold_on_carbon": _particles("Au", 4.08, (6.0, 16.0), 0.35),
    "platinum_on_carbon": _particles("Pt", 3.92, (4.0, 10.0), 0.35),
    "sto_001": crystal(perovskite(), ("Sr", "Ba"), "Ti"),
    "sto_110": crystal(along_110(perovskite()), ("Sr", "Ba"), "Ti"),
    "silicon_001": crystal(silicon(), ("Si", "Sb"), "Si"),
    "silicon_110": crystal(along_110(silicon()), ("Si", "Sb"), "Si"),
    "globules_in_ice": _in_ice(_globules),
    "shells_in_ice": _in_ice(_shells),
    "amorphous_carbon": _film({"C": 1}, 0.095, 1.25),
    "amorphous_silica": _film({"Si": 1, "O": 2}, 0.066, 1.5),
    "amorphous_germanium": _film({"Ge": 1}, 0.044, 2.1),
}
"""The specimens of the development and closed draws."""
