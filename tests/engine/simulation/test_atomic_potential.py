"""Projected potentials: published values, translation, and the sum over atoms."""

import numpy as np
import pytest

from ptylive.engine.simulation.atomic_potential import (
    check_known,
    layer_phase,
    scattering_factor_A,
    structure_factor,
)
from ptylive.engine.simulation.atoms import Atoms
from ptylive.engine.simulation.object_grid import ObjectGrid
from ptylive.schema import MetadataError
from ptylive.schema.units import interaction_rad_per_VA

SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr
Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir
Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
"""
GRID = ObjectGrid((90, 100), 0.2, (0.0, 0.0))


def test_scattering_factors_are_those_of_the_table():
    """f(0) of C and Au in International Tables C 4.3.1.1: 2.509 and 10.57 Å; other fits differ by some percent."""
    assert scattering_factor_A("C", np.zeros(1))[0] == pytest.approx(2.509, rel=0.03)
    assert scattering_factor_A("Au", np.zeros(1))[0] == pytest.approx(10.57, rel=0.05)


def test_fast_electrons_see_the_charge_of_the_nucleus():
    """By the Mott-Bethe formula f tends to Z / (2 pi^2 a0 g^2), which a wrong number in the table would violate."""
    charges = {name: number for number, name in enumerate(SYMBOLS.split(), start=1)}
    assert len(charges) == 103
    check_known(set(charges))
    for symbol, charge in charges.items():
        at = scattering_factor_A(symbol, np.array([0.0, 1.0, 30.0**2]))
        assert at[0] > at[1] > at[2]
        assert at[2] == pytest.approx(charge / (2 * np.pi**2 * 0.529177 * 30.0**2), rel=0.05), symbol


def test_the_integral_of_the_phase_is_the_scattering_factor_at_zero():
    phase = layer_phase(Atoms(np.array(["Mo"]), np.array([[5.03, 7.61, 0.0]])), GRID, 80e3)
    volts = phase.sum(dtype=float) * GRID.pixel_A**2 / interaction_rad_per_VA(80e3)
    assert volts == pytest.approx(47.878 * scattering_factor_A("Mo", np.zeros(1))[0], rel=1e-5)  # single precision


def test_an_atom_is_where_it_is():
    one = layer_phase(Atoms(np.array(["S"]), np.array([[6.0, 8.0, 0.0]])), GRID, 80e3)
    other = layer_phase(Atoms(np.array(["S"]), np.array([[6.0 + 0.2 * 7, 8.0 - 0.2 * 3, 0.0]])), GRID, 80e3)
    assert np.unravel_index(one.argmax(), one.shape) == (30, 40)
    np.testing.assert_allclose(np.roll(one, (7, -3), (0, 1)), other, atol=2e-6 * one.max())


def test_atoms_add_up():
    places = np.array([[3.0, 4.0, 0.0], [9.0, 11.0, 0.0]])
    both = layer_phase(Atoms(np.array(["C", "O"]), places), GRID, 80e3)
    alone = [layer_phase(Atoms(np.array([s]), p[None]), GRID, 80e3) for s, p in zip("CO", places, strict=True)]
    np.testing.assert_allclose(both, alone[0] + alone[1], atol=2e-6 * both.max())


def test_structure_factors_are_sums_of_plane_waves():
    places, rows, cols = np.random.default_rng(1).uniform(0, 9, (5, 2)), np.array([0.0, 0.3]), np.array([0.0, 0.2, 0.7])
    direct = np.exp(-2j * np.pi * (rows[:, None, None] * places[:, 0] + cols[:, None] * places[:, 1])).sum(axis=-1)
    np.testing.assert_allclose(structure_factor(places, rows, cols), direct, atol=1e-5)  # single precision


def test_unknown_elements_are_named():
    with pytest.raises(MetadataError, match="'Xx'"):
        check_known({"C", "Xx"})
