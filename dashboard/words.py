"""Numbers and states as text, always with the same width for the same kind of number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from ptylive.schema.maps import InformationLimit

UNKNOWN = "–"
AS_RECORDED = "as recorded"
"""A detector whose patterns are neither flipped nor rotated."""
STATE_WORDS: Mapping[str, str] = {
    "waiting": "WAITING",
    "armed": "ARMED",
    "scanning": "SCANNING",
    "finishing": "FINISHING",
    "complete": "COMPLETE",
    "incomplete": "INCOMPLETE",
    "aborted": "ABORTED",
    "failed": "FAILED",
    "restarting": "RESTARTING",
}
NO_FRAMES = "NO FRAMES"
"""The word for a scan in progress that has been without frames for unusually long."""
REFINEMENT_WORDS: Mapping[str, str] = {
    "none": "not started",
    "queued": "waiting to start",
    "running": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "done": "done",
    "failed": "failed",
}
NOT_CONVERGED = "not converged"
_DEFOCUS_UNITS = (("µm", 1e4, 1e4), ("nm", 10.0, 1e3))
"""Unit, its length in Å, and the smallest defocus given in it."""
_LENGTHS = (("mm", 1e7), ("µm", 1e4), ("nm", 10.0))
LABELS: Mapping[str, str] = {
    "rotation_deg": "scan rotation",
    "C10": "defocus",
    "energy_eV": "energy",
    "convergence_semiangle_mrad": "semi-angle",
    "beam_center_px": "beam centre",
    "disc_radius_px": "disc radius",
    "descan_px": "descan",
    "detector_pixel_invA": "detector pixel",
    "scan_step_A": "scan step",
    "detector_transform": "orientation",
}
"""Metadata name -> label of its row of the calibration."""
_ASSIGNED = r"--set (\w+)=[^\s;,]+"
_GIVE = re.compile(rf"give (?:it with )?{_ASSIGNED}(?:,? {_ASSIGNED})*")
_CALLED: Mapping[str, str] = {**LABELS, "defocus_A": "defocus"}
"""Names that stand in sentences."""
_NAMES = re.compile(rf"\b({'|'.join(_CALLED)})\b(?! ?=)")
_BY_TRIALS = re.compile(r"\b(\w+) (\S+) ± (\S+) by held-out loss, (\S+) before")
_SCANNED: Mapping[str, tuple[str, str]] = {
    "defocus_A": ("defocus", " Å"),
    "total_thickness_A": ("thickness", " Å"),
    "rotation_deg": ("scan rotation", "°"),
    "scan_scale": ("factor of the scan step", ""),
}
"""Label and unit of values that a refinement finds by trials."""
_FOR_THE_COMMAND_LINE = re.compile(r"; a series of tilted parallel beams: ptylive larbed\b| \(queue=true\)")
_HYPHEN_AS_MINUS = re.compile(r"(?<![^\s(\[])-(?=\d)")
"""A hyphen that begins a number; one inside a word, a file name or an assignment is left alone."""
_POWER_OF_TEN = re.compile(r"(?:(?<![\w=.-])|(?<=[\s(\[]-))(\d+(?:\.\d+)?)e([+-])0*(\d+)\b")
"""A number as programs write it; not inside a file name or an assignment that can be typed."""
FIGURE_SPACE = "\u2007"
THIN_SPACE = "\u2009"


def state_word(state: str) -> str:
    """The word next to the state's dot; an unknown state is shown unchanged."""
    return STATE_WORDS.get(state, state.upper() or UNKNOWN)


def refinement_word(state: str, converged: bool | None) -> str:
    """The state of a refinement in words; a run that is done but has not ``converged`` is called that."""
    return NOT_CONVERGED if state == "done" and converged is False else REFINEMENT_WORDS.get(state, state)


