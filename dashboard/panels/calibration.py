"""The calibration box: values with their origin, edit, estimate and undo, and the depth in focus."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.readouts import CALIBRATION_ROWS, advice, is_pinned
from ptylive.dashboard.requests import Request, as_plain, decimal_point
from ptylive.dashboard.words import AS_RECORDED, defocus_unit, in_page_words
from ptylive.schema import MetadataError
from ptylive.schema.detector import TERMS_OF_BOTH
from ptylive.schema.errors import brief
from ptylive.schema.plausible import PLAUSIBLE, takes_one_number, understood
from ptylive.schema.units import as_written, number_and_unit, unit_factor

EDITABLE = tuple(name for name, _, _ in CALIBRATION_ROWS if name != "disc_radius_px")
ESTIMABLE = ("rotation_deg", "C10", "C12", "beam_center_px", "descan_px", "detector_pixel_invA", "detector_transform")
"""Rows with a button that discards the given value and estimates it from the data."""
MOST_DEPTH_A = 2000.0
LARGEST_KEV = 5000.0
"""A larger bare number in the row of the energy is in eV, as in files and on the command line."""
_TWO_NUMBERS = ("beam_center_px", "scan_step_A")
_FOCUS = re.compile(r"\b(under|over)[ -]?focus(sed|ed)?$")
_BETWEEN_TWO = re.compile(r" *; *|, +|(?<=\d) (?=[-+]?\d)")
"""What separates two numbers, each of which may have a decimal comma."""
_SETTING = re.compile(r"^settings: [\w.]+: ")
_LABELS = {**{name: label for name, label, _ in CALIBRATION_ROWS}, "C12": "astigmatism"}
_ROW_UNITS = {**{name: unit.strip() for name, _, unit in CALIBRATION_ROWS}, "energy_eV": "keV", "C10": "Å"}
"""Unit of a bare number: the one the row shows. The defocus is shown in a unit that suits its size."""


class UnclearValueError(ValueError):
    """The typed text cannot be read; the message says what is accepted."""


def parse_defocus(text: str, unit: str = "Å") -> float:
    """C10 in Å from what a microscopist types: `150`, `15 nm underfocus`, `-200 Å`; positive is underfocus.

    ``unit``: unit of a bare number.
    """
    stated = re.split("±|, not determined", as_written(text).lower())[0].strip()
    cleaned = _FOCUS.sub(r"\1focus", decimal_point(stated))
    if cleaned in ("in focus", "focus"):
        return 0.0
    *value, last = cleaned.split() or [""]
    if not last.startswith(("under", "over")):
        value, last = [*value, last], "underfocus"
    plain = " ".join(value)
    read = number_and_unit(plain)
    try:
        defocus = understood("defocus_A", f"{plain} {unit}" if read is not None and not read[1] else plain)
    except MetadataError as error:
        unclear = f"defocus {brief(text)} is unclear: for example 15 nm underfocus"
        raise UnclearValueError(unclear if read is None else error.line().replace("defocus_A", "defocus")) from None
    return float(defocus) if last.startswith("over") else -float(defocus)


def parse_assignment(name: str, text: str, defocus_unit: str = "Å") -> dict[str, Any]:
    """Metadata values from the text typed into the row ``name``; in the row `other` it is NAME = VALUE.

    A bare number has the unit the row shows. Raises UnclearValueError for an invalid or implausible value.
    """
    if name == "C10":
        return {"C10": parse_defocus(text, defocus_unit)}
    if name == "detector_transform":
        words = as_written(text)
        named = "+".join(word.strip().replace(" ", "_") for word in words.split("+"))
        return {name: "none" if words.lower() == AS_RECORDED else named}
    if name == "other":
        name, equals, text = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise UnclearValueError("use NAME = VALUE, for example C30 = 1.2 mm or energy_eV = 80 keV")
    elif name in PLAUSIBLE:
        if (values := _only_in_a_row(name, text)) is not None:
            return values
        text = _in_row_unit(name, _with_point(name, text))
    flat = name.rpartition(".")[2]
    if flat not in PLAUSIBLE:
        return {name: as_plain(text)}
    plain = as_plain(text)
    as_typed = isinstance(plain, str) or takes_one_number(flat) or flat == "scan_step_A"
    try:  # several numbers in place of one are judged as typed: that may be a decimal comma
        understood(flat, as_written(text) if as_typed and not isinstance(plain, float) else plain)
    except MetadataError as error:
        raise UnclearValueError(error.line()) from None
    return {name: as_written(text) if isinstance(plain, str) else plain}


def _only_in_a_row(name: str, text: str) -> dict[str, Any] | None:
    """Values of a row that are spelt as a person would, but not as a setting; None if they are as in a setting."""
    if name in _TWO_NUMBERS and len(both := _BETWEEN_TWO.split(as_written(text))) == 2:
        return {name: [_one_number(name, decimal_point(number)) for number in both]}
    if name == "beam_center_px" and len(text.split(",")) != 2:
        raise UnclearValueError(f"{name} needs two numbers, row and column: for example 31.5, 32")
    read = number_and_unit(_with_point(name, text)) if name == "detector_pixel_invA" else None
    if read is not None and read[1] and unit_factor("angle", read[1]) is not None:
        return {"detector_pixel_mrad": as_written(decimal_point(text))}
    return None


def _with_point(name: str, text: str) -> str:
    """The text of a single number with a decimal point; a step can be two numbers, but neither of them is 0."""
    single = takes_one_number(name) or (name == "scan_step_A" and text.lstrip().startswith("0,"))
    return decimal_point(text) if single else text


def _one_number(name: str, text: str) -> float:
    """One of two numbers, in the field's unit. Raises UnclearValueError."""
    try:
        value = understood(name, text)
    except MetadataError as error:
        raise UnclearValueError(error.line()) from None
    numbers = value if isinstance(value, list) else [value]
    return float(numbers[0])


