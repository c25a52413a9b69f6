"""Transmission functions: modulus, band limit, slices, frozen phonons, memory."""

import numpy as np
import pytest

from ptylive.engine.simulation.object_grid import ObjectGrid, Window
from ptylive.engine.simulation.specimen import Specimen
from ptylive.schema import MetadataError
from ptylive.schema.simulation.settings import SimulationSettings


def made(**values):
    settings = SimulationSettings.of({"detector_shape": 32, **values})
    window = Window.of(settings)
    grid = ObjectGrid.around(np.array([[0.0, 0.0], [8.0, 6.0]]), window)
    return Specimen.of(settings, grid, window), grid, window


def wave(specimen, number=0):
    return specimen.planes[number][0] + 1j * specimen.planes[number][1]


def test_objects_without_atoms_are_phases():
    for kind in ("gradient", "gaussians", "circles", "vacuum"):
        found, grid, _ = made(specimen=kind)
        assert found.phase.shape == (1, *grid.shape)
        np.testing.assert_allclose(wave(found), np.exp(1j * found.phase), atol=1e-6)  # single precision


def test_sheets_and_crystals_have_their_slices():
    for values, slices, thickness in (
        ({"specimen": "monolayer"}, 1, 3.13 + 1.0),
        ({"specimen": "bilayer"}, 2, (6.15 + 3.13 + 1.0) / 2),
        ({"specimen": "crystal", "thickness_A": 20}, 10, (5 * 3.905 + 1.0) / 10),
        ({"specimen": "crystal", "thickness_A": 20, "slice_thickness_A": 4}, 5, (5 * 3.905 + 1.0) / 5),
        ({"specimen": "atoms", "material": "Pt"}, 1, 1.0),
        ({"specimen": "particles", "thickness_A": 60, "slice_thickness_A": 15}, 4, 15.0),
    ):
        found, _, _ = made(**values)
        assert found.slices == slices
        assert found.slice_thickness_A == pytest.approx(thickness)
        assert found.phase.min() > -1.0 and found.phase.max() > 0.1


def test_nothing_is_left_beyond_the_limit():
    found, grid, window = made(specimen="monolayer", material="WS2")
    rows, cols = (np.fft.fftfreq(n, grid.pixel_A) for n in grid.shape)
    k = np.hypot(rows[:, None], cols)
    power = np.abs(np.fft.fft2(wave(found)[0])) ** 2
    assert power[k > window.limit_invA].max() < 1e-9 * power.max()  # single precision, squared
    assert power[k < window.limit_invA].min() > 0


def test_configurations_differ_and_their_mean_is_blurred():
    still, _, _ = made(specimen="monolayer", vacancies=0)
    shaken, _, _ = made(specimen="monolayer", vacancies=0, configurations=3, displacement_A=0.1)
    assert len(shaken.planes) == 3
    assert np.abs(wave(shaken, 0) - wave(shaken, 1)).max() > 0.1
    assert shaken.phase.max() < still.phase.max()
    assert shaken.phase.sum() == pytest.approx(still.phase.sum(), rel=1e-5)  # single precision
    again, _, _ = made(specimen="monolayer", vacancies=0, configurations=3, displacement_A=0.1)
    np.testing.assert_array_equal(again.planes[2], shaken.planes[2])


def test_vacancies_are_of_sheets_only_where_nothing_is_said():
    full, missing = (made(specimen="monolayer", vacancies=v)[0].phase.sum() for v in (0, None))
    assert missing < full
    full, same = (made(specimen="crystal", thickness_A=10, vacancies=v)[0].phase.sum() for v in (0, None))
    assert same == full


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"specimen": "atoms", "material": "Qq"}, "no element 'Qq'"),
        ({"specimen": "monolayer", "material": "MoTe2"}, "unknown sheet 'MoTe2'"),
        ({"specimen": "crystal", "thickness_A": "10 µm"}, "slices, at most"),
        ({"specimen": "crystal", "slice_thickness_A": 0.11, "configurations": 256, "thickness_A": 400}, "would take"),
        ({"structure_file": "nothing.cif"}, "nothing.cif"),
    ],
)
def test_impossible_specimens_are_refused_with_a_remedy(values, words):
    from ptylive.schema import PtyliveError

    with pytest.raises(PtyliveError, match=words) as caught:
        made(**values)
    assert caught.value.hint


def test_a_missing_ase_is_said_in_one_line(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ase", None)
    monkeypatch.setitem(sys.modules, "ase.io", None)
    (tmp_path / "some.cif").write_text("data_x\n")
    with pytest.raises(MetadataError, match="structure_file needs ase"):
        made(structure_file=str(tmp_path / "some.cif"))
    monkeypatch.setitem(sys.modules, "abtem", None)
    with pytest.raises(MetadataError, match="potential = abtem needs abtem"):
        made(specimen="monolayer", potential="abtem")
