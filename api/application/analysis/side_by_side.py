"""Two refinements of one scan side by side, such as networks and pixels: pictures, loss, power, resolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.analysis.fourier_correlation import FourierCorrelation
from ptylive.engine.analysis.probe_modes import ProbeModes
from ptylive.engine.analysis.radial import object_power
from ptylive.engine.stored_run import StoredRun
from ptylive.pictures.chart import Series, lines
from ptylive.pictures.colours import ColourMap
from ptylive.pictures.sheet import Cell, sheet
from ptylive.pictures.snapshot import Rgb
from ptylive.schema.model import Array

COLUMNS = 4
FAINT_DECADES = 6.0
"""Decades of a power spectrum, below its largest value, that are drawn."""


def add_comparison(pages: dict[str, Rgb], runs: tuple[StoredRun, StoredRun], phases: tuple[Array, Array]) -> None:
    """Add pages of two runs, the first above: ``comparison`` with object and probe in colours, phase and its power;
    their losses, and their power over frequency. ``phases``: (slices, Y, X) of the area that both show.
    """
    names = _names(runs)
    cells: list[Cell] = []
    limits = _limits([item.sum(axis=0) for item in phases])
    for name, run, phase in zip(names, runs, phases, strict=True):
        pixel = (run.pixel_A, run.pixel_A)
        plane = phase.sum(axis=0)
        cells += [
            Cell(np.exp(1j * plane), f"{name}: object", pixel_A=pixel, limits=(0.0, 1.0)),
            Cell(plane, "phase", pixel_A=pixel, limits=limits),
            Cell(_power(plane), "power of the phase", colour_map=ColourMap.MAGMA),
            Cell(ProbeModes.of(run.probe[0], run.pixel_A).modes[0], "probe, first mode", pixel_A=pixel),
        ]
    pages["comparison"] = sheet(cells, in_a_row=COLUMNS)
    powers = [object_power(phase, run.pixel_A) for run, phase in zip(runs, phases, strict=True)]
    shown = [Series(name, item.radius[1:], item.mean[1:]) for name, item in zip(names, powers, strict=True)]
    if any((item.up > 0).any() for item in shown):
        pages["comparison_power"] = lines("frequency, 1/Å", "power of the phase, rad^2", shown, log=True)
    losses = [Series(name, np.arange(1.0, len(run.loss) + 1), run.loss) for name, run in zip(names, runs, strict=True)]
    if any(len(run.loss) for run in runs):
        pages["comparison_loss"] = lines("epoch", "loss per pattern", losses)


def resolution_page(correlation: FourierCorrelation, name: str) -> Rgb:
    """Ring or shell correlation with the half-bit curve, the information limit below which nothing is known."""
    q = correlation.frequencies_invA
    return lines(
        "frequency, 1/Å",
        "correlation",
        [Series(name, q, correlation.correlation), Series("half-bit", q, correlation.half_bit)],
    )


def prior_figures(run: StoredRun) -> dict[str, Any] | None:
    """Results of networks, if they made the run: loss of the held-out patterns, the choice, and the null test."""
    if run.prior is None:
        return None
    return {"losses_held": run.prior.losses_held.tolist(), **run.prior.attributes}


def prior_page(run: StoredRun) -> Rgb | None:
    """Loss of the held-out patterns after each epoch of the networks; the first is the pixels'. None: no networks."""
    if run.prior is None or len(run.prior.losses_held) < 2:
        return None
    losses = run.prior.losses_held
    epochs = np.arange(float(len(losses)))
    return lines(
        "epoch of the networks",
        "loss per pattern held out",
        [Series("networks", epochs, losses), Series("pixels", epochs, np.full(len(losses), losses[0]))],
    )


def _names(runs: tuple[StoredRun, StoredRun]) -> tuple[str, str]:
    """Labels of the lines: how the runs were made if that differs, otherwise their names."""
    ways = tuple("networks" if run.prior is not None else "pixels" for run in runs)
    if ways[0] != ways[1]:
        return ways[0], ways[1]
    first, second = runs[0].name, runs[1].name
    return (first, second) if first != second else (first, f"{second} (other)")


def _limits(planes: list[Array]) -> tuple[float, float]:
    low, high = (float(np.percentile(np.concatenate([plane.ravel() for plane in planes]), p)) for p in (0.5, 99.5))
    return (low, high) if high > low else (low, low + 1.0)


def _power(plane: Array) -> Array:
    """Decades of the power spectrum below its largest value, zero frequency in the middle."""
    window = np.hanning(plane.shape[0])[:, None] * np.hanning(plane.shape[1])
    power = np.abs(np.fft.fftshift(np.fft.fft2((plane - plane.mean()) * window))) ** 2
    return np.maximum(np.log10(np.maximum(power / max(float(power.max()), 1e-300), 1e-300)), -FAINT_DECADES)
