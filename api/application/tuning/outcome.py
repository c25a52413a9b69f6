"""Output of a tuning: the best preset as TOML, every trial as a line of CSV, and a summary of both in words."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.application.extensions import Preset
from ptylive.application.presets import PresetFile
from ptylive.application.tuning.estimates import Findings, enough, findings
from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.trials import FinishedTrial
from ptylive.engine.refine.results.gain import Gain
from ptylive.schema.errors import printable
from ptylive.schema.files.atomic import replacing

BEST_FILE, CSV_FILE = "best.toml", "trials.csv"
AGREE = 0.8
"""Rank correlation of half the sweeps and all of them below which longer trials might give another result."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of all trials so far. ``findings``: None for too few of them; ``gain``: None without a comparison."""

    over: tuple[Range, ...]
    tried: tuple[FinishedTrial, ...]
    sweeps: int
    findings: Findings | None
    gain: Gain | None
    notes: tuple[str, ...]

    @property
    def best(self) -> FinishedTrial | None:
        """The completed trial with the lowest loss."""
        finished = [trial for trial in self.tried if trial.state == "done" and trial.last is not None]
        return min(finished, key=lambda trial: trial.last or 0.0, default=None)

    @property
    def values(self) -> dict[str, Any] | None:
        """The best values."""
        if self.findings is not None:
            return self.findings.values
        return None if self.best is None else dict(self.best.values)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Summary in sentences, the values first."""
        lines = [] if self.findings is None else [self.findings.sentence]
        if self.findings is None:
            lines.append("too few trials were completed to determine the uncertainty of the best values")
        if self.gain is not None:
            lines.append(_compared(self.gain))
        agreement = None if self.findings is None else self.findings.agreement
        if agreement is not None and agreement < AGREE:
            longer = f"give --sweeps {2 * self.sweeps}"
            lines.append(f"half the sweeps rank the trials differently (rank correlation {agreement:.2f}): {longer}")
        failed = [trial for trial in self.tried if trial.state == "failed"]
        if failed:
            lines.append(f"{len(failed)} trials failed, most recently: {failed[-1].reason}")
        return (*lines, *self.notes)


def outcome(
    over: Sequence[Range],
    tried: Sequence[FinishedTrial],
    sweeps: int,
    confirmed: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Outcome:
    """Outcome of trials, and of start and best values on other patterns (``Trials.confirmed``)."""
    estimated = findings(over, tried, sweeps) if enough(over, tried, sweeps) else None
    gain = None
    if estimated is not None and confirmed.get("best", {}).get("values") == estimated.values:
        start, best = (np.array(confirmed[name]["groups"], dtype=float) for name in ("start", "best"))
        gain = Gain.over(start, best) if len(start) and len(start) == len(best) else None
    return Outcome(tuple(over), tuple(tried), sweeps, estimated, gain, tuple(notes))


def best_preset(settings: Mapping[str, Any], corrections: Mapping[str, Any], comments: Sequence[str]) -> str:
    """A preset for ``ptylive refine --preset``, with the summary as comments on top. Raises MetadataError."""
    plain = {name: value for name, value in settings.items() if value is not None}
    text = PresetFile(Preset.from_mapping(plain).model_dump(exclude_unset=True), corrections=corrections).as_toml()
    return "".join(f"# {printable(' '.join(line.split()))}\n" for line in comments) + "\n" + text


def write_csv(path: Path, over: Sequence[Range], tried: Sequence[FinishedTrial]) -> None:
    """Write one line per trial. Raises OSError."""
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="replace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["trial", "state", *(item.name for item in over), "sweeps", "loss", "seconds", "reason"])
        for item in tried:
            last = item.last
            loss = "" if last is None or not math.isfinite(last) else repr(last)
            values = [item.values.get(value_range.name, "") for value_range in over]
            writer.writerow(
                [
                    item.number,
                    item.state,
                    *values,
                    max(item.groups, default=0),
                    loss,
                    f"{item.seconds:.1f}",
                    item.reason,
                ]
            )


def _compared(gain: Gain) -> str:
    if gain.certain:
        return f"on patterns not used by any trial, the best values predict better than the start, by {gain}"
    return f"on patterns not used by any trial, the best values predict no better than the start (gain {gain})"
