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
from ptylive.application.tuning.trials import Tried, filled
from ptylive.application.tuning.tunables import Kind
from ptylive.schema import InputFileError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.small_files import read_text

TOLD_FILE = "tuned.json"
MOST_BYTES = 4 * 2**20
MOST_TRIALS = 500
"""The last trials, in the order they ended; all trials are in the files of the tuning."""
POINTS = 41
"""Points of a curve over a range."""


def standing(over: Sequence[Range], tried: Sequence[Tried]) -> dict[str, Any]:
    """The varied values, and the ended trials: number, state, values, loss, seconds and the reason of a failure."""
    values = [{"name": one.name, "title": one.title, "unit": one.unit, "kind": str(one.kind)} for one in over]
    trials = [
        {
            "number": one.number,
            "state": one.state,
            "values": [one.values.get(each.name) for each in over],
            "loss": _finite(one.last),
            "seconds": one.seconds,
            "reason": one.reason,
        }
        for one in tried[-MOST_TRIALS:]
    ]
    return {"values": values, "trials": trials, "ended": len(tried)}


def curves(over: Sequence[Range], tried: Sequence[Tried], sweeps: int) -> list[dict[str, Any]]:
    """For each value that is a number: the loss over its range, minimised over everything else.

    ``share``: relative excess over the lowest point of the landscape; ``deviation``: standard deviation of ``share``.
    Empty if fewer than three trials ran to the end.
    """
    there, groups = filled(tried, sweeps)
    if len(there) < 3:
        return []
    landscape = Landscape.of(over, [one.values for one in there], groups)
    lowest = landscape.lowest()
    found = []
    for k, one in enumerate(over):
        if one.kind == Kind.CHOICE:
            continue
        places = np.linspace(0, 1, POINTS)
        line = [landscape.rise(landscape.lowest({k: float(place)}), lowest) for place in places]
        rise, deviation = np.array(line).T
        share, spread = landscape.shares(np.maximum(rise, 0.0), deviation)
        values = [float(one.value(float(place))) for place in places]
        found.append({"name": one.name, "at": values, "share": share.tolist(), "deviation": spread.tolist()})
    return found


def findings(found: Outcome) -> dict[str, Any]:
    """The findings: sentences, and for each value the best, its uncertainty, or that it is undetermined."""
    estimates = () if found.findings is None else found.findings.estimates
    return {
        "sentences": list(found.sentences),
        "estimates": [
            {
                "name": one.range.name,
                "title": one.range.title,
                "best": one.best,
                "deviation": one.deviation,
                "told": one.told,
                "sentence": one.sentence,
            }
            for one in estimates
        ],
    }


def keep(folder: Path, told: Mapping[str, Any]) -> None:
    """Write the values next to the trials. Raises OSError."""
    with replacing(folder / TOLD_FILE) as temporary:
        temporary.write_text(json.dumps(dict(told), default=float), encoding="utf-8")


def kept(folder: Path) -> dict[str, Any]:
    """Return the values written by :func:`keep`; empty if there is no readable file."""
    try:
        found = json.loads(read_text(folder / TOLD_FILE, MOST_BYTES))
    except (InputFileError, OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
