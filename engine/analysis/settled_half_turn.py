"""The half turn of a scan as its stored refinements settle it.

One slice explains patterns equally well under both half turns; several do not (docs/automatic/depth.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from ptylive.engine.damaged_files import FAULTS, damaged
from ptylive.schema import Calibration, Origin

CLEARLY_LESS = 0.95
"""Ratio of losses below which one half turn is the right one; through a thick specimen the wrong one predicts held-out
patterns worse by 5 % and more."""


@dataclass(frozen=True)
class _Run:
    """A finished run of several slices. ``like``: what it shares with runs whose losses can be compared with its own;
    ``compared``: whether nobody stated its half turn, so that its trials compared both.
    """

    name: str
    rotation_deg: float
    loss: float
    like: tuple[Any, ...]
    compared: bool


def settled_half_turn(path: Path) -> tuple[str, float] | None:
    """Return a run of a results file that settles the half turn, and its rotation in degrees; None if none does.

    It compared both half turns itself, or there is one like it under the other half turn that leaves clearly more.
    Raises InputFileError.
    """
    runs = _finished_runs(path)
    for first, second in combinations(reversed(runs), 2):
        best, other = sorted((first, second), key=lambda run: run.loss)
        if first.like == second.like and _are_apart(first, second) and best.loss < CLEARLY_LESS * other.loss:
            return best.name, best.rotation_deg
    chosen = next((run for run in reversed(runs) if run.compared), None)
    return None if chosen is None else (chosen.name, chosen.rotation_deg)


def _finished_runs(path: Path) -> list[_Run]:
    """Return the finished runs of several slices that hold their own calibration, in the order of their numbers."""
    import h5py

    if not path.exists():
        return []
    try:
        with h5py.File(path, "r") as file:
            groups = file.get("refinements", {})
            found = [_run_of(name, groups[name]) for name in sorted(groups, key=lambda name: (len(name), name))]
    except FAULTS as error:
        raise damaged(path, error) from None
    return [run for run in found if run is not None]


def _run_of(name: str, group: Any) -> _Run | None:
    transmission, finished = group["object"], str(group.attrs.get("state", "")) == "done"
    slices = int(transmission.shape[1]) if transmission.ndim == 4 else 1
    if not finished or slices == 1 or "calibration" not in group or not len(group["loss"]):
        return None
    calibration = Calibration.from_attributes(dict(group["calibration"].attrs))
    compared = all(calibration.origin(value) is Origin.ESTIMATED for value in ("rotation_deg", "C10"))
    like = (slices, group["probe"].shape, str(group.attrs.get("algorithm", "")), group["positions_A"].shape)
    return _Run(name, calibration.rotation_deg, float(group["loss"][-1]), like, compared)


def _are_apart(first: _Run, second: _Run) -> bool:
    return abs((first.rotation_deg - second.rotation_deg + 180) % 360 - 180) > 90
