"""Physical constants, the units in which values may be written, and a few common conversions.

Inside the program lengths are in Å, energies in eV, angles in mrad (rotations in degrees), times in µs.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PLANCK_TIMES_C_EV_A = 12398.419843320026
"""h c in eV Å."""
ELECTRON_REST_ENERGY_EV = 510998.95
"""m c² in eV."""

RAD_PER_MRAD = 1e-3

_LENGTH = {"m": 1e10, "mm": 1e7, "µm": 1e4, "um": 1e4, "nm": 10.0, "Å": 1.0, "A": 1.0, "pm": 0.01}
_METRES = {"": 1e10, "milli": 1e7, "micro": 1e4, "nano": 10.0, "pico": 0.01}
_LENGTH_WORDS = {
    **{"ang": 1.0, "angstrom": 1.0, "angstroms": 1.0, "micron": 1e4, "microns": 1e4},
    **{f"{part}met{end}": factor for part, factor in _METRES.items() for end in ("er", "ers", "re", "res")},
}
_INVERSE = (
    *("1/{}", "1/({})", "{}^-1", "{}^{{-1}}", "{}⁻¹", "{}-1", "[{}^-1]", "inv{}"),
    *("{}^(-1)", "{}**-1", "{}**(-1)"),
)
_AREA = {"Å": 1.0, "A": 1.0, "nm": 1e-2}
_PER_AREA = ("e/{}²", "e/{}^2", "e/{}2", "e-/{}²", "e-/{}^2")
_DEGREE_MRAD = 1e3 * math.pi / 180

ELECTRONS_PER_PA_US = 1e-18 / 1.602176634e-19
"""Electrons delivered by a current of 1 pA in 1 µs (the elementary charge is exact since 2019)."""

UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "energy": {"MeV": 1e6, "MV": 1e6, "keV": 1e3, "kV": 1e3, "eV": 1.0, "V": 1.0},
        "length": {**_LENGTH, **_LENGTH_WORDS},
        "frequency": {
            spelt.format(name): 1.0 / factor
            for spelt in _INVERSE
            for name, factor in {**_LENGTH, **_LENGTH_WORDS}.items()
        },
        "angle": {
            **{"rad": 1e3, "mrad": 1.0, "µrad": 1e-3, "urad": 1e-3, "deg": _DEGREE_MRAD, "°": _DEGREE_MRAD},
            **{"radian": 1e3, "radians": 1e3, "degree": _DEGREE_MRAD, "degrees": _DEGREE_MRAD},
            **{"milliradian": 1.0, "milliradians": 1.0, "microradian": 1e-3, "microradians": 1e-3},
        },
        "time": {"s": 1e6, "ms": 1e3, "µs": 1.0, "us": 1.0, "ns": 1e-3},
        "current": {"pA": 1.0, "nA": 1e3, "fA": 1e-3, "µA": 1e6, "uA": 1e6},
        "dose": {spelt.format(name): area for name, area in _AREA.items() for spelt in _PER_AREA},
        "pixels": {"px": 1.0, "pixel": 1.0, "pixels": 1.0},
        "number": {},
    }
)
"""Kind of a value -> its units -> size of one unit in eV, Å, 1/Å, mrad, µs, pA, electrons on an Å², pixels."""
_ENDINGS = (("_A", "length"), ("_mrad", "angle"), ("_invA", "frequency"))
_WHOLE_QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*)", re.DOTALL)


def wavelength_A(energy_eV: float) -> float:
    """Relativistic electron wavelength in Å: h c / sqrt(E (E + 2 m c²))."""
    return PLANCK_TIMES_C_EV_A / math.sqrt(energy_eV * (energy_eV + 2 * ELECTRON_REST_ENERGY_EV))


def interaction_rad_per_VA(energy_eV: float) -> float:
    """Relativistic phase shift of an electron by 1 V over 1 Å: 2 pi / (lambda E) (E + m c²) / (E + 2 m c²)."""
    rest_eV = ELECTRON_REST_ENERGY_EV
    return 2 * math.pi / (wavelength_A(energy_eV) * energy_eV) * (energy_eV + rest_eV) / (energy_eV + 2 * rest_eV)


def depth_of_focus_A(wavelength: float, semiangle_mrad: float) -> float:
    """Return wavelength / semi-angle^2, Å, the unit in which refinements measure depths."""
    return wavelength / (1e-3 * semiangle_mrad) ** 2


def mrad_to_invA(angle_mrad: float, wavelength: float) -> float:
    """Scattering angle in mrad to spatial frequency in 1/Å (small angles: k = angle / wavelength)."""
    return angle_mrad * 1e-3 / wavelength


def invA_to_mrad(frequency_invA: float, wavelength: float) -> float:
    """Spatial frequency in 1/Å to scattering angle in mrad."""
    return frequency_invA * wavelength * 1e3


def unit_factor(kind: str, unit: str) -> float | None:
    """Size of one ``unit`` in the program's own unit of a kind of values; None if it is not such a unit.

    Capitals matter only where they distinguish units: keV is kev, but meV is not MeV. HyperSpy's and pyxem's units may
    be TeX: ``$nm^{-1}$``.
    """
    units = UNITS[kind]
    spelt = as_written(unit).strip("$").replace("\\AA", "Å").replace(" / ", "/").replace(" ** ", "**")
    if spelt in units:
        return units[spelt]
    if spelt[:1] == "m" and f"M{spelt[1:]}" in units:
        return None
    alike = {name.lower(): factor for name, factor in reversed(list(units.items()))}
    return alike.get(spelt.lower())


def kind_of_unit(unit: str) -> str | None:
    """The kind of values a unit belongs to; None if it is not a unit."""
    return next((kind for kind in UNITS if unit_factor(kind, unit) is not None), None)


def as_written(text: str) -> str:
    """A text with one spelling of µ, Å, minus and spaces."""
    plain = unicodedata.normalize("NFC", text).replace("μ", "µ").replace("−", "-")
    return " ".join(plain.split())


def number_and_unit(text: str) -> tuple[float, str] | None:
    """``80 keV`` as (80.0, "keV"), a bare number with an empty unit; None if it does not begin with a number."""
    match = _WHOLE_QUANTITY.fullmatch(as_written(text))
    return None if match is None else (float(match[1]), match[2].strip())


def in_unit_of(name: str, value: Any) -> Any:
    """Convert a setting's value written with a unit (`10 nm`) to the unit its name ends with; others stay unchanged."""
    kind = next((kind for ending, kind in _ENDINGS if name.endswith(ending)), None)
    if kind is not None and isinstance(value, list | tuple):
        return [in_unit_of(name, part) for part in value]
    if kind is not None and isinstance(value, bool):
        return str(value).lower()  # so that it is refused: true would count as 1
    read = number_and_unit(value) if kind is not None and isinstance(value, str) else None
    factor = None if read is None or kind is None or not read[1] else unit_factor(kind, read[1])
    return value if read is None or factor is None else read[0] * factor
