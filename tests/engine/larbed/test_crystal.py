import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.larbed.crystal import CrystalGrid, problem_of, reduced_tilts
from ptylive.schema.units import wavelength_A
from tests.larbed_crystals import CELL_A, ELECTRONS, ENERGY_EV, GRID, crystal, series_of

SQUARE = CrystalGrid(np.diag([4.0, 5.0]), 8)


def test_reciprocal_vectors_belong_to_the_cell():
    assert GRID.reciprocal_invA @ CELL_A.T == pytest.approx(np.eye(2))
    assert GRID.area_A2 == pytest.approx(14.4)
    assert SQUARE.q_squared()[1, 2] == pytest.approx((1 / 4) ** 2 + (2 / 5) ** 2)


def test_beams_that_do_not_fit_are_refused():
    series = series_of(crystal()).part(np.arange(3))
    small = CrystalGrid(CELL_A, 6)
    assert not small.holds(series.hk)
    with pytest.raises(ValueError, match="beams up to 3 on 6 pixels"):
        problem_of(series, small, 4, 20.0, 0.0)


def test_two_slices_are_what_the_equations_say():
    """The reference is written out with sums over plane waves, without the backend: O, free space of k + g, O."""
    specimen = crystal(thickness_A=10.0, slices=2)
    series = series_of(specimen, tilts=3, most_mrad=30.0)
    n, lam = GRID.pixels, wavelength_A(ENERGY_EV)
    h, k = np.meshgrid(GRID.orders, GRID.orders, indexing="ij")
    q = h[..., None] * GRID.reciprocal_invA[0] + k[..., None] * GRID.reciprocal_invA[1]
    through = np.exp(1j * specimen.phase)
    for number in (0, 5, 7):
        beam = np.tan(1e-3 * series.tilts_mrad[number]) / lam
        free = np.exp(-1j * np.pi * lam * 5.0 * ((q + beam) ** 2).sum(axis=-1))
        wave = through * np.fft.ifft2(free * np.fft.fft2(through))
        expected = ELECTRONS * np.abs(np.fft.fft2(wave) / n**2) ** 2
        ours = series.counts[number]
        assert ours == pytest.approx(expected.ravel()[GRID.places(series.hk)], rel=1e-5, abs=1e-2)


def test_tilts_are_measured_from_the_zone_axis():
    tilts = np.array([[3.0, -2.0], [0.0, 0.0]])
    assert not reduced_tilts(SQUARE, tilts, tilts[0])[0].any()
    reduced = reduced_tilts(SQUARE, tilts, np.zeros(2))
    assert reduced[0, 2:4] == pytest.approx([-3e-3 / 4, 2e-3 / 5], rel=1e-4)
    assert not reduced[:, [0, 1, 4, 5]].any()


@pytest.mark.parametrize("asked", ["loss", "object"])
def test_one_place_is_reckoned_as_any_other(asked):
    """Windows that are the whole object need no index: the numbers are the same as with one."""
    series, specimen = series_of(crystal()).part(np.arange(0, 121, 13)), crystal(thickness_A=80.0)
    problem = problem_of(series, GRID, specimen.slices, specimen.thickness_A, 0.0)
    rows = [np.cos(specimen.phase), np.sin(specimen.phase)]
    planes = np.stack(rows)[:, None].repeat(specimen.slices, axis=1)
    wave = np.zeros((2, 1, 8, 8))
    wave[0, 0, 0, 0] = np.sqrt(ELECTRONS)
    fast, plain = (GeneralMultislice(problem, np, "complex128", "") for _ in range(2))
    assert fast._covers_object
    plain._covers_object = False
    results = [getattr(one.loss_and_gradient(planes, wave), asked) for one in (fast, plain)]
    assert results[0] == pytest.approx(results[1], rel=1e-9, abs=1e-6)
