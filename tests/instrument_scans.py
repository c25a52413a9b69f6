"""Scans with an imperfect instrument, each with settings that model it: tested, and drawn for the document.

    python tests/instrument_scans.py docs/pictures/instrument.png     # with tests and checkout on the path

One sheet of MoS2 at 80 kV and 25 mrad from ``ptylive simulate``, with a detector of 32 pixels of 2.4 mrad; the seed of
a case draws vacancies and counts.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from simulated_datasets import agreement, dataset_of, found_and_true, simulated

from ptylive.engine.refine import refine
from ptylive.engine.simulation.illumination import FWHM_PER_SIGMA, Illumination
from ptylive.pictures.sheet import Cell, sheet
from ptylive.schema.preset import Preset
from ptylive.schema.simulation.settings import SimulationSettings

SHEET: dict[str, Any] = {"specimen": "monolayer", "detector_shape": 32, "detector_pixel_mrad": 2.4}
KNOWN: dict[str, Any] = {
    "num_slices": 1,
    "probe_modes": 1,
    "algorithm": "lsq_sqrt",
    "loss_offset": 0.5,
    "epoch_max": 60,
    "sweeps": 12,
    "anchor": 0.0,
    "refine_drift": False,
}
SOURCE_A = 1.0
"""Full width at half maximum."""
MOMENTS = 8
"""Number of moments that approximate the exposure of a pattern while the beam moves."""


@dataclass(frozen=True)
class Case:
    """A scan and what a refinement is told about it."""

    name: str
    make: Any
    """Function from a seed to a simulated scan and its data set."""
    told: dict[str, Any]
    without: tuple[dict[str, Any], ...] = ({}, {"probe_modes": 4})
    """Settings of the refinements for comparison, which are not told."""
    known: Mapping[str, Any] = field(default_factory=dict)
    """Settings of every refinement of the scan, in addition to ``KNOWN``."""


def spread(seed):
    """Counts spread by one pixel (standard deviation along each axis)."""
    scan = simulated(
        **SHEET, seed=seed, scan_shape=20, scan_step_A=0.8, defocus_A=150, electrons_per_pattern=2e5, point_spread_px=1
    )
    return scan, dataset_of(scan)


def varying(seed):
    """Defocus and astigmatism vary from row to row."""
    rows = 20
    given = {**SHEET, "seed": seed, "scan_shape": rows, "scan_step_A": 0.8, "electrons_per_pattern": 2e4}
    scan = simulated(**given, defocus_A=60)
    patterns = []
    for row, u in enumerate(np.linspace(-1, 1, rows)):
        own = {"defocus_A": 60 + 40 * u, "C12a": 25 * np.sin(3 * u), "C12b": -15 * u**2}
        scan.illumination = Illumination.of(SimulationSettings.of({**given, **own}), scan.window)
        patterns.append(scan.frames(np.arange(row * rows, (row + 1) * rows)))
    return scan, dataset_of(scan, np.concatenate(patterns))


def on_a_slope(seed):
    """The specimen is inclined: its defocus varies along rows and columns."""
    points = 20
    given = {**SHEET, "seed": seed, "scan_shape": points, "scan_step_A": 0.8, "electrons_per_pattern": 2e4}
    scan = simulated(**given, defocus_A=80)
    u = np.linspace(-1, 1, points)
    patterns = []
    for n in range(points**2):
        own = SimulationSettings.of({**given, "defocus_A": 80 + 50 * u[n // points] - 30 * u[n % points]})
        scan.illumination = Illumination.of(own, scan.window)
        patterns.append(scan.frames(np.array([n])))
    return scan, dataset_of(scan, np.concatenate(patterns))


def of_a_wedge(seed):
    """SrTiO3 in four slices, 80 Å thick in the middle, 40 % less in the first row and 40 % more in the last."""
    rows = 20
    scan = simulated(
        specimen="crystal",
        material="SrTiO3",
        thickness_A=80,
        slice_thickness_A=20,
        detector_shape=48,
        detector_pixel_mrad=1.8,
        energy_eV=200e3,
        seed=seed,
        scan_shape=rows,
        scan_step_A=0.5,
        defocus_A=60,
        electrons_per_pattern=5e4,
    )
    frequency = scan.window.frequencies()
    squared = frequency[0] ** 2 + frequency[1] ** 2
    rate = -np.pi * scan.window.wavelength_A * scan.specimen.slice_thickness_A * squared
    inside, slices = squared <= scan.window.limit_invA**2, scan.specimen.slices
    patterns = []
    for row, u in enumerate(np.linspace(-1, 1, rows)):
        scan._propagators = np.repeat((np.exp(1j * rate * (1 + 0.4 * u)) * inside)[None], slices - 1, axis=0)
        patterns.append(scan.frames(np.arange(row * rows, (row + 1) * rows)))
    return scan, dataset_of(scan, np.concatenate(patterns))


def moving(seed):
    """Each pattern is exposed over the whole step, approximated by eight moments."""
    step_A = 1.2
    scan = simulated(**SHEET, seed=seed, scan_shape=18, scan_step_A=step_A, defocus_A=50, electrons_per_pattern=2e4)
    every, middle, mean = np.arange(scan.header.frames), scan.trajectory.positions_A.copy(), 0.0
    for moment in (np.arange(MOMENTS) + 0.5) / MOMENTS - 0.5:
        scan.trajectory.positions_A[...] = middle + np.array([0.0, moment * step_A])
        mean = mean + scan.expected(every) / MOMENTS
    scan.trajectory.positions_A[...] = middle
    return scan, dataset_of(scan, scan.readout.recorded(np.asarray(mean, dtype=np.float32), every))


def of_a_wide_source(seed):
    """A source of 1 Å (full width at half maximum), sampled at five places along each axis."""
    scan = simulated(
        **SHEET,
        seed=seed,
        scan_shape=22,
        scan_step_A=0.8,
        defocus_A=50,
        electrons_per_pattern=2e4,
        source_size_A=SOURCE_A,
        source_points=5,
    )
    return scan, dataset_of(scan)


CASES = (
    Case("point spread, refined", spread, {"update_detector_psf": True}),
    Case("varying probe", varying, {"opr_components": 3}),
    Case("moving beam", moving, {"fly_scan_share": 1.0}),
    Case("inclined specimen", on_a_slope, {"field_order": 1}, ({}, {"opr_components": 2})),
    Case(
        "wedge",
        of_a_wedge,
        {"field_order": 1, "field_terms": ["thickness"]},
        ({}, {"field_order": 1}),
        {"num_slices": 4, "slice_distances_A": [20.0] * 3, "loss_offset": "auto", "epoch_max": 40, "sweeps": 10},
    ),
    Case("wide source", of_a_wide_source, {"source_blur_A": SOURCE_A / FWHM_PER_SIGMA}),
)


def refined(scan, dataset, **settings):
    """Result, found and true phases, and figures: correlation, rms error in rad."""
    result = refine(dataset, Preset.from_mapping({**KNOWN, **settings}), backend="cpu")
    found, true = found_and_true(scan, result)
    figures = {"correlation": agreement(found, true), "error": float(np.sqrt(((found - true) ** 2).mean()))}
    return result, found, true, {**figures, "loss": float(result.loss[-1])}


def draw(path: str, seed: int = 1) -> None:
    """Draw a picture of all cases: truth, not told, told."""
    cells = []
    for case in CASES:
        scan, dataset = case.make(seed)
        _, plain, true, before = refined(scan, dataset, **case.known)
        _, found, _, after = refined(scan, dataset, **case.known, **case.told)
        limits, pixel_A = (float(true.min()), float(true.max())), (scan.grid.pixel_A, scan.grid.pixel_A)
        lines = ("true", f"not told: {before['error']:.3f} rad", f"told: {after['error']:.3f} rad")
        for plane, line in zip((true, plain, found), lines, strict=True):
            cells.append(Cell(plane, case.name, (line,), pixel_A=pixel_A, limits=limits))
    Image.fromarray(sheet(cells, 3)).convert("L").reduce(2).quantize(32).save(path, optimize=True)


if __name__ == "__main__":
    draw(sys.argv[1])
