"""One figure of a plan: a value, a verdict, and what to change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ptylive.engine.planning.experiment import Experiment


class Verdict(StrEnum):
    """Judgement of a figure."""

    GOOD = "good"
    QUESTIONED = "questioned"
    BAD = "bad"
    NONE = "–"
    """No judgement: a fact without a threshold."""
    UNKNOWN = "unknown"
    """It depends on a value that was not given."""


@dataclass(frozen=True)
class Rating:
    """Result of a row: the value in the row's unit, the value in words, a verdict, and the remedy."""

    value: float
    text: str
    verdict: Verdict = Verdict.NONE
    remedy: str = ""


@dataclass(frozen=True)
class Figure:
    """A row of the table; ``value`` in ``unit``, None if it is not known."""

    name: str
    title: str
    unit: str
    value: float | None
    text: str
    verdict: Verdict
    remedy: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "title": self.title,
            "value": self.value,
            "unit": self.unit,
            "text": self.text,
            "verdict": str(self.verdict),
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Row:
    """How a figure is computed: ``needs`` are the names (docs/conventions.md) of the values that it depends on."""

    name: str
    title: str
    unit: str
    needs: tuple[str, ...]
    rate: Callable[[Experiment], Rating]

    def of(self, experiment: Experiment) -> Figure:
        """Return the figure of an experiment; if a value is unknown, the remedy names it."""
        lacking = experiment.lacking(self.needs)
        if lacking:
            return Figure(
                self.name, self.title, self.unit, None, "not known", Verdict.UNKNOWN, f"give {listed(lacking)}"
            )
        rating = self.rate(experiment)
        remedy = rating.remedy if rating.verdict not in (Verdict.GOOD, Verdict.NONE) else ""
        return Figure(self.name, self.title, self.unit, rating.value, rating.text, rating.verdict, remedy)


def listed(names: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)


def graded(*, good: bool, bad: bool = False) -> Verdict:
    """Return good, bad, or questioned."""
    return Verdict.GOOD if good else Verdict.BAD if bad else Verdict.QUESTIONED


def percent(share: float) -> str:
    """Return `72 %`; ten times and more is written as a multiple, `25 times`."""
    return f"{100 * share:.0f} %" if share < 10 else f"{number_text(share)} times"


def size_text(size_bytes: float) -> str:
    """Return `34.4 GB`, with three digits; 1 GB is 1e9 bytes, as on a disk."""
    units = ("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)
    name, factor = next((unit for unit in reversed(units) if size_bytes >= unit[1]), units[0])
    return f"{size_bytes / factor:.3g} {name}"


def time_text(seconds: float) -> str:
    """Return `6.55 s`, `43.7 min` from ten minutes on, `5 h` from three hours on, `20 ms` and `3 µs` below a tenth."""
    units = ("µs", 1e-6, 0.0), ("ms", 1e-3, 1e-4), ("s", 1.0, 0.1), ("min", 60.0, 600.0), ("h", 3600.0, 10800.0)
    name, size, _ = next(unit for unit in reversed(units) if seconds >= unit[2])
    return f"{number_text(seconds / size)} {name}"


def number_text(number: float) -> str:
    """Return three digits: `6.24e+03` is written as `6240`, with an exponent from ten million on."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:.0f}" if 100 <= rounded < 1e7 else f"{rounded:.3g}"
