"""Advice for the microscope from a calibration: corrections, in the words of an operator.

Only values that were estimated from the data and exceed their uncertainty ``SIGNIFICANT`` times become corrections.
Undecided values are reported as such; values that the user gave yield no advice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from ptylive.schema.advice.limits import ABERRATION_TITLES, quarter_pi_limit_A
from ptylive.schema.advice.words import angle_text, defocus_text, focus_text, length_text, with_doubt
from ptylive.schema.calibration import Calibration, Origin, Quantity
from ptylive.schema.optics import KRIVANEK_ORDERS
from ptylive.schema.units import wavelength_A

SIGNIFICANT = 2.0
"""Standard deviations by which a value must exceed 0 to be corrected: noise alone makes one defocus in twenty exceed
them, and one astigmatism, which has two components, in seven.
"""
MOST_SEMIANGLE_MRAD = 1000.0
LOW_ORDERS = ("C10", "C12")
"""Aberrations that every fit looks for: if one was not found, this is reported."""


class Verdict(StrEnum):
    """What to do about a value."""

    CORRECT = "correct"
    NOTHING_TO_CORRECT = "nothing to correct"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Item:
    """One aberration.

    ``name``: Krivanek's (`C12`); ``title``: the microscopist's (`astigmatism`). ``value``: the magnitude, or for
    aberrations without direction (C10, C30) the signed coefficient; ``angle_deg``: its direction, if any, from the
    rows' axis towards the columns'. ``limit``: the magnitude that shifts the phase by pi/4 at the aperture's rim, None
    where energy or semi-angle are unknown. ``correction``: what to add to each cartesian coefficient. Å, degrees.
    """

    name: str
    title: str
    verdict: Verdict
    words: str
    value: float | None = None
    uncertainty: float | None = None
    angle_deg: float | None = None
    limit: float | None = None
    correction: Mapping[str, float] = field(default_factory=dict)
    unit: str = "Å"

    @property
    def matters(self) -> bool:
        """Whether it should be corrected, and shifts the phase by more than pi/4 at the rim; the latter is assumed
        where the rim is unknown.
        """
        return self.verdict is Verdict.CORRECT and abs(self.value or 0.0) > (self.limit or 0.0)

    @property
    def brief(self) -> str:
        """The correction in as few words as possible: `focus up 14.5 nm`, `astigmatism 63 Å at 29°`."""
        value = self.value or 0.0
        if self.name == "C10":
            return focus_text(-value)
        return f"{self.title} {length_text(value, self.uncertainty)}{_at_angle(self.angle_deg)}"

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for messages."""
        return {
            "name": self.name,
            "title": self.title,
            "verdict": str(self.verdict),
            "value": self.value,
            "uncertainty": self.uncertainty,
            "unit": self.unit,
            "angle_deg": self.angle_deg,
            "limit": self.limit,
            "matters": self.matters,
            "correction": dict(self.correction),
            "words": self.words,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`. Raises KeyError, ValueError for invalid input."""
        return cls(
            plain["name"],
            plain["title"],
            Verdict(plain["verdict"]),
            plain["words"],
            plain.get("value"),
            plain.get("uncertainty"),
            plain.get("angle_deg"),
            plain.get("limit"),
            dict(plain.get("correction") or {}),
            plain.get("unit", "Å"),
        )


@dataclass(frozen=True)
class Advice:
    """What to change at the microscope; empty where every value was given."""

    items: tuple[Item, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """`correct` where anything should be corrected, otherwise `cannot tell` where anything is unclear."""
        found = {item.verdict for item in self.items}
        return next((one for one in (Verdict.CORRECT, Verdict.CANNOT_TELL) if one in found), Verdict.NOTHING_TO_CORRECT)

    @property
    def correction(self) -> dict[str, float]:
        """Amounts to add to the cartesian coefficients (`C10`, `C12a`, …), Å; empty if nothing should be corrected."""
        return {name: change for item in self.items for name, change in item.correction.items()}

    @property
    def line(self) -> str:
        """The complete advice in one line."""
        return "; ".join(item.words for item in self.items) or "no advice: defocus and astigmatism were given"

    @property
    def brief(self) -> str:
        """The advice in as few words as possible: only what matters, or why there is nothing."""
        briefs = [item.brief for item in self.items if item.matters]
        if briefs or not self.items:
            return "; ".join(briefs)
        return str(Verdict.CANNOT_TELL if self.verdict is Verdict.CANNOT_TELL else Verdict.NOTHING_TO_CORRECT)

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for messages: {verdict, line, correction, items}."""
        items = [item.to_plain() for item in self.items]
        return {"verdict": str(self.verdict), "line": self.line, "correction": self.correction, "items": items}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`. Raises KeyError, ValueError for invalid input."""
        return cls(tuple(Item.from_plain(item) for item in plain["items"]))


def advise(calibration: Calibration, significant: float = SIGNIFICANT) -> Advice:
    """Advice on each aberration of a calibration, lowest order first.

    ``significant``: by how many times its uncertainty a value must exceed 0 to be corrected. A loop that measures again
    after each correction may use 1, because it undoes its own errors.
    """
    items = (_item(name, calibration, significant) for name in KRIVANEK_ORDERS)
    return Advice(tuple(item for item in items if item is not None))


def _item(name: str, calibration: Calibration, significant: float) -> Item | None:
    """Advice on one aberration; None where there is none to give."""
    parts = [name + part for part in (("a", "b") if KRIVANEK_ORDERS[name][1] else ("",))]
    found = [calibration.entries.get(part) for part in parts]
    quantities = [quantity for quantity in found if quantity is not None and _is_number(quantity.value)]
    origins = {quantity.origin for quantity in quantities}
    if Origin.GIVEN in origins or (name not in LOW_ORDERS and origins <= {Origin.DEFAULT}):
        return None
    title, limit = ABERRATION_TITLES[name], _limit(name, calibration)
    if len(quantities) < len(parts) or Origin.DEFAULT in origins:
        return Item(name, title, Verdict.CANNOT_TELL, f"{title}: cannot tell", limit=limit)
    measured = _Measured.of(name, quantities)
    if Origin.UNDECIDED in origins or measured.uncertainty is None:
        verdict, rest = Verdict.CANNOT_TELL, "cannot tell"
        if Origin.UNDECIDED in origins and name == "C10":
            rest = "cannot tell under- from overfocus (give the scan rotation)"
    elif abs(measured.value) <= significant * measured.uncertainty:
        verdict, rest = Verdict.NOTHING_TO_CORRECT, f"not more than {significant:g} times its uncertainty"
    else:
        verdict = Verdict.CORRECT
        rest = focus_text(-measured.value) if name == "C10" else ""
        if limit is not None and abs(measured.value) <= limit:
            rest = f"does not matter (π/4 at {length_text(limit)})"
    return Item(
        name,
        title,
        verdict,
        measured.words(title, rest),
        measured.value,
        measured.uncertainty,
        measured.angle_deg,
        limit,
        dict(zip(parts, measured.opposite, strict=True)) if verdict is Verdict.CORRECT else {},
    )


def _at_angle(angle_deg: float | None) -> str:
    return "" if angle_deg is None else f" at {angle_text(angle_deg)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _limit(name: str, calibration: Calibration) -> float | None:
    """The magnitude that matters; None for impossible energy or semi-angle: a foreign file may contain anything."""
    energy, semiangle = calibration.get("energy_eV"), calibration.get("convergence_semiangle_mrad")
    if not (_is_number(energy) and _is_number(semiangle) and energy > 0 and 0 < semiangle < MOST_SEMIANGLE_MRAD):
        return None
    limit = quarter_pi_limit_A(name, wavelength_A(float(energy)), float(semiangle))
    return limit if math.isfinite(limit) else None


@dataclass(frozen=True)
class _Measured:
    """An aberration with its uncertainty, Å; ``components``: cartesian."""

    name: str
    components: tuple[float, ...]
    uncertainty: float | None

    @classmethod
    def of(cls, name: str, quantities: list[Quantity]) -> Self:
        """Combine cartesian parts; the uncertainty is that along its direction, or the larger of both without one."""
        values = tuple(float(quantity.value) for quantity in quantities)
        found = [quantity.uncertainty for quantity in quantities]
        doubts = [float(doubt) for doubt in found if doubt is not None and _is_number(doubt)]
        if len(doubts) < len(values):
            return cls(name, values, None)
        size = math.hypot(*values)
        along = math.hypot(*(v * d for v, d in zip(values, doubts, strict=True))) / size if size else max(doubts)
        return cls(name, values, along)

    @property
    def value(self) -> float:
        """The magnitude; for a single component the signed value."""
        return self.components[0] if len(self.components) == 1 else math.hypot(*self.components)

    @property
    def angle_deg(self) -> float | None:
        """Direction, from 0 to 360 degrees divided by the symmetry."""
        if len(self.components) == 1:
            return None
        symmetry = KRIVANEK_ORDERS[self.name][1]
        return math.degrees(math.atan2(self.components[1], self.components[0])) % 360.0 / symmetry

    @property
    def opposite(self) -> tuple[float, ...]:
        """Change that makes every component 0."""
        return tuple(-component for component in self.components)

    def words(self, title: str, rest: str) -> str:
        """`defocus −145 ± 11 Å: focus up 14.5 nm`."""
        if self.name == "C10":
            text = defocus_text(-self.value, self.uncertainty)
        else:
            text = with_doubt(self.value, self.uncertainty)
        return f"{title} {text}{_at_angle(self.angle_deg)}{': ' if rest else ''}{rest}"
