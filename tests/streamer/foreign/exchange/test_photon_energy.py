"""Electron energy from a photon energy of the same wavelength."""

import numpy as np
import pytest

from ptylive.schema import Optics
from ptylive.streamer.foreign.exchange.photon_energy import electrons_eV, photon_keV


@pytest.mark.parametrize("energy_eV", [20e3, 80e3, 200e3, 300e3])
def test_both_have_one_wavelength(energy_eV):
    wavelength_A = Optics(energy_eV=energy_eV).wavelength_A
    assert electrons_eV(12.39841984 / wavelength_A) == pytest.approx(energy_eV, rel=1e-6)


@pytest.mark.parametrize("energy", [0.0, 8.0, 100.0, 2e4, -5.0, np.nan, np.inf])
def test_photons_of_x_rays_are_no_electrons(energy):
    assert electrons_eV(energy) is None


def test_photon_energies_are_read_in_joule():
    assert photon_keV(1.602176634e-16) == pytest.approx(1.0)
