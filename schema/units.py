"""Physical constants and the few conversions everybody needs. Lengths in Å, energies in eV, angles in mrad."""

from __future__ import annotations

import math

PLANCK_TIMES_C_EV_A = 12398.419843320026
"""h c in eV Å."""
ELECTRON_REST_ENERGY_EV = 510998.95
"""m c² in eV."""


def wavelength_A(energy_eV: float) -> float:
    """Relativistic electron wavelength in Å: h c / sqrt(E (E + 2 m c²))."""
    return PLANCK_TIMES_C_EV_A / math.sqrt(energy_eV * (energy_eV + 2 * ELECTRON_REST_ENERGY_EV))


def mrad_to_invA(angle_mrad: float, wavelength: float) -> float:
    """Scattering angle in mrad to spatial frequency in 1/Å (small angles: k = angle / wavelength)."""
    return angle_mrad * 1e-3 / wavelength


def invA_to_mrad(frequency_invA: float, wavelength: float) -> float:
    """Spatial frequency in 1/Å to scattering angle in mrad."""
    return frequency_invA * wavelength * 1e3
