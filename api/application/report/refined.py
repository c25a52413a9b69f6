"""Section of a report on a refinement: object slice by slice, probe modes, loss, settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ptylive.application.report.elements import Detail, Picture
from ptylive.application.report.loss_curve import loss_curve
from ptylive.engine.analysis.fourier_correlation import scanned_area
from ptylive.engine.refine.results.phase_deviation import deviation_words
from ptylive.engine.stored_run import StoredRun
from ptylive.pictures.colours import ColourMap
from ptylive.pictures.sheet import Cell
from ptylive.schema.advice.cannot_tell import cannot_tell_sentences
from ptylive.schema.preset.describe import to_toml

MOST_SLICES, MOST_MODES = 8, 4
"""Largest numbers of pictures: slices at equal distances, the strongest modes."""


@dataclass(frozen=True)
class RunSection:
    """One refinement. ``curve``: SVG; ``settings``: those that differ from the defaults, as TOML."""

    name: str
    details: tuple[Detail, ...]
    pictures: tuple[Picture, ...]
    curve: str
    settings: str

    @classmethod
    def of(cls, run: StoredRun) -> RunSection:
        """Create from a refinement in a results file."""
        pictures = tuple(Picture.of(cell) for cell in (*_slices(run), *_deviation(run), *_modes(run)))
        return cls(run.name, tuple(_details(run)), pictures, loss_curve(run.loss), to_toml(run.preset))


def _details(run: StoredRun) -> Iterator[Detail]:
    if run.state:
        yield "state", f"{run.state}; {run.convergence}" if run.convergence else run.state
    thickness = f" of {run.spacing_A:.4g} Å" if run.slices > 1 and run.spacing_A else ""
    yield "object", f"{run.slices} {'slice' if run.slices == 1 else 'slices'}{thickness}, {run.pixel_A:.4g} Å pixels"
    modes = run.probe.shape[1]
    yield "probe", f"{modes} {'mode' if modes == 1 else 'modes'}"
    if run.loss.size:
        yield "loss", f"{run.loss[0]:.5g} → {run.loss[-1]:.5g} in {run.loss.size} epochs, {run.seconds:.3g} s"
    if run.median_deviation_rad is not None:
        words = deviation_words(run.median_deviation_rad, run.deviation_is_lower_bound)
        yield "standard deviation of the phase", f"{words} (median, from counting noise)"
    if run.algorithm:
        yield "data term", run.algorithm
    for warning in cannot_tell_sentences(run.reason):
        yield "warning", warning
    if run.reason:
        yield "chosen because", run.reason


def _slices(run: StoredRun) -> Iterator[Cell]:
    """Phase of the slices within the outermost positions, with a common contrast."""
    area = scanned_area((run.object.shape[2], run.object.shape[3]), run.origin_A, run.positions_A, run.pixel_A)
    phase = run.phase()[(slice(None), *area)]
    chosen = np.unique(np.linspace(0, run.slices - 1, min(run.slices, MOST_SLICES)).round().astype(int))
    depths, pixel = run.depths_A(), (run.pixel_A, run.pixel_A)
    low, high = np.percentile(phase[chosen], (1, 99))
    for number in chosen:
        title = "phase" if run.slices == 1 else f"phase, slice {number + 1}, {depths[number]:.4g} Å deep"
        lines = [f"{low:.3g} to {high:.3g} rad"]
        yield Cell(np.clip(phase[number], low, high), title, lines, ColourMap.MAGMA, pixel_A=pixel)


def _deviation(run: StoredRun) -> Iterator[Cell]:
    """Standard deviation by counting noise of the phase summed over slices, if it is known."""
    if run.phase_deviation is None:
        return
    area = scanned_area((run.object.shape[2], run.object.shape[3]), run.origin_A, run.positions_A, run.pixel_A)
    deviation = run.phase_deviation[area]
    is_known = np.isfinite(deviation)
    if not is_known.any():
        return
    low, high = np.percentile(deviation[is_known], (1, 99))
    shown = np.clip(np.where(is_known, deviation, low), low, high)
    lines = [f"{low:.3g} to {high:.3g} rad"]
    yield Cell(shown, "standard deviation of the phase", lines, visited=is_known, pixel_A=(run.pixel_A, run.pixel_A))


def _modes(run: StoredRun) -> Iterator[Cell]:
    """Amplitude of the strongest modes of the first probe, with their shares of the power."""
    modes = np.abs(run.probe[0])
    powers = (modes.astype(float) ** 2).sum(axis=(1, 2))
    shares = 100 * powers / max(float(powers.sum()), np.finfo(float).tiny)
    for number in np.argsort(-shares, kind="stable")[:MOST_MODES]:
        line = f"{shares[number]:.3g} % of the power"
        yield Cell(modes[number], f"probe mode {number + 1}, amplitude", [line], pixel_A=(run.pixel_A, run.pixel_A))
