"""Every number the reconstruction uses, with its origin and its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.units import depth_of_focus_A, wavelength_A

C12 = ("C12a", "C12b")
"""Two-fold astigmatism, by its two entries."""
RIVALS = "rival_orientations"
"""Entry with the orientations that explain the scan nearly as well as the one in use."""


class Origin(StrEnum):
    """Where a calibration value came from."""

    GIVEN = "given"
    ESTIMATED = "estimated"
    DEFAULT = "default"
    UNDECIDED = "undecided"


FOUND = (Origin.ESTIMATED, Origin.UNDECIDED)
"""Origins of values that nobody stated: maps or trials found them, or were not able to decide on one."""


@dataclass(frozen=True)
class Quantity:
    """A value with its origin and, where it was estimated, its uncertainty: one standard deviation, same unit."""

    value: Any
    origin: Origin
    uncertainty: float | None = None


@dataclass(frozen=True)
class RivalOrientation:
    """Another orientation of scan and detector, and its defocus, that the live calibration could not exclude."""

    mirrored: bool
    """Whether its handedness is not that of ``detector_transform``."""
    rotation_deg: float
    c10_A: float
    """C10 of the plane in focus."""


@dataclass(frozen=True)
class Calibration:
    """Values under their metadata names (docs/conventions.md); an absent value is unknown.

    Lengths in Å, detector_pixel in 1/Å, beam centre in pixels of the recorded pattern.
    """

    entries: Mapping[str, Quantity] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Return the value, or None."""
        entry = self.entries.get(name)
        return None if entry is None else entry.value

    def require(self, name: str, needed_for: str) -> Any:
        """Return the value, or raise a MetadataError `<needed_for> needs <name>`."""
        value = self.get(name)
        if value is None:
            raise MetadataError(f"{needed_for} needs {name}{self._why_unknown(name)}", f"give it with --set {name}=…")
        return value

    def _why_unknown(self, name: str) -> str:
        """Explain why a value that follows from others is not known."""
        if name != "detector_pixel_invA":
            return ""
        inputs = ("energy_eV", "convergence_semiangle_mrad")
        missing = [needed for needed in inputs if self.get(needed) is None]
        if missing:
            return f", found from the disc once {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} known"
        return ", and the mean pattern shows no bright disc to derive it from"

    def origin(self, name: str) -> Origin | None:
        """Where the value came from, or None when it is unknown."""
        entry = self.entries.get(name)
        return None if entry is None else entry.origin

    def is_found(self, name: str) -> bool:
        """Whether nobody stated a value: maps or trials found it, or were not able to decide on one."""
        return self.origin(name) in FOUND

    @property
    def of_patterns(self) -> bool:
        """Whether patterns were examined: then at least the disc radius is found or assumed; before, all is given."""
        return any(entry.origin is not Origin.GIVEN for entry in self.entries.values())

    @property
    def rivals(self) -> tuple[RivalOrientation, ...]:
        """Orientations that could not be excluded, the likeliest first; none if the entry of a file is damaged."""
        try:
            numbers = np.asarray(self.get(RIVALS) or (), dtype=float).reshape(-1, 3)
        except (TypeError, ValueError):
            return ()
        rows = numbers[np.isfinite(numbers).all(axis=1)].tolist()
        return tuple(RivalOrientation(bool(mirrored), angle, c10_A) for mirrored, angle, c10_A in rows)

    def without_rivals(self) -> Calibration:
        """Return a copy whose orientation is no longer in question."""
        return Calibration({name: entry for name, entry in self.entries.items() if name != RIVALS})

    @property
    def c12_size_A(self) -> float:
        """Magnitude of C12, Å; 0 where it is unknown."""
        return math.hypot(*(float(self.get(name) or 0.0) for name in C12))

    @property
    def astigmatism_is_doubted(self) -> bool:
        """Whether C12 was found and its uncertainty is at least its magnitude: it may be zero."""
        entries = [entry for name in C12 if (entry := self.entries.get(name)) is not None]
        found = bool(entries) and all(self.is_found(name) for name in C12 if name in self.entries)
        return found and 0 < self.c12_size_A <= max(entry.uncertainty or 0.0 for entry in entries)

    def with_astigmatism_doubted(self) -> Calibration:
        """Return a copy whose C12, if nobody stated it, has an uncertainty equal to its magnitude."""
        found = {name: self.entries[name] for name in C12 if self.is_found(name)}
        return self.having(**{name: replace(entry, uncertainty=self.c12_size_A) for name, entry in found.items()})

    def having(self, **quantities: Quantity) -> Calibration:
        """Return a copy with some entries replaced."""
        return Calibration({**self.entries, **quantities})

    def given(self, *, in_place: bool) -> dict[str, Any]:
        """Return the values that the user gave, as metadata that may be given again.

        Without the beam centre where patterns were put ``in_place``: the stored centre is not a position in a recorded
        pattern. Also without the pixel in 1/Å derived from its angle: the angle is what was given, at any energy.
        """
        found = {name: quantity.value for name, quantity in self.entries.items() if quantity.origin is Origin.GIVEN}
        left_out = {"beam_center_px"} if in_place else set()
        if "detector_pixel_mrad" in found:
            left_out.add("detector_pixel_invA")
        return {name: value for name, value in found.items() if name not in left_out}

    @property
    def wavelength_A(self) -> float | None:
        """Electron wavelength, Å."""
        energy = self.get("energy_eV")
        return None if energy is None else wavelength_A(float(energy))

    @property
    def depth_of_focus_A(self) -> float | None:
        """Wavelength over the square of the semi-angle, Å: the unit of depths in refinements. None if unknown."""
        semiangle_mrad, wavelength = self.get("convergence_semiangle_mrad"), self.wavelength_A
        if not semiangle_mrad or not wavelength:
            return None
        return depth_of_focus_A(float(wavelength), float(semiangle_mrad))

    @property
    def aberrations(self) -> dict[str, float]:
        """Krivanek cartesian coefficients, Å, of the entrance plane."""
        return {name: float(self.get(name)) for name in ABERRATION_NAMES if self.get(name) is not None}

    @property
    def rotation_deg(self) -> float:
        """Scan to detector rotation; 0 while unknown."""
        return float(self.get("rotation_deg") or 0.0)

    @property
    def transform(self) -> str:
        """Detector transform words."""
        return str(self.get("detector_transform") or "none")

    def to_attributes(self) -> dict[str, Any]:
        """Return flat attributes NAME, NAME_origin, NAME_uncertainty for `/calibration`."""
        out: dict[str, Any] = {}
        for name, quantity in self.entries.items():
            if quantity.value is None:
                continue
            value = quantity.value
            out[name] = np.asarray(value, dtype=float) if isinstance(value, tuple) else value
            out[f"{name}_origin"] = str(quantity.origin)
            if quantity.uncertainty is not None:
                out[f"{name}_uncertainty"] = float(quantity.uncertainty)
        return out

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Calibration:
        """Inverse of :meth:`to_attributes`; entries without origin are left out."""
        entries: dict[str, Quantity] = {}
        for name, value in attributes.items():
            origin = attributes.get(f"{name}_origin")
            if origin not in list(Origin):
                continue
            doubt = attributes.get(f"{name}_uncertainty")
            plain = np.asarray(value).tolist()
            entries[name] = Quantity(
                tuple(plain) if isinstance(plain, list) else plain,
                Origin(origin),
                None if doubt is None else float(doubt),
            )
        return cls(entries)

    def to_plain(self) -> dict[str, Any]:
        """Return nested plain values for messages: {name: {value, origin, uncertainty}}."""
        return {
            name: {
                "value": list(q.value) if isinstance(q.value, tuple) else q.value,
                "origin": str(q.origin),
                "uncertainty": q.uncertainty,
            }
            for name, q in self.entries.items()
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Mapping[str, Any]]) -> Calibration:
        """Inverse of :meth:`to_plain`."""
        return cls(
            {
                name: Quantity(
                    tuple(q["value"]) if isinstance(q["value"], list) else q["value"],
                    Origin(q["origin"]),
                    q.get("uncertainty"),
                )
                for name, q in plain.items()
            }
        )
