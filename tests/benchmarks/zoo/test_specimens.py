"""Atoms of the zoo and its whole simulation; needs ASE and abTEM (the `bench` extra)."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from zoo_scans import small_draw

from benchmarks.zoo.draws import FURTHER_SPECIMENS, KIND_OF, SPECIMENS

ase = pytest.importorskip("ase")


def test_every_specimen_has_one_builder_in_the_table_of_its_set():
    from benchmarks.zoo import atoms, further_specimens, specimens

    assert list(specimens.BUILDERS) == list(SPECIMENS)
    assert list(further_specimens.BUILDERS) == list(FURTHER_SPECIMENS)
    assert list(atoms.BUILDERS) == list(KIND_OF)


@pytest.mark.parametrize("name", list(KIND_OF))
def test_atoms_stand_in_their_box_and_apart(name):
    from benchmarks.zoo.atoms import specimen

    side = 46.0
    atoms = specimen(name, side, 44.0, np.random.default_rng(0))
    places = atoms.positions
    height = float(atoms.cell.lengths()[2])
    assert places[:, 2].min() == pytest.approx(0.5) and places[:, 2].max() <= height - 0.5 + 1e-9
    assert places[:, :2].min() >= 0 and places[:, :2].max() <= side
    tree = cKDTree(places % [side, side, 1e3], boxsize=[side, side, 1e3])
    assert tree.query(places % [side, side, 1e3], k=2)[0][:, 1].min() > 0.85
    assert height < 16 if KIND_OF[name] == "sheet" else 25 < height < 60


def test_the_beam_is_where_the_file_says():
    pytest.importorskip("abtem")
    from benchmarks.zoo.simulate import simulate

    drawn = small_draw(
        specimen="graphene", shape=(3, 4), pixels=32, beam_offset_px=(1.5, -2.25), dose=2e5, bad_pixels=0,
        descan_px=(0.0,) * 4, configurations=1,
    )  # fmt: skip
    scan = simulate(drawn)
    mean = scan.counts.mean((0, 1))
    rows, columns = np.indices(mean.shape)
    centre = (mean * rows).sum() / mean.sum(), (mean * columns).sum() / mean.sum()
    # the scattering of graphene is uneven over so few positions
    assert centre == pytest.approx(scan.centre, abs=0.1)
    assert scan.counts.sum((2, 3)).mean() == pytest.approx(drawn.electrons * scan.detected, rel=0.01)
    assert scan.slices.shape[0] == 1 and scan.slices.max() > 0.05
