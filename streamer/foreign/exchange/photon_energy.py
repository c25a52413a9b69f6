"""The energy in files of x-ray programs: of a photon, and of electrons only by their wavelength."""

from __future__ import annotations

LEAST_KEV = 120.0
"""A photon of the wavelength of 20 keV electrons has 144 keV; no x-ray ptychography is done above 120 keV."""
_REST_EV = 510998.95
_JOULE_PER_EV = 1.602176634e-19


def electrons_eV(photon_keV: float) -> float | None:
    """Energy of the electrons whose wavelength a photon of this energy has; None for a photon of x-rays.

    PtyPy (``electron_data``) and ptychodus write electrons so.
    """
    if not LEAST_KEV < photon_keV < 1e5:
        return None
    momentum_eV = photon_keV * 1e3  # times c: the same for both
    return float((momentum_eV**2 + _REST_EV**2) ** 0.5 - _REST_EV)


def photon_keV(joule: float) -> float:
    """An energy in J in keV."""
    return joule / _JOULE_PER_EV / 1e3