def in_words(name: str, line: str) -> str:
    """A refusal in the words of the page: the label of the row ``name`` in place of the name of its setting."""
    label = _LABELS.get(name)
    return line if label is None else _SETTING.sub(f"{label}: ", line).replace(name, label)


def _in_row_unit(name: str, text: str) -> str:
    """Text typed into a row, with a bare number converted to the field's unit if the row shows another one."""
    cleaned = as_written(text).split("±")[0].strip()
    read, rule = number_and_unit(cleaned), PLAUSIBLE[name]
    shown = unit_factor(rule.kind, _ROW_UNITS[name])
    if name == "energy_eV" and read is not None and not read[1] and read[0] > LARGEST_KEV:
        return f"{read[0]!r} eV"
    if read is None or read[1] or shown is None or shown == rule.factor:
        return cleaned
    return repr(read[0] * shown / rule.factor)


class CalibrationPanel:
    """Handles the requests of the calibration box and sends them as commands."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._defocus_unit = "Å"
        self._refused: dict[str, tuple[str, str]] = {}
        """What was typed into a row and refused, with the reason."""
        self._state: ServerState | None = None

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of requests, by kind."""
        handlers = (self.set, self.estimate, self.pin, self.undo, self.reset, self.depth)
        return {taker.__name__: taker for taker in handlers}

    def set(self, request: Request) -> None:
        """Set a value; a refusal stays next to the row. With the key ``forget``, drop a refused value, or all of them
        where there is no name.
        """
        name = request.name
        if request.key == "forget" and not name:
            self._refused.clear()
        if name != "other" and name not in EDITABLE:
            return
        self._refused.pop(name, None)
        if request.key == "forget":
            return

        def refused(line: str) -> None:
            words = in_words(name, line)
            self._orders.say(words)
            self._refused[name] = (request.value, words)

        try:
            values = parse_assignment(name, request.value, self._defocus_unit)
        except UnclearValueError as error:
            refused(str(error))
            return
        done = f"{', '.join(_LABELS.get(n, n) for n in values)} set"
        self._orders.send("configure", done, on_refusal=refused, values=values)

    def estimate(self, request: Request) -> None:
        """Estimate one quantity, or all those that can always be estimated."""
        self._refused.pop(request.name, None)
        if request.name in ESTIMABLE:
            done = f"{_LABELS[request.name]} is estimated from the data"
            self._orders.send("calibrate", done, self._note_missing, names=[request.name])
        else:
            done = "orientation and beam centre are estimated from the data"
            self._orders.send("calibrate", done, self._note_missing)

    def _note_missing(self, reply: dict[str, Any]) -> None:
        """Say what cannot be estimated; what the data do not show follows in the server's messages."""
        if reasons := dict(reply.get("not_estimated") or {}):
            words = [f"{_LABELS.get(name, name)} cannot be estimated: {why}" for name, why in reasons.items()]
            self._orders.say(in_page_words("; ".join(words)))

    def pin(self, request: Request) -> None:
        """Keep the value of a row for later scans too, or release a value that is already kept."""
        name, state = request.name, self._state
        if name not in EDITABLE or state is None:
            return
        if is_pinned(state, name):
            self._orders.send("release", f"{_LABELS[name]} unpinned: later scans use their own value", names=[name])
        elif (value := state.calibrated(name)) is None:
            self._orders.say(f"{_LABELS[name]} is not known yet: nothing to pin")
        elif name == "descan_px" and isinstance(value, list | tuple) and len(value) > TERMS_OF_BOTH:
            self._orders.say("the lines of this scan jump individually, so its descan does not apply to other scans")
        else:
            values = {name: list(value) if isinstance(value, tuple) else value}
            self._orders.send("configure", f"{_LABELS[name]} pinned: later scans use it too", values=values, pin=True)

    def reset(self, _request: Request) -> None:
        """Return to the values that were sent."""
        self._refused.clear()
        self._orders.send("reset", "the sent values are restored; undo reverts this")

    def undo(self, _request: Request) -> None:
        """Go back one step."""
        self._refused.clear()
        self._orders.send("undo", "the earlier values are restored")

    def depth(self, request: Request) -> None:
        """Focus the maps on a plane of the specimen."""
        if len(request.numbers) == 1 and abs(request.numbers[0]) <= MOST_DEPTH_A:
            self._orders.send("configure", f"depth {request.numbers[0]:g} Å", values={"depth_A": request.numbers[0]})

    def clips(self, state: ServerState) -> dict[str, str]:
        """Texts put into the fields by the pencil, values in the units of their rows; and texts to copy.

        A refused text is put there again.
        """
        if self._state is not None and self._state.uid != state.uid:
            self._refused.clear()
        self._state, shown = state, state.calibrated("C10")
        self._defocus_unit = defocus_unit(float(shown))[0] if isinstance(shown, int | float) else "Å"
        found = advice(state)
        typed = {f"edit_{name}": _as_typed(name, state.calibrated(name)) for name in EDITABLE}
        typed |= {f"edit_{name}": text for name, (text, _) in self._refused.items()}
        return {**typed, "advice": "" if found is None else found.line}

    def lists(self, state: ServerState) -> Mapping[str, Any]:
        """Position of the depth slider, and why typed values were refused, by row."""
        depth = state.calibrated("depth_A")
        position = float(depth) if isinstance(depth, int | float) else 0.0
        return {"depth": position, "refused": {name: line for name, (_, line) in self._refused.items()}}


def _as_typed(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if name == "C10" and isinstance(value, int | float):
        unit, size = defocus_unit(value)
        return f"{abs(value) / size:.6g} {unit} {'overfocus' if value > 0 else 'underfocus'}"
    if name == "energy_eV" and isinstance(value, int | float):
        return f"{value / 1e3:g} kV"
    numbers = value if isinstance(value, list | tuple) else [value]
    if name == "descan_px":
        numbers = numbers[:TERMS_OF_BOTH]
    if name == "scan_step_A" and len(set(numbers)) == 1:
        numbers = numbers[:1]
    return f"{', '.join(f'{float(v):g}' for v in numbers)} {_ROW_UNITS.get(name, '')}".strip()
