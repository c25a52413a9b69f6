"""The form of values to vary: a line for each of the usual values, and one for all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ptylive.dashboard.requests import decimal_point
from ptylive.schema import MetadataError
from ptylive.schema.errors import brief
from ptylive.schema.settings_text import read_json

OTHERS, TRIALS = "others", "trials"
MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Varied:
    """A line of the form."""

    name: str
    label: str
    unit: str
    help: str


VARIED: tuple[Varied, ...] = (
    Varied("defocus", "defocus", "Å", "defocus at the entrance surface, positive for underfocus"),
    Varied("thickness", "thickness", "Å", "needs a thickness in the Refine view, or a range here"),
    Varied("num_slices", "slices", "", "number of slices of the specimen"),
    Varied("semi-angle", "semi-angle", "mrad", "convergence semi-angle of the probe"),
    Varied("tilt", "tilt", "mrad", "tilt of the specimen, both axes"),
    Varied("astigmatism", "astigmatism", "Å", "twofold astigmatism, both components"),
    Varied("rotation", "rotation", "°", "rotation between scan and detector"),
    Varied("scale", "scan scale", "", "true scan step divided by the nominal step"),
)


@dataclass(frozen=True)
class TuneForm:
    """The tune form. ``rows``: low and high of each ticked line, as typed; both empty: the suggested range."""

    rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    others: str = ""
    trials: str = ""

    def number_of_trials(self) -> int | None:
        """Number of trials; None if that is left to the server, or is not a number."""
        text = self.trials.strip()
        return int(text) if text.isdecimal() and 1 <= int(text) <= MOST_TRIALS else None

    def checked(self) -> tuple[list[str], dict[str, str]]:
        """What to vary, as the server accepts it, and what is wrong, by field; empty if nothing is."""
        from ptylive.application.tuning.ranges import parse_over

        over, wrong = [], {}
        for name, (low, high) in self.rows.items():
            try:
                if bool(low.strip()) != bool(high.strip()):
                    raise MetadataError(
                        "one end of the range is missing", "give both, or neither for an automatic range"
                    )
                ends = [_one_number(end) for end in (low, high)]
                text = f"{name}={ends[0]}:{ends[1]}" if ends[0] else name
                parse_over([text])
                over.append(text)
            except MetadataError as error:
                wrong[name] = _message(error)
        try:
            if self.others.strip():
                parse_over([self.others])
                over += [part.strip() for part in self.others.split(",") if part.strip()]
            elif not over and not wrong:
                raise MetadataError("nothing to vary", "tick a value")
            if not wrong and over:
                parse_over(over)
        except MetadataError as error:
            wrong[OTHERS] = _message(error)
        if self.trials.strip() and self.number_of_trials() is None:
            wrong[TRIALS] = f"give a whole number from 1 to {MOST_TRIALS}"
        return over, wrong


def form_of(text: str) -> TuneForm:
    """Parse the form that the page sent; the browser is not trusted, so what is not understood is left out."""
    try:
        plain = read_json(text or "{}", "the form")
    except (MetadataError, ValueError):
        return TuneForm()
    if not isinstance(plain, dict):
        return TuneForm()
    known = {varied.name for varied in VARIED}
    rows = plain.get("rows")
    known_rows = {name: ends for name, ends in rows.items() if name in known} if isinstance(rows, dict) else {}
    return TuneForm(
        {name: (ends[0], ends[1]) for name, ends in known_rows.items() if _is_pair(ends)},
        _text(plain.get(OTHERS)),
        _text(plain.get(TRIALS)),
    )


def _is_pair(ends: Any) -> bool:
    return isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, str) for end in ends)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _one_number(text: str) -> str:
    """One end of a range with a decimal point. Raises MetadataError for several numbers: a comma separates values."""
    plain = decimal_point(text.strip())
    if set(",;:") & set(plain):
        raise MetadataError(f"{brief(plain)} is not a single number", "write a decimal point, and no other sign")
    return plain


def _message(error: MetadataError) -> str:
    return error.line().removeprefix("--over ")
