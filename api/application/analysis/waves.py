"""Pages of waves in colours, their principal components, and the logged loss, for ``ptylive analyse``."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.analysis.complex_pca import principal_components
from ptylive.engine.analysis.probe_modes import ProbeModes
from ptylive.engine.stored_run import StoredRun
from ptylive.pictures.chart import Series, lines
from ptylive.pictures.sheet import Cell, sheet
from ptylive.pictures.snapshot import Rgb
from ptylive.pictures.waves import wheel
from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import read_bytes
from ptylive.schema.model import Array, ComplexArray

MOST_SHOWN = 6
"""Number of modes and components on a page."""
MOST_WAVES = 64
"""Number of waves used for principal components: those with the most light."""
FAINT = 99.5
"""Percentile of the modulus of a transform drawn in full colour: its zero frequency outshines everything else."""
LARGEST_LOG = 2**24


def add_waves(figures: dict[str, Any], pages: dict[str, Rgb], run: StoredRun) -> None:
    """Add pages of object and probe with their modes in both spaces, the colour wheel, components, loss."""
    pixel = (run.pixel_A, run.pixel_A)
    modes = ProbeModes.of(run.probe[0], run.pixel_A)
    pages["probe_modes"] = _page(modes.modes, modes.powers, pixel)
    exit_waves = run.object.prod(axis=1)
    pages["object_modes"] = _page(exit_waves, np.full(len(exit_waves), 1 / len(exit_waves)), pixel)
    pages["colour_wheel"] = wheel()
    planes = run.object.reshape(-1, *run.object.shape[2:])
    waves = {"object": planes, "probe": run.probe.reshape(-1, *run.probe.shape[2:])}
    components = {}
    for name, several in waves.items():
        if len(several) > 1:
            parts = principal_components(several[:MOST_WAVES], MOST_SHOWN)
            components[name] = {"shares": parts.shares.tolist()}
            pages[f"{name}_components"] = _page(parts.components, parts.shares, pixel)
    if components:
        figures["principal_components"] = components
    figures["loss"] = {"epoch": list(range(1, len(run.loss) + 1)), "loss": run.loss.tolist()}
    if len(run.loss) > 1:
        pages["loss"] = lines("epoch", "loss per pattern", [Series("", np.arange(1.0, len(run.loss) + 1), run.loss)])


def _page(waves: ComplexArray, shares: Array, pixel: tuple[float, float]) -> Rgb:
    """A page with each wave above its transform."""
    shown = waves[:MOST_SHOWN]
    largest = float(np.abs(shown).max(initial=1e-30))
    above = [
        Cell(wave, f"{number}: {100 * share:.3g} %", pixel_A=pixel, limits=(0.0, largest))
        for number, (wave, share) in enumerate(zip(shown, shares, strict=False))
    ]
    below = []
    for number, wave in enumerate(shown):
        spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(wave)))
        bright = float(np.percentile(np.abs(spectrum), FAINT)) or 1e-30
        below.append(Cell(spectrum, f"{number}: transform", limits=(0.0, bright)))
    return sheet([*above, *below], in_a_row=len(shown))


def add_log(figures: dict[str, Any], pages: dict[str, Rgb], path: Path) -> None:
    """Add every numeric column of a loss log, this program's or PyPty's ``loss.csv``, as figures and pages over epochs.

    Raises InputFileError for a file that is not a table with a header.
    """
    columns = read_log(path)
    names = list(columns)
    across = columns[names[0]]
    figures["log"] = {name: values.tolist() for name, values in columns.items()}
    for name in names[1:]:
        values = columns[name]
        if len(values) > 1 and np.ptp(values) > 0:
            plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "column"
            pages[f"log_{plain}"] = lines(names[0], name, [Series("", across, values)])


def read_log(path: Path) -> dict[str, Array]:
    """Numeric columns by name, the first of them the epochs; columns of words are left out."""
    try:
        text = read_bytes(path, LARGEST_LOG).decode("utf-8", errors="replace")
        rows = [row for row in csv.reader(text.splitlines()) if row]
    except csv.Error as error:
        raise InputFileError(f"{path}: {error}", "give a table of comma-separated values") from None
    if len(rows) < 2:
        raise InputFileError(f"{path} holds no rows below a header", "give the log of a refinement, OUT.loss.csv")
    columns = {}
    for number, name in enumerate(rows[0]):
        values = [_number(row[number]) if number < len(row) else np.nan for row in rows[1:]]
        if np.isfinite(values).all():
            columns[name.strip()] = np.asarray(values, dtype=np.float64)
    if len(columns) < 2:
        raise InputFileError(f"{path} has no two columns of numbers", "give the log of a refinement, OUT.loss.csv")
    return columns


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