def count(value: float | None) -> str:
    """A whole number with thin spaces between thousands."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{round(value):,}".replace(",", THIN_SPACE)


def number(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits and a true minus sign; powers of ten outside 1e-3 … 1e5."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return f"{value:.{_decimals(value, digits)}f}".replace("-", "−")


def with_doubt(value: float, doubt: float, digits: int = 3, decimals: int | None = None) -> str:
    """A value and its standard deviation, as `value ± deviation`, both in one notation where they can be.

    The value has ``digits`` significant digits (or ``decimals``), and more or fewer if the deviation says so.
    """
    if (decimals is None and not 1e-3 <= abs(value) < 1e5) or not 1e-6 <= doubt < 1e5:
        return f"{number(value, digits) if decimals is None else signed(value, decimals)} ± {number(doubt, 2)}"
    least = min(_decimals(value, digits), _decimals(doubt, 2)) if decimals is None else decimals
    exact = max(least, math.ceil(-math.log10(2 * doubt)))
    return f"{signed(value, exact)} ± {doubt:.{_decimals(doubt, 2)}f}"


def _decimals(value: float, digits: int) -> int:
    """Decimals of a number with ``digits`` significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0


def scatter(deviation: float | None, *, at_least: bool = False) -> str:
    """Suffix behind a unit: how far noise scatters a pixel, or at least how far; empty if unknown."""
    if deviation is None:
        return ""
    return f" ± {number(deviation, 2)}{' or more' if at_least else ''}"


def file_size(size: float) -> str:
    """A size in bytes, in the unit that keeps the number between 1 and 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{number(size)}{THIN_SPACE}{unit}"
        size /= 1000
    return f"{number(size)}{THIN_SPACE}TB"


def limits(low: float, high: float) -> tuple[str, str]:
    """The two ends of a colour bar, with as many decimals as their difference warrants."""
    span = abs(high - low)
    if not math.isfinite(span) or span == 0 or not 1e-3 <= max(abs(low), abs(high)) < 1e5:
        return number(low), number(high)
    decimals = max(0, 2 - math.floor(math.log10(span)))
    return signed(low, decimals), signed(high, decimals)


def signed(value: float, decimals: int) -> str:
    """Format with a minus sign as wide as a digit; a value that rounds to zero has none."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def seconds(value: float | None) -> str:
    """A duration as m:ss or h:mm:ss."""
    if value is None or not math.isfinite(value) or value < 0:
        return UNKNOWN
    minutes, secs = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def clock(unix_time: float) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(unix_time).strftime("%H:%M:%S")


def typeset(text: str) -> str:
    """Sentences of the server with numbers as the page writes them (`−0.5`, `1e9`), and in the words of the page."""
    numbers = _POWER_OF_TEN.sub(lambda n: f"{n[1]}e{'' if n[2] == '+' else '−'}{n[3]}", in_page_words(text))
    return _HYPHEN_AS_MINUS.sub("−", numbers)


def in_page_words(text: str) -> str:
    """A sentence that is also said on a command line: fields of the page instead of options, labels instead of names.

    Names with a value (`energy_eV = 80 keV`) stay, since they can be typed like that.
    """
    found = _BY_TRIALS.sub(_found_by_trials, _FOR_THE_COMMAND_LINE.sub("", text))
    found = _GIVE.sub(_fields_to_fill, found)
    return _NAMES.sub(lambda name: _CALLED[name[1]], found)


def _found_by_trials(said: re.Match[str]) -> str:
    name, value, doubt, before = said.groups()
    label, unit = _SCANNED.get(name, (name, ""))
    return f"{label} {value} ± {doubt}{unit} by held-out loss, {before}{unit} before"


