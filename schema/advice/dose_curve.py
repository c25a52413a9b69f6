"""Growth of the information limit of a place with the dose, and the effect of further dose, in numbers and words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

MOST_POINTS = 64


class Verdict(StrEnum):
    """What the scans of a place show."""

    ONE_SCAN = "one scan"
    STEADY = "steady"
    CHANGES = "changes"


@dataclass(frozen=True)
class DosePoint:
    """Finest period after ``scans`` scans with together ``dose`` electrons (or counts) per Å²; None: not known.

    limit_A, finest_A, coarsest_A: None where no measurable signal is carried; the last two enclose the limit in 19 of
    20 cases. ``finer``: everything that the step can show is surely carried.
    """

    scans: float
    dose: float | None = None
    limit_A: float | None = None
    finest_A: float | None = None
    coarsest_A: float | None = None
    finer: bool = False

    @property
    def words(self) -> str:
        """`1.21 Å (1.15 to 1.30)`; empty where nothing is known."""
        if self.limit_A is None:
            return ""
        more = "or finer" if self.finer else f"{_number(self.finest_A)} to {_number(self.coarsest_A)}"
        return f"{_number(self.limit_A)} Å ({more})"

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Inverse of `asdict`. Raises LookupError, TypeError, ValueError for invalid input."""
        numbers = {name: _finite(plain.get(name)) for name in ("dose", "limit_A", "finest_A", "coarsest_A")}
        scans = _finite(plain["scans"])
        if scans is None:
            raise ValueError("a point of the dose curve has no number of scans")
        return cls(scans=scans, finer=bool(plain.get("finer")), **numbers)


@dataclass(frozen=True)
class DoseCurve:
    """Dose curve of the scans of one place, in the order of acquisition.

    ``measured``: after each scan, on the aligned sum of all scans so far; ``predicted``: expectation for these from the
    first scan alone; ``expected``: with twice and four times the total dose, from the sum, empty where the scans
    change. ``fading``, ``drifting``: share of the signal lost with every scan, and share by which scans differ more for
    each scan between them, each with its standard error (0, inf) where not known. ``agreement``: of the newest scan
    with the others, and its standard error. ``apart``: why the newest scan was not added to those before it.
    ``shift_A``: of the newest scan against the first.
    """

    map: str
    series: tuple[str, ...]
    unit: str
    measured: tuple[DosePoint, ...]
    predicted: tuple[DosePoint, ...]
    expected: tuple[DosePoint, ...]
    verdict: Verdict = Verdict.ONE_SCAN
    fading: tuple[float, float] = (0.0, math.inf)
    drifting: tuple[float, float] = (0.0, math.inf)
    agreement: tuple[float, float] = (1.0, math.inf)
    shift_A: tuple[float, float] = (0.0, 0.0)
    apart: str = ""

    @property
    def scans(self) -> int:
        """Number of scans that were added up."""
        return len(self.series)

    @property
    def line(self) -> str:
        """The dose curve in one sentence."""
        now = self.measured[-1] if self.measured else DosePoint(0)
        many = "one scan" if self.scans == 1 else f"{self.scans} scans of one place"
        limit = f"information limit {now.words}" if now.words else "the information limit cannot be determined"
        further = [f"{point.scans / self.scans:g} × the dose {point.words}" for point in self.expected if point.words]
        more = f"with {', '.join(further)}" if further else ""
        if now.finer:
            more = "all that the scan step can show: more dose gains nothing"
        if self.verdict is Verdict.CHANGES:
            more = f"{self._change}: damage, contamination or another focus, and more dose gains less than it should"
        return "; ".join(filter(None, (f"{many}: {limit}", more, self.apart)))

    @property
    def _change(self) -> str:
        """Evidence that the scans are not of one unchanged object."""
        fading, drifting = self.fading, self.drifting
        if abs(fading[0]) / fading[1] >= abs(drifting[0]) / drifting[1] and math.isfinite(fading[1]):
            word = "fades" if fading[0] > 0 else "grows"
            return f"the signal {word} by {_percent(*fading)} a scan"
        if math.isfinite(drifting[1]):
            return f"scans differ by {_percent(*drifting)} more with every scan between them"
        return f"the scans agree only by {_percent(*self.agreement)}"

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for events and JSON, including the sentence; unknown values are None."""
        pairs = {name: [_finite(v) for v in getattr(self, name)] for name in ("fading", "drifting", "agreement")}
        points = {name: [asdict(p) for p in getattr(self, name)] for name in ("measured", "predicted", "expected")}
        return {
            "map": self.map,
            "series": list(self.series),
            "unit": self.unit,
            **points,
            "verdict": str(self.verdict),
            **pairs,
            "shift_A": list(self.shift_A),
            "apart": self.apart,
            "line": self.line,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`. Raises LookupError, TypeError, ValueError for invalid input."""
        points = {
            name: tuple(DosePoint.from_plain(p) for p in list(plain[name])[:MOST_POINTS])
            for name in ("measured", "predicted", "expected")
        }
        return cls(
            map=str(plain["map"]),
            series=tuple(str(label) for label in list(plain["series"])[:MOST_POINTS]),
            unit=str(plain["unit"]),
            **points,
            verdict=Verdict(plain["verdict"]),
            fading=_pair(plain["fading"]),
            drifting=_pair(plain["drifting"]),
            agreement=_pair(plain["agreement"]),
            shift_A=(float(plain["shift_A"][0]), float(plain["shift_A"][1])),
            apart=str(plain.get("apart") or ""),
        )


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)


def _pair(plain: Any) -> tuple[float, float]:
    value, doubt = plain
    return float(value), math.inf if doubt is None else float(doubt)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def _percent(share: float, doubt: float) -> str:
    places = 0 if doubt >= 0.0095 else 1
    return f"{100 * abs(share):.{places}f} ± {100 * doubt:.{places}f} %"
