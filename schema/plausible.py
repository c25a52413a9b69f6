"""Which values are accepted, questioned or refused, and in which units they may be written.

One table for every place where a value of the experiment is entered: ``--set``, TOML, the page, commands, stream
headers and files. A bare number is in the unit of the field; one that is possible but unusual is questioned, because
its likeliest cause is a wrong unit (80 for 80 keV). The same value with its unit written out is the answer, and is
accepted. Values of streams and files are accepted if possible, and the question is shown next to the scan.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError
from ptylive.schema.units import UNITS, as_written, kind_of_unit, number_and_unit, unit_factor

UNEQUAL_STEPS = 4.0
"""Steps along rows and columns whose ratio exceeds this are questioned: `1,25` may be a decimal comma."""
IN_METRES = (1e-9, 1e-5)
"""Size of a defocus in Å which is far below any uncertainty, and usual if its unit were the metre."""
_SIGN_WORDS = {"under": 1.0, "underfocus": 1.0, "over": -1.0, "overfocus": -1.0}
"""Words after a defocus; the sign is that of ``defocus_A``."""


@dataclass(frozen=True)
class Plausible:
    """Prior knowledge about the size of a value.

    ``usual`` and ``possible``: magnitudes in ``unit`` that are accepted, and that are not refused. ``signed``: zero and
    negative values are meaningful.
    """

    kind: str
    unit: str
    usual: tuple[float, float]
    possible: tuple[float, float]
    signed: bool = False

    @property
    def factor(self) -> float:
        """Size of one ``unit`` in the program's unit of this kind; they differ for rotations, kept in degrees."""
        return unit_factor(self.kind, self.unit) or 1.0

    def holds(self, value: float, span: tuple[float, float]) -> bool:
        """Whether the magnitude of a value lies in a span; zero and negative ones only where they are meaningful."""
        if not math.isfinite(value) or (value <= 0 and not self.signed):
            return False
        return span[0] <= abs(value) <= span[1] or (value == 0 and self.signed)


def _length(usual: tuple[float, float], possible: tuple[float, float]) -> Plausible:
    return Plausible("length", "Å", usual, possible)


def _signed_length(usual: float, possible: float) -> Plausible:
    return Plausible("length", "Å", (0.0, usual), (0.0, possible), signed=True)


_ROTATION = Plausible("angle", "°", (0.0, 360.0), (0.0, 3600.0), signed=True)
_FRAMES = Plausible("number", "", (0.0, 1e4), (0.0, 2.0**31), signed=True)
_ASTIGMATISM, _COMA, _THIRD = _signed_length(1e5, 1e8), _signed_length(1e6, 1e10), _signed_length(1e8, 1e11)