def _fields_to_fill(hint: re.Match[str]) -> str:
    names = re.findall(_ASSIGNED, hint[0])
    if not set(names) <= LABELS.keys():
        return hint[0]
    *others, last = [LABELS[name] for name in names]
    labels = f"{', '.join(others)} and {last}" if others else last
    return f"give {labels} under Calibration (✎)"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage of constant width."""
    if fraction is None or not math.isfinite(fraction):
        return UNKNOWN
    return f"{100 * fraction:.0f}{THIN_SPACE}%".rjust(5, FIGURE_SPACE)


def energy(energy_eV: float | None) -> str:
    """A beam energy as an accelerating voltage in kV."""
    return UNKNOWN if energy_eV is None else f"{energy_eV / 1e3:g} kV"


def angle(semiangle_mrad: float | None) -> str:
    """A convergence semi-angle in words."""
    return UNKNOWN if semiangle_mrad is None else f"{semiangle_mrad:.4g} mrad"


def defocus(c10_A: float, uncertainty_A: float | None = None) -> str:
    """C10 in words, in Å below 0.1 µm, nm below 1 µm, otherwise µm; negative C10 is underfocus.

    A defocus of less than half its uncertainty has no direction; one with an infinite uncertainty is not determined.
    """
    if uncertainty_A == math.inf:
        return f"{defocus(c10_A)}, not determined"
    if abs(c10_A) < (0.5 * uncertainty_A if uncertainty_A else 0.05):
        if not uncertainty_A:
            return "in focus"
        unit, size = defocus_unit(uncertainty_A)
        return f"in focus ± {number(uncertainty_A / size, 2)} {unit}"
    unit, size = defocus_unit(c10_A)
    focus = abs(c10_A) / size
    text = with_doubt(focus, uncertainty_A / size) if uncertainty_A else number(focus)
    return f"{text} {unit} {'underfocus' if c10_A < 0 else 'overfocus'}"


def defocus_unit(c10_A: float) -> tuple[str, float]:
    """The unit in which a defocus is given, and its length in Å."""
    return next(((u, s) for u, s, least in _DEFOCUS_UNITS if abs(c10_A) >= least), ("Å", 1.0))


def length(value_A: float, digits: int = 3) -> str:
    """A length in the unit that keeps its number short: Å, nm, µm, mm."""
    unit, size = next(((u, s) for u, s in _LENGTHS if abs(value_A) >= s), ("Å", 1.0))
    return f"{number(value_A / size, digits)} {unit}"


def aberration(name: str, a_A: float, b_A: float = 0.0) -> str:
    """A Krivanek coefficient from its Cartesian parts: `C12 21 Å 30°`, the angle from +row towards +col."""
    order = int(name[2])
    if not order:
        return f"{name} {length(a_A)}"
    return f"{name} {length(math.hypot(a_A, b_A))} {math.degrees(math.atan2(b_A, a_A)) / order:.0f}°".replace("-", "−")


def pair(value: Any, digits: int = 4, *, same_once: bool = False) -> str:
    """One or two numbers as `a` or `a, b`; equal numbers are written once if that is unambiguous."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(set(value)) == 1 and len(value) > 1 and same_once:
            return number(float(value[0]), digits)
        return ", ".join(number(float(v), digits) for v in value)
    return number(float(value), digits)


def file_name(path: str | None) -> str:
    """The last part of a path."""
    return PurePath(path).name if path else UNKNOWN


def recording(path: str | None, state: str, *, wanted: bool) -> str:
    """The file of a scan, and whether it could not be written so far."""
    word = {"failed": "FAILED", "waiting": "WAITS"}.get(state, "")
    if path or not word:
        return f"{word} {file_name(path) if wanted or path else 'off'}".strip()
    return word


def rejected(reasons: Mapping[str, int]) -> str:
    """Counts of rejected messages: the sum, and the reasons, most frequent first."""
    total = sum(reasons.values())
    if total == 0:
        return "0"
    if len(reasons) == 1:
        return f"{count(total)} ({next(iter(reasons))})"
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    return f"{count(total)} ({', '.join(f'{name} {count(number)}' for name, number in ordered)})"


def carried(limit: InformationLimit) -> str:
    """An information limit with its uncertainty."""
    if not limit.is_known:
        return "cannot tell"
    if limit.finer:
        return f"the limit of the scan step ({number(limit.period_A, 3)} Å)"
    return f"{with_doubt(limit.period_A, limit.uncertainty_A)} Å"
