"""All figures of an experiment, as a table, as plain values, and by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Self

from ptylive.engine.planning import costs, depth, detector_window, electrons, probe_and_step
from ptylive.engine.planning.experiment import Experiment
from ptylive.engine.planning.figure import Figure, Verdict
from ptylive.engine.planning.suggestions import Suggestion, suggestions

ROWS = (*probe_and_step.ROWS, *detector_window.ROWS, *electrons.ROWS, *depth.ROWS, *costs.ROWS)
"""Rows of the table, in its order."""


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Mapping[str, Figure]):
    """Figures of an experiment by name; printed, the table of ``ptylive plan``.

    ``plan["overlap"].value`` is a number in ``plan["overlap"].unit``, None if a value that it depends on is unknown.
    """

    figures: tuple[Figure, ...]
    suggestions: tuple[Suggestion, ...] = ()
    """Steps and defoci that give 70 and 80 % overlap, if optics and step are known."""

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Compute every figure, including those that lack a value."""
        return cls(tuple(row.of(experiment) for row in ROWS), suggestions(experiment))

    def __getitem__(self, name: str) -> Figure:
        found = next((figure for figure in self.figures if figure.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (figure.name for figure in self.figures)

    def __len__(self) -> int:
        return len(self.figures)

    @property
    def verdict(self) -> Verdict:
        """The worst of all verdicts: bad, questioned, or good; unknown if no figure could be judged."""
        verdicts = {figure.verdict for figure in self.figures}
        order = (Verdict.BAD, Verdict.QUESTIONED, Verdict.GOOD)
        return next((verdict for verdict in order if verdict in verdicts), Verdict.UNKNOWN)

    def to_plain(self) -> dict[str, Any]:
        """Return plain values: verdict, suggestions, figures {name: {title, value, unit, text, verdict, remedy}}."""
        figures = {figure.name: figure.to_plain() for figure in self.figures}
        for plain in figures.values():
            if plain["value"] is not None and not math.isfinite(plain["value"]):
                plain["value"] = None
        suggested = [suggestion.to_plain() for suggestion in self.suggestions]
        return {"verdict": str(self.verdict), "figures": figures, "suggestions": suggested}

    def __repr__(self) -> str:
        title, text = (max(len(getattr(f, part)) for f in self.figures) for part in ("title", "text"))
        lines = (f"{f.title:<{title}}  {f.text:<{text}}  {f.verdict:<10}  {f.remedy}" for f in self.figures)
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        rows = ((f.title, f.text, f.verdict, f.remedy) for f in self.figures)
        cells = ("".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row) for row in rows)
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
