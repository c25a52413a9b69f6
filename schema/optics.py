"""The electron beam: energy, aperture and aberrations (Krivanek's notation, cartesian, Å)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from ptylive.schema.errors import brief
from ptylive.schema.model import Model
from ptylive.schema.units import wavelength_A

KRIVANEK_ORDERS: dict[str, tuple[int, int]] = {
    "C10": (1, 0),
    "C12": (1, 2),
    "C21": (2, 1),
    "C23": (2, 3),
    "C30": (3, 0),
    "C32": (3, 2),
    "C34": (3, 4),
}
"""Radial order n and azimuthal symmetry m of each aberration: chi = 2 pi/lam sum C (lam k)^(n+1) / (n+1)."""

ABERRATION_NAMES: tuple[str, ...] = tuple(
    name + part for name, (_, m) in KRIVANEK_ORDERS.items() for part in (("a", "b") if m else ("",))
)
"""Every cartesian coefficient: C10, C12a, C12b, C21a, … (C12a = C12 cos 2 theta, C12b = C12 sin 2 theta)."""


class Optics(Model):
    """Known properties of the probe-forming optics; ``None`` means not given."""

    energy_eV: float | None = Field(default=None, gt=0, description="beam energy, eV")
    convergence_semiangle_mrad: float | None = Field(default=None, gt=0, description="probe semi-angle, mrad")
    depth_A: float | None = Field(default=None, description="plane the live maps focus on, below the entrance, Å")
    aberrations: dict[str, float] = Field(default_factory=dict, description="Krivanek cartesian coefficients, Å")

    @model_validator(mode="before")
    @classmethod
    def _collect_aberrations(cls, data: Any) -> Any:
        """Gather C10 … and the aliases defocus_A, astigmatism_A, astigmatism_deg, Cs_A into ``aberrations``."""
        if not isinstance(data, Mapping):
            return data
        values = {k: v for k, v in data.items() if k not in _ABERRATION_KEYS}
        given = data.get("aberrations") or {}
        if not isinstance(given, Mapping):
            raise ValueError(f"aberrations {brief(given)} is not a map of coefficients in Å, as in {{C10: -100}}")
        values["aberrations"] = {**aberrations_from(data), **given}
        return values

    @property
    def wavelength_A(self) -> float | None:
        """Relativistic wavelength in Å, if the energy is known."""
        return None if self.energy_eV is None else wavelength_A(self.energy_eV)


_ABERRATION_KEYS = {*ABERRATION_NAMES, "defocus_A", "astigmatism_A", "astigmatism_deg", "Cs_A"}


def aberrations_from(values: Mapping[str, Any]) -> dict[str, float]:
    """Krivanek coefficients (Å) found in a flat mapping of metadata; cartesian names win over the aliases.

    ``defocus_A > 0`` is underfocus, C10 = -defocus; ``astigmatism_deg`` is measured from +row towards +col.
    """
    found: dict[str, float] = {}
    if values.get("defocus_A") is not None:
        found["C10"] = -float(values["defocus_A"])
    if values.get("astigmatism_A") is not None:
        angle = 2 * math.radians(float(values.get("astigmatism_deg") or 0.0))
        found["C12a"] = float(values["astigmatism_A"]) * math.cos(angle)
        found["C12b"] = float(values["astigmatism_A"]) * math.sin(angle)
    if values.get("Cs_A") is not None:
        found["C30"] = float(values["Cs_A"])
    found.update({name: float(values[name]) for name in ABERRATION_NAMES if values.get(name) is not None})
    return found
