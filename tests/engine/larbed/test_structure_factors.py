import numpy as np
import pytest

from ptylive.engine.larbed.structure_factors import (
    coefficients,
    on_highest_column,
    potential_map,
    structure_factors,
)
from tests.larbed_crystals import ATOMS, CELL_A, ENERGY_EV, GRID, crystal, potential_V


def test_coefficients_are_those_of_the_potential():
    found = coefficients(crystal(), ENERGY_EV)
    assert np.fft.ifft2(found).real * 64 == pytest.approx(potential_V(), abs=1e-9)
    assert coefficients(crystal(80.0, 11), ENERGY_EV) == pytest.approx(found)  # whatever the slicing


def test_the_origin_lies_on_the_highest_column():
    moved = coefficients(crystal(), ENERGY_EV) * np.exp(
        2j * np.pi * (np.add.outer(GRID.orders * 0.3, GRID.orders * 0.7))
    )
    fine = potential_map(on_highest_column(moved, GRID), 64)
    assert np.unravel_index(int(fine.argmax()), fine.shape) == (0, 0)
    second = round(ATOMS[1][0] * 64), round(ATOMS[1][1] * 64)
    window = fine[second[0] - 6 : second[0] + 7, second[1] - 6 : second[1] + 7]
    assert np.unravel_index(int(window.argmax()), window.shape) == pytest.approx((6, 6), abs=3)


def test_the_list_holds_one_of_each_pair_strongest_first():
    spectrum = coefficients(crystal(), ENERGY_EV)
    found = structure_factors(spectrum, GRID, ENERGY_EV)
    assert len(found.hk) == (49 - 1) // 2
    assert (np.diff(np.abs(found.V)) <= 0).all()
    pairs = {tuple(one) for one in found.hk.tolist()}
    assert not any((-h, -k) in pairs for h, k in pairs)
    gamma = 1 + ENERGY_EV / 510998.95
    assert np.abs(found.U_invA2) == pytest.approx(np.abs(found.V) * gamma / 150.412, rel=1e-4)
    h, k = found.hk[0]
    assert found.q_invA[0] == pytest.approx(np.linalg.norm(np.array([h, k]) @ np.linalg.inv(CELL_A).T))
