"""A tuning as plain values, for a viewer that shows trials as they arrive; also stored in a file next to them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.application.tuning.landscape import Landscape
from ptylive.application.tuning.outcome import Outcome
from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.trials import FinishedTrial, filled
from ptylive.application.tuning.tunables import Kind
from ptylive.schema import InputFileError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.small_files import read_text

SUMMARY_FILE = "tuned.json"
MOST_BYTES = 4 * 2**20
MOST_TRIALS = 500
"""The last trials, in the order they ended; all trials are in the files of the tuning."""
POINTS = 41
"""Points of a curve over a range."""


def standing(over: Sequence[Range], tried: Sequence[FinishedTrial]) -> dict[str, Any]:
    """The varied values, and the ended trials: number, state, values, loss, seconds and the reason of a failure."""
    values = [{"name": item.name, "title": item.title, "unit": item.unit, "kind": str(item.kind)} for item in over]
    trials = [
        {
            "number": item.number,
            "state": item.state,
            "values": [item.values.get(value_range.name) for value_range in over],
            "loss": _finite(item.last),
            "seconds": item.seconds,
            "reason": item.reason,
        }
        for item in tried[-MOST_TRIALS:]
    ]
    return {"values": values, "trials": trials, "ended": len(tried)}


def curves(over: Sequence[Range], tried: Sequence[FinishedTrial], sweeps: int) -> list[dict[str, Any]]:
    """For each value that is a number: the loss over its range, minimised over everything else.

    ``share``: relative excess over the lowest point of the landscape; ``deviation``: standard deviation of ``share``.
    Empty if fewer than three trials ran to the end.
    """
    trials, groups = filled(tried, sweeps)
    if len(trials) < 3:
        return []
    landscape = Landscape.of(over, [item.values for item in trials], groups)
    lowest = landscape.lowest()
    curves_found = []
    for k, item in enumerate(over):
        if item.kind == Kind.CHOICE:
            continue
        places = np.linspace(0, 1, POINTS)
        line = [landscape.rise(landscape.lowest({k: float(place)}), lowest) for place in places]
        rise, deviation = np.array(line).T
        share, spread = landscape.shares(np.maximum(rise, 0.0), deviation)
        values = [float(item.value(float(place))) for place in places]
        curves_found.append({"name": item.name, "at": values, "share": share.tolist(), "deviation": spread.tolist()})
    return curves_found


def findings(outcome: Outcome) -> dict[str, Any]:
    """The findings: sentences, and for each value the best, its uncertainty, or that it is undetermined."""
    estimates = () if outcome.findings is None else outcome.findings.estimates
    return {
        "sentences": list(outcome.sentences),
        "estimates": [
            {
                "name": estimate.range.name,
                "title": estimate.range.title,
                "best": estimate.best,
                "deviation": estimate.deviation,
                "told": estimate.told,
                "sentence": estimate.sentence,
            }
            for estimate in estimates
        ],
    }


def keep(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the values next to the trials. Raises OSError."""
    with replacing(folder / SUMMARY_FILE) as temporary:
        temporary.write_text(json.dumps(dict(report), default=float), encoding="utf-8")


def kept(folder: Path) -> dict[str, Any]:
    """Return the values written by :func:`keep`; empty if there is no readable file."""
    try:
        report = json.loads(read_text(folder / SUMMARY_FILE, MOST_BYTES))
    except (InputFileError, OSError, ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
