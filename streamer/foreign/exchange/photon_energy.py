"""The energy in files of x-ray programs: that of a photon; electrons are represented only by their wavelength."""

from __future__ import annotations

import math

from ptylive.schema.plausible import refusal
from ptylive.schema.units import ELECTRON_REST_ENERGY_EV as REST_EV

LEAST_KEV = 120.0
"""A photon with the wavelength of 20 keV electrons has 144 keV; no x-ray ptychography is done above 120 keV."""
_JOULE_PER_EV = 1.602176634e-19


def electrons_eV(photon_keV: float) -> float | None:
    """Energy of the electrons with the same wavelength as a photon of this energy; None for an x-ray photon, and if no
    electron microscope has such an energy.

    PtyPy (``electron_data``) and ptychodus store electrons in this way.
    """
    if not LEAST_KEV < photon_keV < math.inf:
        return None
    momentum_eV = photon_keV * 1e3  # times c: the same for both
    energy_eV = math.hypot(momentum_eV, REST_EV) - REST_EV
    return None if refusal("energy_eV", energy_eV) else energy_eV


def photon_keV(joule: float) -> float:
    """Convert an energy from J to keV."""
    return joule / _JOULE_PER_EV / 1e3
