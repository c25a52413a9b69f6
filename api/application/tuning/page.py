"""A tuning as one page: the findings, the loss against each value and each pair of values, and every trial."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import numpy as np

from ptylive.application.tuning.estimates import Estimate, Findings
from ptylive.application.tuning.outcome import Outcome
from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.trials import FinishedTrial
from ptylive.application.tuning.tunables import Kind
from ptylive.pictures.chart import Axis, Curve, Points, curve, nice_ticks, surface
from ptylive.pictures.snapshot import Rgb, png
from ptylive.schema.errors import printable
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import DoubleArray

TEMPLATE, PAGE_FILE, FOLDER = "page.html", "tune.html", "landscape"
MOST_PAIRS = 10
GRID = 41
"""Grid points of a surface along each axis."""
HEADROOM = 1.15
MOST_WORDS = 8
"""Largest number of ticks for words and whole numbers."""


@dataclass(frozen=True)
class Picture:
    """A picture of the page. ``name``: of its file; ``title``: its caption."""

    name: str
    title: str
    png: bytes


def write_page(folder: Path, found: Outcome, title: str, details: Mapping[str, str], preset: str) -> Path:
    """Write the page, and its pictures as separate files. Raises OSError."""
    shown = pictures(found)
    (folder / FOLDER).mkdir(exist_ok=True)
    for picture in shown:
        with replacing(folder / FOLDER / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
    with replacing(folder / PAGE_FILE) as temporary:
        text = to_html(found, shown, title, details, preset)
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return folder / PAGE_FILE


def to_html(found: Outcome, shown: Sequence[Picture], title: str, details: Mapping[str, str], preset: str) -> str:
    """Render the page. Names and reasons that came from files are escaped."""
    from jinja2 import Environment

    text = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    order = sorted(found.tried, key=lambda item: (item.state != "done", item.last is None, item.last or 0.0))
    return page.render(
        found=found,
        title=title,
        details=details,
        preset=preset,
        pictures=[(item, base64.b64encode(item.png).decode("ascii")) for item in shown],
        trials=[(item, [_cell(each, item) for each in found.over], max(item.groups, default=0)) for item in order],
        printable=printable,
    )


def pictures(found: Outcome) -> tuple[Picture, ...]:
    """Plots of the loss against each value, then over each pair of values; none if there are too few trials."""
    if found.findings is None:
        return ()
    curves = [_of_value(found, found.findings, k) for k in range(len(found.over))]
    pairs = list(combinations(range(len(found.over)), 2))[:MOST_PAIRS]
    return (*curves, *(_of_pair(found, found.findings, *pair) for pair in pairs))


def _of_value(found: Outcome, findings: Findings, k: int) -> Picture:
    estimate, value_range = findings.estimates[k], found.over[k]
    full, hollow = _measured(found)
    across = np.array([value_range.place(value) for value in estimate.profile.values])
    rise, deviation = estimate.profile.rise, estimate.profile.deviation
    top = HEADROOM * max(float(rise.max()), float(np.percentile(full[1], 75)) if len(full[1]) else 0.0, 1e-6)
    drawn = Curve(across, rise / top, (rise - deviation) / top, (rise + deviation) / top)
    places = [np.stack([_places(value_range, tried), heights / top], axis=1) for tried, heights in (full, hollow)]
    ticks = tuple((value / top, f"{100 * value:.3g} %") for value in nice_ticks(0.0, top))
    picture = curve(
        _axis(value_range),
        Axis("loss above the best", ticks),
        drawn,
        Points(places[0], places[1]),
        value_range.place(estimate.best),
    )
    return _picture(f"{value_range.name}", estimate.sentence, picture)


def _of_pair(found: Outcome, findings: Findings, first: int, second: int) -> Picture:
    across, up = found.over[first], found.over[second]
    landscape = findings.landscape
    best = landscape.lowest()
    grids = [_grid(value_range) for value_range in (across, up)]
    y, x = np.meshgrid(grids[1], grids[0], indexing="ij")
    places = np.repeat(best[None], x.size, axis=0)
    places[:, first], places[:, second] = x.ravel(), y.ravel()
    heights = landscape.heights(places)[0].reshape(x.shape)
    full, hollow = _measured(found)
    points = [
        np.stack([_places(across, tried), _places(up, tried)], axis=1).reshape(-1, 2) for tried, _ in (full, hollow)
    ]
    lowest = float(best[first]), float(best[second])
    picture = surface(_axis(across), _axis(up), heights, Points(points[0], points[1]), lowest)
    return _picture(
        f"{across.name}-{up.name}", f"{up.title} (upwards) against {across.title}, bright is better", picture
    )


def _measured(
    found: Outcome,
) -> tuple[tuple[list[FinishedTrial], DoubleArray], tuple[list[FinishedTrial], DoubleArray]]:
    """Completed trials, then pruned ones, each with the excess of their loss over the lowest at the same sweep."""
    measured = []
    for state in ("done", "pruned"):
        trials = [trial for trial in found.tried if trial.state == state and trial.last is not None]
        lowest = {}
        for sweep in {max(trial.groups) for trial in trials}:
            known_losses = [loss for trial in found.tried if (loss := trial.loss(sweep)) is not None]
            lowest[sweep] = min(known_losses)
        heights = [(trial.last or 0.0) / lowest[max(trial.groups)] - 1 for trial in trials]
        measured.append((trials, np.array(heights)))
    return measured[0], measured[1]


def _places(value_range: Range, tried: Sequence[FinishedTrial]) -> DoubleArray:
    return np.array([value_range.place(trial.values[value_range.name]) for trial in tried])


def _grid(value_range: Range) -> DoubleArray:
    if value_range.kind == Kind.NUMBER:
        return np.linspace(0, 1, GRID)
    values = (
        value_range.choices
        if value_range.kind == Kind.CHOICE
        else range(round(value_range.low), round(value_range.high) + 1)
    )
    return np.array([value_range.place(value) for value in values])


def _axis(value_range: Range) -> Axis:
    if value_range.kind == Kind.CHOICE:
        values: Sequence[object] = value_range.choices[:MOST_WORDS]
    elif value_range.log:
        decades = np.arange(np.floor(np.log10(value_range.low)), np.ceil(np.log10(value_range.high)) + 1)
        values = [float(10**d) for d in decades if value_range.low <= 10**d <= value_range.high]
    else:
        values = nice_ticks(value_range.low, value_range.high)
    ticks = tuple(
        (value_range.place(value), f"{value:g}" if isinstance(value, int | float) else str(value)) for value in values
    )
    return Axis(f"{value_range.title} ({value_range.unit})" if value_range.unit else value_range.title, ticks)


def _picture(name: str, title: str, picture: Rgb) -> Picture:
    return Picture(name, title, png(picture))


def _cell(value_range: Range, tried: FinishedTrial) -> str:
    return value_range.spoken(tried.values[value_range.name]) if value_range.name in tried.values else ""


__all__ = ["Estimate", "Picture", "pictures", "to_html", "write_page"]
