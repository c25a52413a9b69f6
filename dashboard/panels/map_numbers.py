"""Numbers of live maps that viewers may set, below each map: current values, a pencil, and typed input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ptylive.dashboard.client.map_kinds import MapKind
from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.panels.maps import MapPanel
from ptylive.dashboard.requests import Request, decimal_point
from ptylive.schema.errors import did_you_mean

DEFAULT_WORDS = ("auto", "default", "")
"""What to type for the method's default value."""


class UnclearNumberError(ValueError):
    """The typed text cannot be read; the message says what is accepted."""


def parse_numbers(kind: MapKind, text: str) -> dict[str, float | str | None]:
    """Settings METHOD.NAME from typed text: ``epsilon = 0.1, upsample = auto``; a bare value if there is only one.

    Values with a unit stay texts. None: back to the default. Raises UnclearNumberError.
    """
    known = {map_number.key: map_number for map_number in kind.numbers}
    found: dict[str, float | str | None] = {}
    text = text.replace("−", "-").strip()
    parts = [decimal_point(text)] if len(known) == 1 else text.replace(";", ",").split(",")  # here 0,5 is a half
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and len(known) == 1 and part:
            key, value = next(iter(known)), key
        elif not equals or key not in known or known[key].name in found:
            otherwise = f"use {', '.join(f'{name} = number' for name in known)}, or auto"
            near = did_you_mean(key, known, otherwise) if equals and key not in known else otherwise
            raise UnclearNumberError(f"{kind.label}: {near}")
        found[known[key].name] = _value(value)
    return found


def _value(text: str) -> float | str | None:
    if text.lower() in DEFAULT_WORDS:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


class MapNumbers:
    """Handles the text typed below the maps, and shows which numbers are set."""

    def __init__(self, panels: Sequence[MapPanel], orders: Orders) -> None:
        self._panels, self._orders = panels, orders

    def set(self, request: Request) -> None:
        """Set numbers of the map in a panel."""
        if not 0 <= request.panel < len(self._panels):
            return
        kind = self._panels[request.panel].kind
        if not kind.numbers:
            return
        try:
            values = parse_numbers(kind, request.value)
        except UnclearNumberError as error:
            self._orders.say(str(error))
            return
        self._orders.send("map_settings", f"{kind.label}: {', '.join(values)} set", values=values)

    def texts(self, chosen: Mapping[str, float]) -> dict[str, str]:
        """The numbers set for each map, and, as a title, those that may be set."""
        texts = {}
        for panel in self._panels:
            given = [
                f"{map_number.key} {chosen[map_number.name]:g}"
                for map_number in panel.kind.numbers
                if map_number.name in chosen
            ]
            texts[f"map_{panel.index}_numbers"] = " · ".join(given)
            texts[f"map_{panel.index}_numbers_about"] = "\n".join(map_number.words for map_number in panel.kind.numbers)
        return texts

    def clips(self, chosen: Mapping[str, float]) -> dict[str, str]:
        """Texts put into the fields by the pencil."""
        return {f"edit_map_{panel.index}": _as_typed(panel.kind, chosen) for panel in self._panels}


def _as_typed(kind: MapKind, chosen: Mapping[str, float]) -> str:
    return ", ".join(f"{map_number.key} = {map_number.shown(chosen)}" for map_number in kind.numbers)
