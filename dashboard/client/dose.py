"""Resolution gained by the dose of a place, and by more: a line for the stream box, points for a small plot."""

from __future__ import annotations

from typing import Any

from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.words import UNKNOWN, number
from ptylive.schema.advice.dose_curve import DoseCurve, DosePoint, Verdict


def curve_of(state: ServerState) -> DoseCurve | None:
    """The dose curve of the displayed scan; None if it has none or it cannot be parsed."""
    plain = state.dose.curve
    if plain is None:
        return None
    try:
        return DoseCurve.from_plain(plain)
    except (LookupError, TypeError, ValueError, OverflowError):
        return None


def texts(state: ServerState) -> dict[str, str]:
    """The row in the stream box, in short form and as a sentence."""
    curve = curve_of(state)
    if curve is None or not curve.measured:
        return {"enough": UNKNOWN, "enough_line": ""}
    latest, further = curve.measured[-1], [point for point in curve.expected if point.limit_A is not None]
    short = f"{number(latest.limit_A)} Å" if latest.limit_A is not None else "cannot tell"
    if curve.scans > 1:
        short = f"{curve.scans} scans: {short}"
    if curve.verdict is Verdict.CHANGES:
        short = f"{short}; the specimen changes"
    elif latest.finer:
        short = f"{short}, the limit of the scan step"
    elif further:
        last = further[-1]
        short = f"{short}; {last.scans / curve.scans:g} × dose: {number(last.limit_A)} Å"
    return {"enough": short, "enough_line": curve.line}


def points(state: ServerState) -> dict[str, Any]:
    """Points of the plot: scans, limit and its bounds in Å, for measured, predicted and expected values."""
    curve = curve_of(state)
    if curve is None or curve.scans < 2:
        return {"measured": [], "predicted": [], "expected": []}
    by_kind = {"measured": curve.measured, "predicted": curve.predicted, "expected": curve.expected}
    return {name: [_plain(point) for point in kind if point.limit_A is not None] for name, kind in by_kind.items()}


def _plain(point: DosePoint) -> list[float | None]:
    return [point.scans, point.limit_A, point.finest_A, point.coarsest_A]
