"""Simulated tilt series: beams against the model of the inversion, and files read back as reflections."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.application.larbed import TiltGeometry, read
from ptylive.application.simulation import simulate_file
from ptylive.engine.larbed.crystal import CrystalGrid
from ptylive.engine.larbed.objective import Crystal, TiltObjective
from ptylive.engine.larbed.tilt_series import TiltSeries, raster_tilts
from ptylive.engine.simulation.atomic_potential import layer_phase
from ptylive.engine.simulation.atoms import Atoms, crystal_cell
from ptylive.engine.simulation.object_grid import ObjectGrid
from ptylive.engine.simulation.simulated_tilts import SimulatedTilts
from ptylive.schema import MetadataError
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.schema.units import interaction_rad_per_VA

SERIES = {
    "beam": "parallel",
    "specimen": "crystal",
    "material": "SrTiO3",
    "energy_eV": 120e3,
    "thickness_A": 100.0,
    "displacement_A": 0.1,
    "orientation_deg": 20.0,
    "scan_shape": (3, 4),
    "tilt_step_mrad": 6.0,
    "tilt_centre_mrad": (2.0, -1.0),
    "electrons_per_pattern": 1e6,
    "detector_shape": (96, 96),
    "detector_pixel_mrad": 0.9,
    "reach": 1.5,
    "dtype": "f4",
    "poisson": False,
}


def series(**values):
    return SimulatedTilts.of(SimulationSettings.of({**SERIES, **values}), Path("unused.h5"))


def test_beams_are_those_of_the_model_that_inverts_them():
    """With one layer per cell the slices are identical, as in the inversion, whose backend shares no code with this
    one.

    Atoms are blurred until nothing is scattered beyond a third of the grid, where only this simulation cuts waves off.
    """
    made = series(slice_thickness_A=3.905, displacement_A=0.4)
    crystal, size = made.crystal, made.crystal.pixels
    phase = np.fft.ifft2(crystal.potential_VA[0]).real * size**2 * interaction_rad_per_VA(120e3)
    hk = crystal.hk[(np.abs(crystal.hk).max(axis=1) <= 3)]
    nothing = np.zeros((len(made.tilts_mrad), len(hk)), np.float32)
    empty = TiltSeries(nothing, hk, made.tilts_mrad, crystal.cell_A, 120e3, 1.0, (3, 4))
    thickness = crystal.layers * crystal.layer_A
    model = Crystal(phase, thickness, crystal.layers, np.zeros(2), 1.0, np.zeros(len(hk)))
    grid = CrystalGrid(crystal.cell_A, size)
    expected = TiltObjective(empty, grid, model, frozenset(), dtype="complex128").beams(model)
    places = grid.places(hk)
    found = crystal.beams(made.tilts_mrad)[:, places]
    np.testing.assert_allclose(found, expected, atol=1e-5)  # single precision
    assert expected[:, 0].std() > 0.01  # the tilts matter


def test_tilts_are_a_raster():
    made = series(tilt_rotation_deg=30.0)
    expected = raster_tilts((3, 4), 6.0, (2.0, -1.0), 30.0)
    np.testing.assert_allclose(made.tilts_mrad, expected, atol=1e-12)
    snake = series(scan_pattern="snake", tilt_rotation_deg=30.0)
    np.testing.assert_allclose(snake.tilts_mrad.reshape(3, 4, 2)[1, ::-1], expected.reshape(3, 4, 2)[1], atol=1e-12)


@pytest.mark.parametrize("follows", quick_first([True, False]))
def test_a_file_is_read_as_reflections(tmp_path, follows):
    """The counts of each reflection are its intensity at every tilt, whether patterns move with the tilt or not."""
    settings = SimulationSettings.of({**SERIES, "follows_tilt": follows, "beam_offset_px": (1.3, -2.6)})
    made = simulate_file(tmp_path / "tilts.h5", settings)
    assert made.slices == 52
    assert made.detected_fraction > 0.9
    geometry = TiltGeometry((3.905, 3.905, 90.0), 6.0, (2.0, -1.0), follows_tilt=follows)
    found = read(tmp_path / "tilts.h5", geometry)
    model = SimulatedTilts.of(settings, tmp_path / "unused.h5")
    beams = 1e6 * model.crystal.beams(model.tilts_mrad)
    turned = model.crystal.hk @ np.linalg.inv(model.crystal.cell_A).T
    theirs = found.hk @ np.linalg.inv(found.cell_A).T
    nearest = np.argmin(np.linalg.norm(theirs[:, None] - turned, axis=2), axis=1)
    np.testing.assert_allclose(theirs, turned[nearest], atol=2e-3)
    np.testing.assert_allclose(found.counts, beams[:, nearest], atol=0.02 * beams.max())
    agree = np.corrcoef(found.counts.ravel(), beams[:, nearest].ravel())[0, 1]
    assert agree > 0.999


def test_the_truth_says_what_an_inversion_looks_for():
    arrays, attributes = series().truth()
    mean = arrays["structure_factors_V"][(arrays["hk"] == 0).all(axis=1)]
    assert 10 < mean.real.item() < 40  # SrTiO3, in V
    assert attributes["thickness_A"] == pytest.approx(101.5, abs=0.1)  # whole cells
    assert arrays["tilts_mrad"].shape == (3, 4, 2)
    made = series()
    assert made.header.scan.step_A is None
    with pytest.raises(ValueError, match="made by"):
        replace(made, crystal=None).truth()


def test_only_of_perfect_crystals():
    for values in ({"specimen": "bilayer", "material": "", "thickness_A": None}, {"configurations": 2}):
        with pytest.raises(MetadataError, match="perfect crystal"):
            series(**values)


def test_the_potential_is_that_of_other_simulations():
    """All layers of an unrotated cell together, compared with the sum over atoms on a grid of pixels."""
    made = series(orientation_deg=0.0, displacement_A=0.0).crystal
    cell, pixels = crystal_cell("SrTiO3"), made.pixels
    grid = ObjectGrid((pixels, pixels), cell.height_A / pixels, (0.0, 0.0))
    expected = layer_phase(Atoms(np.asarray(cell.symbols), np.asarray(cell.positions_A)), grid, 120e3)
    found = np.fft.ifft2(made.potential_VA.sum(axis=0)).real * pixels**2 * interaction_rad_per_VA(120e3)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())  # single precision
