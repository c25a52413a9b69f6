"""Structures from files, tiled or used once; a stand-in replaces ase, which need not be installed."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.simulation.structure_files import structure_atoms
from ptylive.schema import InputFileError, MetadataError


class Structure:
    """The attributes of ase's Atoms that are used."""

    def __init__(self, symbols, positions, cell, pbc):
        self.positions, self.cell, self.pbc = np.array(positions, float), np.array(cell, float), pbc
        self.get_chemical_symbols = lambda: list(symbols)


@pytest.fixture
def reads(monkeypatch, tmp_path):
    def give(structure, name="some.cif"):
        def read(path, format):
            if isinstance(structure, Exception):
                raise structure
            return structure

        reader = ModuleType("ase.io")
        reader.read = read
        monkeypatch.setitem(sys.modules, "ase", SimpleNamespace(io=reader))
        monkeypatch.setitem(sys.modules, "ase.io", reader)
        path = tmp_path / name
        path.write_text("text\n")
        return path

    return give


def test_a_cell_is_repeated_over_field_and_thickness(reads):
    cell = Structure(["Na", "Cl"], [[0, 0, 0], [2, 2, 2]], np.diag([4.0, 5.0, 6.0]), (True,) * 3)
    atoms, height = structure_atoms(reads(cell), (40.0, 50.0), 19.0, 0.0)
    assert height == pytest.approx(18.0)
    assert len(atoms) == pytest.approx(2 * 10 * 10 * 3, abs=3 * 2 * 21)  # a line of cells on the rim
    sodium = atoms.positions_A[atoms.symbols == "Na"]
    assert sorted(set(np.round(sodium[:, 2], 6))) == [0, 6, 12]
    rows = np.unique(np.round(sodium[:, 0], 6))
    assert np.diff(rows) == pytest.approx(4.0)  # the file's x runs along the rows' axis


def test_what_is_not_periodic_stands_in_the_middle(reads):
    molecule = Structure(["O", "C"], [[0, 0, 5], [2, 0, 7]], np.zeros((3, 3)), (False,) * 3)
    atoms, height = structure_atoms(reads(molecule, "m.xyz"), (20.0, 30.0), 10.0, 90.0)
    assert height == 2.0
    np.testing.assert_allclose(atoms.positions_A, [[10, 14, 0], [10, 16, 2]], atol=1e-12)


def test_structures_that_cannot_be_cut_are_refused(reads, tmp_path):
    tilted = Structure(["C"], [[0, 0, 0]], [[3, 0, 1], [0, 3, 0], [0, 0, 3]], (True,) * 3)
    with pytest.raises(MetadataError, match="are not perpendicular to the beam"):
        structure_atoms(reads(tilted), (9.0, 9.0), 9.0, 0.0)
    with pytest.raises(InputFileError, match="cannot be read: broken"):
        structure_atoms(reads(ValueError("broken\nmore")), (9.0, 9.0), 9.0, 0.0)
    with pytest.raises(InputFileError, match="holds no atoms"):
        structure_atoms(reads(Structure([], np.zeros((0, 3)), np.eye(3), (True,) * 3)), (9.0, 9.0), 9.0, 0.0)
    with pytest.raises(InputFileError, match="is not a structure file"):
        structure_atoms(reads(tilted, "atoms.traj"), (9.0, 9.0), 9.0, 0.0)  # ase would unpickle parts of some formats
    with pytest.raises(InputFileError, match="no such file"):
        structure_atoms(tmp_path / "nothing.cif", (9.0, 9.0), 9.0, 0.0)


def test_a_real_file(tmp_path):
    pytest.importorskip("ase")
    (tmp_path / "w.xyz").write_text("2\n\nC 0 0 0\nO 0 1.1 0\n")
    atoms, _ = structure_atoms(tmp_path / "w.xyz", (10.0, 10.0), 5.0, 0.0)
    assert sorted(atoms.symbols) == ["C", "O"]
