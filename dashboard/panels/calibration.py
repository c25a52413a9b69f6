"""The calibration box: values with their origin, a pencil to change one, estimate, undo, and the depth in focus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ptylive.dashboard.orders import Orders
from ptylive.dashboard.readouts import CALIBRATION_ROWS
from ptylive.dashboard.requests import Request, as_plain
from ptylive.dashboard.state import ServerState

EDITABLE = tuple(name for name, _, _ in CALIBRATION_ROWS if name != "disc_radius_px")
ESTIMABLE = ("rotation_deg", "C10", "C12", "beam_center_px", "detector_pixel_invA", "detector_transform")
"""Rows with a button that takes the given value back and estimates it from the data."""
MOST_DEPTH_A = 2000.0
_LABELS = {**{name: label for name, label, _ in CALIBRATION_ROWS}, "C12": "astigmatism"}
_UNITS_A = {"": 1.0, "å": 1.0, "a": 1.0, "nm": 10.0, "µm": 1e4, "um": 1e4, "μm": 1e4}
_DEFOCUS = re.compile(r"^([-+]?[0-9.]+(?:e[-+]?\d+)?)\s*(å|a|nm|µm|um|μm)?\s*(under(?:focus)?|over(?:focus)?)?$")

_ENERGY = re.compile(r"^([0-9.]+) ?ke?v$")


class UnclearValueError(ValueError):
    """What was typed cannot be read; the text says what would be."""


def parse_defocus(text: str) -> float:
    """C10 in Å from what a microscopist types: `150`, `15 nm underfocus`, `-200 Å`; positive is underfocus."""
    cleaned = text.strip().lower().replace("−", "-").replace(",", ".").split("±")[0].strip()
    if cleaned in ("in focus", "focus"):
        return 0.0
    match = _DEFOCUS.match(cleaned)
    try:
        if match is None:
            raise ValueError(text)
        size = float(match[1]) * _UNITS_A[match[2] or ""]
    except ValueError:
        raise UnclearValueError(f"defocus {text!r} is unclear: type for example 15 nm underfocus") from None
    return size if (match[3] or "under").startswith("over") else -size


def parse_assignment(name: str, text: str) -> dict[str, Any]:
    """Metadata values from what was typed into the row ``name``; in the row `other` it is NAME = VALUE."""
    if name == "C10":
        return {"C10": parse_defocus(text)}
    if name == "energy_eV" and (match := _ENERGY.match(text.strip().lower())):
        return {"energy_eV": float(match[1]) * 1e3}
    if name == "other":
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UnclearValueError("type NAME = VALUE, for example C30 = 1e7 or energy_eV = 80e3")
        return {key.strip(): as_plain(value)}
    return {name: as_plain(text)}


class CalibrationPanel:
    """Takes the requests of the calibration box and sends them as commands."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def set(self, request: Request) -> None:
        """Give a value."""
        if request.name != "other" and request.name not in EDITABLE:
            return
        try:
            values = parse_assignment(request.name, request.value)
        except UnclearValueError as error:
            self._orders.say(str(error))
            return
        self._orders.send("configure", f"{', '.join(_LABELS.get(n, n) for n in values)} set", values=values)

    def estimate(self, request: Request) -> None:
        """Estimate one quantity, or those that always can be."""
        if request.name in ESTIMABLE:
            self._orders.send("calibrate", f"{_LABELS[request.name]} estimated", names=[request.name])
        else:
            self._orders.send("calibrate", "calibration estimated from the data")

    def undo(self, _request: Request) -> None:
        """Go back one step."""
        self._orders.send("undo", "back to the values before")

    def depth(self, request: Request) -> None:
        """Focus the maps on a plane of the specimen."""
        if len(request.numbers) == 1 and abs(request.numbers[0]) <= MOST_DEPTH_A:
            self._orders.send("configure", f"depth {request.numbers[0]:g} Å", values={"depth_A": request.numbers[0]})

    @staticmethod
    def clips(state: ServerState) -> dict[str, str]:
        """What stands in the field when the pencil is pressed."""
        return {f"edit_{name}": _as_typed(name, state.calibrated(name)) for name in EDITABLE}

    @staticmethod
    def lists(state: ServerState) -> Mapping[str, Any]:
        """Where the depth slider stands."""
        depth = state.calibrated("depth_A")
        return {"depth": float(depth) if isinstance(depth, int | float) else 0.0}


def _as_typed(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "C10" and isinstance(value, int | float):
        return f"{abs(value):g} Å {'overfocus' if value > 0 else 'underfocus'}"
    if name == "energy_eV" and isinstance(value, int | float):
        return f"{value / 1e3:g} kV"
    if isinstance(value, list | tuple):
        return ", ".join(f"{float(v):g}" for v in value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)