PLAUSIBLE: Mapping[str, Plausible] = {
    "energy_eV": Plausible("energy", "eV", (1e3, 5e6), (10.0, 1e7)),
    "convergence_semiangle_mrad": Plausible("angle", "mrad", (0.05, 300.0), (1e-3, 600.0)),
    "scan_step_A": _length((0.01, 1e5), (1e-4, 1e7)),
    "field_of_view_A": _length((0.5, 1e8), (1e-3, 1e9)),
    "scan_matrix": _signed_length(1e5, 1e7),
    "rotation_deg": _ROTATION,
    "depth_A": _signed_length(1e4, 1e7),
    "defocus_A": _signed_length(1e6, 1e8),
    "astigmatism_A": _ASTIGMATISM,
    "astigmatism_deg": _ROTATION,
    "Cs_A": _THIRD,
    "C10": _signed_length(1e6, 1e8),
    **dict.fromkeys(("C12a", "C12b"), _ASTIGMATISM),
    **dict.fromkeys(("C21a", "C21b", "C23a", "C23b"), _COMA),
    **dict.fromkeys(("C30", "C32a", "C32b", "C34a", "C34b"), _THIRD),
    "detector_pixel_mrad": Plausible("angle", "mrad", (1e-4, 50.0), (1e-6, 200.0)),
    "detector_pixel_invA": Plausible("frequency", "1/Å", (1e-5, 2.0), (1e-7, 10.0)),
    "beam_center_px": Plausible("pixels", "px", (0.0, 1e5), (0.0, 1e6), signed=True),
    "descan_px": Plausible("pixels", "px", (0.0, 200.0), (0.0, 1e5), signed=True),
    "distortion": Plausible("number", "", (0.0, 0.2), (0.0, 0.3), signed=True),
    "dwell_time_us": Plausible("time", "µs", (1e-2, 1e8), (1e-3, 1e9)),
    "beam_current": Plausible("number", "", (0.1, 10.0), (1e-6, 1e6)),
    "counts_per_electron": Plausible("number", "", (1e-8, 1e6), (1e-9, 1e12)),
    "saturation_value": Plausible("number", "", (1.0, 2.0**64), (1e-30, 1e38)),
    "cluster_time_us": Plausible("time", "µs", (1e-3, 10.0), (1e-6, 1e6)),
    "flyback_frames": _FRAMES,
    "skip_first": Plausible("number", "", (0.0, 1e7), (0.0, 2.0**31), signed=True),
    "repeats": Plausible("number", "", (1.0, 1e4), (1.0, 2.0**31)),
}
"""Metadata name -> unit, and magnitudes that are accepted and that are possible.

The most powerful electron microscopes have 3 MeV; 10 MeV leaves room for those of accelerators. Scanning microscopes
go below 1 keV: such an energy is questioned, and accepted with its unit. Lorentz lenses have a defocus of millimetres.
"""

PLANNED: Mapping[str, Plausible] = {
    "beam_current_pA": Plausible("current", "pA", (1e-3, 1e5), (1e-6, 1e7)),
    "dose_e_per_A2": Plausible("dose", "e/Å²", (1e-3, 1e9), (1e-9, 1e12)),
    "thickness_A": _length((1.0, 1e4), (0.01, 1e7)),
}
"""Like PLAUSIBLE, for values that belong to the plan of an experiment and are in no file (docs/planning.md)."""
_RULES = {**PLAUSIBLE, **PLANNED}


def understood(name: str, value: Any, *, ask: bool = True) -> Any:
    """Return a value in the field's unit: a float, or nested lists of floats. A non-quantity is returned unchanged.

    ``ask``: refuse a bare number that is possible but unusual. Raises MetadataError naming field and remedy.
    """
    rule = _RULES.get(name)
    if rule is None or value is None:
        return value
    written_out: list[bool] = []
    found = _converted(name, rule, value, written_out)
    pair = _WHOLE_PAIR.fullmatch(as_written(value)) if isinstance(value, str) and name == "scan_step_A" else None
    if ask and pair is not None:
        raise MetadataError(f"{name} = {value[:60]} may be one number or two", _pair_answers(pair[1], pair[2], pair[3]))
    refused = refusal(name, found, guess=not any(written_out))
    if refused:
        raise MetadataError(*refused)
    doubt = question(name, found) if ask and not any(written_out) else ""
    if doubt:
        raise MetadataError(doubt, _answers(rule, found))
    return found


def refusal(name: str, value: Any, *, guess: bool = True) -> tuple[str, str] | None:
    """Why a value in the field's unit is impossible, and what is possible; None if it is possible.

    ``guess``: ask for the unit in which the same number would be ordinary.
    """
    rule = _RULES[name]
    wrong = next((v for v in _flat(value) if not rule.holds(v, rule.possible)), None)
    if wrong is None:
        return None
    unit = _likelier_unit(wrong, rule) if guess else ""
    meant = f" (did you mean {wrong:g} {unit}?)" if unit else ""
    sign = "up to ±" if rule.signed else f"from {spoken(rule.possible[0], rule)} to "
    return (
        f"{name} = {spoken(wrong, rule)} is impossible{meant}",
        f"it can be {sign}{spoken(rule.possible[1], rule)}; correct the value or leave it out",
    )


