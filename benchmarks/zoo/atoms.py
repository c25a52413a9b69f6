"""The atoms of a specimen by its name."""

from __future__ import annotations

import ase

from benchmarks.zoo import further_specimens, specimens
from benchmarks.zoo.specimens import Builders, Random

VIBRATION_A = {
    "C": 0.06,
    "Si": 0.08,
    "S": 0.075,
    "Mo": 0.055,
    "W": 0.05,
    "Se": 0.07,
    "Sr": 0.085,
    "Ti": 0.07,
    "O": 0.09,
}
"""Standard deviation of an atom's position along one axis; 0.08 for elements that are not listed."""
BUILDERS: Builders = specimens.BUILDERS | further_specimens.BUILDERS
"""All specimens, of every set of draws."""


def specimen(name: str, side: float, thickness: float, rng: Random) -> ase.Atoms:
    """A box of that side, as high as the specimen; the beam enters at depth 0."""
    atoms = BUILDERS[name](side, thickness, rng)
    atoms.positions[:, 2] -= atoms.positions[:, 2].min() - 0.5
    atoms.set_cell([side, side, float(atoms.positions[:, 2].max()) + 0.5])
    atoms.pbc = True
    return atoms
