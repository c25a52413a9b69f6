"""Remarks on a scan: implausible values that were accepted, and counts that are not finite."""

from __future__ import annotations

from ptylive.schema import Calibration, ScanHeader
from ptylive.schema.detector import MOST_COUNTS
from ptylive.schema.metadata import questions


def remarks(told: ScanHeader, header: ScanHeader, calibration: Calibration) -> list[str]:
    """A sentence each. ``told``: as sender or file told it; ``header``: with a user's values, which are meant."""
    asked = set(questions(header))
    out = [f"is this right? {text}" for text in questions(told) if text in asked]
    masked = calibration.get("masked_counts")
    if masked:
        verb = "count is no number" if masked == 1 else "counts are no numbers"
        out.append(f"{int(masked)} {verb} up to {MOST_COUNTS:.0e}: taken as 0")
    return out