def question(name: str, value: Any) -> str:
    """Question about a value in the field's unit that is possible but unusual; empty for an ordinary one."""
    rule = _RULES[name]
    numbers = _flat(value)
    odd = next((v for v in numbers if not rule.holds(v, rule.usual)), None)
    if odd is None:
        if name == "scan_step_A" and len(numbers) == 2 and max(numbers) > UNEQUAL_STEPS * min(numbers):
            return f"{name} = {numbers[0]:g}, {numbers[1]:g} Å are very unequal steps of rows and columns: intended?"
        if name in ("defocus_A", "C10") and len(numbers) == 1 and IN_METRES[0] <= abs(numbers[0]) <= IN_METRES[1]:
            return f"{name} = {spoken(numbers[0], rule)}? did you mean {numbers[0]:g} m?"
        return ""
    unit = _likelier_unit(odd, rule)
    return f"{name} = {spoken(odd, rule)}?" + (f" did you mean {odd:g} {unit}?" if unit else " this is unusual")


def spoken(value: float, rule: Plausible) -> str:
    """Format a value with its unit."""
    return f"{value:.6g} {rule.unit}".strip()


def _flat(value: Any) -> list[float]:
    return [float(v) for v in np.asarray(value, dtype=float).ravel()]


def _likelier_unit(value: float, rule: Plausible) -> str:
    """The unit in which the same number would be the most ordinary value; empty where there is none."""
    if rule.signed:
        return ""
    middle = math.sqrt(rule.usual[0] * rule.usual[1])
    known = {unit: value * factor / rule.factor for unit, factor in UNITS[rule.kind].items()}
    usual = {unit: abs(math.log(v / middle)) for unit, v in known.items() if rule.holds(v, rule.usual)}
    return min(usual, key=lambda unit: usual[unit], default="")


def _answers(rule: Plausible, value: Any) -> str:
    numbers = _flat(value)
    odd = next((v for v in numbers if not rule.holds(v, rule.usual)), None)
    if odd is None and len(numbers) == 1:  # a defocus in metres
        return f"write the unit: '{numbers[0]:g} m', or '{numbers[0]:g} {rule.unit}' if that is right"
    if odd is None:  # two unequal steps, each of them usual
        return _pair_answers(*(f"{v:g}" for v in numbers))
    if not rule.unit:
        return "correct the value"
    unit = _likelier_unit(odd, rule)
    meant = f"'{odd:g} {unit}', or " if unit else ""
    return f"write the unit: {meant}'{odd:g} {rule.unit}' if that is right"


def may_be_one_number(name: str, text: str) -> bool:
    """Whether a comma in a step separates two whole numbers or is a decimal comma: `12,5`."""
    return name == "scan_step_A" and _WHOLE_PAIR.fullmatch(as_written(text)) is not None


def _pair_answers(row: str, col: str, unit: str = "") -> str:
    unit = unit or "Å"
    one = f"'{row}.{col} {unit}' for one" if f"{row}{col}".isdecimal() else "one number without a comma"
    return f"write '{row} {unit}, {col} {unit}' for two steps, or {one}"


