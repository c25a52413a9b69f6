"""Built-in structures: lattice constants, densities, orientation and disorder."""

import math

import numpy as np
import pytest

from ptylive.engine.simulation.atoms import Atoms, apart, bilayer, crystal_cell, scattered, sheet_cell, tiled
from ptylive.schema import MetadataError

FIELD = (60.0, 50.0)


def nearest(places):
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return distance.min(axis=1)


def test_a_sheet_has_its_density_and_bonds():
    atoms = tiled(sheet_cell("MoS2"), 1, FIELD, 17.0)
    cell_area = 3.16**2 * math.sqrt(3) / 2
    expected = 3 * FIELD[0] * FIELD[1] / cell_area
    rim = 2 * sum(FIELD) * 3.16 / cell_area * 3 / 2  # half a cell along the rim is in or out
    assert abs(len(atoms) - expected) < rim
    assert np.count_nonzero(atoms.symbols == "S") == pytest.approx(2 * np.count_nonzero(atoms.symbols == "Mo"), abs=rim)
    inner = np.all((atoms.positions_A[:, :2] > 5) & (atoms.positions_A[:, :2] < np.array(FIELD) - 5), axis=1)
    bonds = nearest(atoms.positions_A)[inner]
    assert bonds == pytest.approx(math.hypot(3.16 / math.sqrt(3), 3.13 / 2))


def test_graphene_is_a_honeycomb_in_one_plane():
    atoms = tiled(sheet_cell("graphene"), 1, FIELD, 0.0)
    inner = np.all((atoms.positions_A[:, :2] > 5) & (atoms.positions_A[:, :2] < 45), axis=1)
    assert nearest(atoms.positions_A)[inner] == pytest.approx(2.46 / math.sqrt(3))
    assert not np.ptp(atoms.positions_A[:, 2])


def test_the_orientation_turns_rows_towards_columns():
    turned = tiled(sheet_cell("MoS2"), 1, FIELD, 30.0).positions_A[:, :2] - np.array(FIELD) / 2
    straight = tiled(sheet_cell("MoS2"), 1, FIELD, 0.0).positions_A[:, :2] - np.array(FIELD) / 2
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    moved = straight @ np.array([[c, s], [-s, c]])
    moved = moved[np.hypot(*moved.T) < 20]
    distance = np.linalg.norm(moved[:, None] - turned[None], axis=2).min(axis=1)
    assert distance.max() < 1e-9


def test_sheets_of_a_bilayer_lie_apart_and_turned():
    atoms = bilayer("MoS2", FIELD, 0.0, 5.0)
    metals = atoms.positions_A[atoms.symbols == "Mo"]
    upper, lower = metals[metals[:, 2] < 3], metals[metals[:, 2] > 3]
    assert lower[0, 2] - upper[0, 2] == pytest.approx(6.15)
    assert len(upper) and len(lower)
    same = np.linalg.norm(upper[:, None, :2] - lower[None, :, :2], axis=2).min(axis=1)
    assert same.max() > 1.0


def test_a_crystal_repeats_along_the_beam():
    atoms = tiled(crystal_cell("SrTiO3"), 3, (20.0, 20.0), 0.0)
    assert sorted(set(np.round(atoms.positions_A[:, 2] / 3.905, 6))) == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])
    assert np.count_nonzero(atoms.symbols == "O") > 2 * np.count_nonzero(atoms.symbols == "Sr")


def test_single_atoms_keep_apart():
    atoms = scattered("Pt", FIELD, 0.2, np.random.default_rng(3))
    assert nearest(atoms.positions_A).min() >= 3.0
    assert len(atoms) == round(0.2 * 3000 / (math.pi * 1.5**2))


def test_thinning_and_shaking_follow_their_statistics():
    rng = np.random.default_rng(1)
    atoms = tiled(crystal_cell("Au"), 4, FIELD, 0.0)
    count = len(atoms)
    assert len(atoms.thinned(0.3, rng)) == pytest.approx(0.7 * count, abs=5 * math.sqrt(0.21 * count))
    moved = atoms.shaken(0.1, rng).positions_A - atoms.positions_A
    assert moved.std(axis=0) == pytest.approx([0.1] * 3, abs=5 * 0.1 / math.sqrt(2 * count))
    assert atoms.shaken(0.0, rng) is atoms


def test_unknown_or_too_many_atoms_are_refused():
    with pytest.raises(MetadataError, match="unknown sheet 'MoTe2'"):
        sheet_cell("MoTe2")
    with pytest.raises(MetadataError, match="unknown crystal 'Fe'"):
        crystal_cell("Fe")
    with pytest.raises(MetadataError, match=r"atoms would take .* GB"):
        tiled(crystal_cell("Au"), 10**9, FIELD, 0.0)
    with pytest.raises(MetadataError, match="features"):
        apart((1e5, 1e5), 1.0, 0.5, np.random.default_rng(0))


def test_what_lies_outside_is_cut():
    atoms = Atoms(np.array(["C", "C"]), np.array([[1.0, 1.0, 0.0], [-0.1, 1.0, 0.0]]))
    assert len(atoms.within((2.0, 2.0))) == 1