def _converted(name: str, rule: Plausible, value: Any, written_out: list[bool]) -> Any:
    """Numbers in the rule's unit; for each, whether a unit was written is appended to ``written_out``."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return _of_text(name, rule, value, written_out)
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO":
        value = value.tolist()
    if isinstance(value, list | tuple):
        if name in _LISTS:
            value = [part for item in value for part in (item if isinstance(item, list | tuple) else (item,))]
        _check_comma(name, value)
        return [_converted(name, rule, part, written_out) for part in value]
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise MetadataError(f"{name} = {str(value)[:60]} is not a number", f"for example {_example(rule)}") from None
    written_out.append(False)
    if rule.kind == "number" and numbers.ndim == 0:
        return value if math.isfinite(numbers) else float(numbers)
    return float(numbers.ravel()[0]) if numbers.size == 1 and name not in _LISTS else numbers.tolist()


_WHOLE_PAIR = re.compile(r"(\d+),(\d+) ?([^\d,]*)")
"""Two whole numbers, or one with a decimal comma."""
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_DECIMALS = re.compile(r"\d+(?![\d.]).*")
_LISTS = ("beam_center_px", "beam_current", "descan_px", "distortion", "scan_matrix")


def _with_one_unit(parts: list[str]) -> list[str]:
    """A unit that is written once applies to all numbers of a list: `0.3, 0.4 nm`."""
    read = [number_and_unit(part) for part in parts]
    units = [found[1] for found in read if found and found[1]]
    return [f"{part} {units[0]}" if len(units) == 1 and part[-1:].isdecimal() else part for part in parts]


def _check_comma(name: str, value: list[Any] | tuple[Any, ...]) -> None:
    """A list in place of one number is mostly a decimal comma; so is `0,1 nm`. Raises MetadataError."""
    parts = [str(part).strip() for part in value]
    comma = len(parts) == 2 and (name not in ("scan_step_A", *_LISTS) or parts[0] == "0")
    if comma or (len(parts) != 2 and name not in _LISTS):
        point = comma and _DECIMALS.fullmatch(parts[1]) is not None
        hint = f"write a decimal point: {parts[0]}.{parts[1]}" if point else _how_many(name)
        if thousands(",".join(parts)):
            hint = f"write {''.join(parts)} without a comma" + (f", or {hint}" if point else "")
        raise MetadataError(f"{name} = {','.join(parts)[:60]} is not a single number", hint)


def _how_many(name: str) -> str:
    return "give one number" if takes_one_number(name) else "give one number, or two (rows, columns)"


def takes_one_number(name: str) -> bool:
    """Whether a value of this name is a single number."""
    return name in _RULES and name not in (*_LISTS, "scan_step_A", "field_of_view_A")


def thousands(text: str) -> bool:
    """Whether commas separate groups of three digits."""
    return _THOUSANDS.fullmatch(text) is not None


def _of_text(name: str, rule: Plausible, text: str, written_out: list[bool]) -> Any:
    plain = as_written(text)
    if "," in plain:
        parts = [part.strip() for part in plain.split(",")]
        _check_comma(name, parts)
        return [_converted(name, rule, part, written_out) for part in _with_one_unit(parts)]
    sign, words = 1.0, plain.split()
    if name in ("defocus_A", "C10") and words and words[-1].lower() in _SIGN_WORDS:
        sign = _SIGN_WORDS[words[-1].lower()] * (1.0 if name == "defocus_A" else -1.0)
        plain = " ".join(words[:-1])
    read = number_and_unit(plain)
    if read is None:
        raise MetadataError(f"{name} = {text[:60]!r} is not a number", f"for example {_example(rule)}")
    number, unit = read
    factor = unit_factor(rule.kind, unit) if unit else rule.factor
    if factor is None and unit[0].isdecimal():
        raise MetadataError(f"{name} = {text[:60]!r} is not a single number", "write it without a space")
    if factor is None:
        known = kind_of_unit(unit)
        belongs = f"; it is one for {_KIND_WORDS[known]}" if known else ""
        choices = ", ".join(list(UNITS[rule.kind])[:8]) or "no unit"
        raise MetadataError(
            f"{name}: {unit[:20]!r} is not a unit for {_KIND_WORDS[rule.kind]}{belongs}", f"use {choices}"
        )
    written_out.append(bool(unit))
    return sign * number * (factor / rule.factor)  # exact in the field's own unit


_KIND_WORDS = {
    "energy": "an energy",
    "length": "a length",
    "frequency": "a spatial frequency",
    "angle": "an angle",
    "time": "a time",
    "current": "a current",
    "dose": "a dose",
    "pixels": "a position on the detector",
    "number": "a plain number",
}
_EXAMPLES = {
    "energy": "'80 keV'",
    "length": "'0.3 Å' or '0.03 nm'",
    "frequency": "'0.02 1/Å'",
    "angle": "'25 mrad'",
    "time": "'10 µs'",
    "current": "'10 pA'",
    "dose": "'1e4 e/Å²'",
    "pixels": "31.5,32",
    "number": "12",
}


def _example(rule: Plausible) -> str:
    return "'-12.5 °'" if rule.unit == "°" else _EXAMPLES[rule.kind]
