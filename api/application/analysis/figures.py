"""Output of ``ptylive analyse``: figures as JSON, pictures as PNG."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.application.analysis.own_analysis import FIGURES, check_analysis
from ptylive.application.analysis.side_by_side import add_comparison, prior_figures, prior_page, resolution_page
from ptylive.application.analysis.waves import add_waves
from ptylive.engine.analysis.aberrations import (
    LOWEST_ORDER,
    double_overlap_transfer,
    phase_contrast_transfer,
    report,
)
from ptylive.engine.analysis.columns import Columns, find_columns
from ptylive.engine.analysis.fourier_correlation import (
    ONE_SEVENTH,
    FourierCorrelation,
    common_part,
    ring_correlation,
    scanned_area,
    shell_correlation,
)
from ptylive.engine.analysis.probe_modes import ProbeModes
from ptylive.engine.analysis.radial import RadialMean, object_power, probe_intensity
from ptylive.engine.analysis.refined_grid import RefinedGrid, refined_grid
from ptylive.engine.analysis.sections import Point, depth_section, middle_line
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import MetadataError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.npy import write_npy
from ptylive.schema.model import Array, BoolArray, FloatArray

if TYPE_CHECKING:
    from ptylive.engine.analysis.half_dose import HalfDose

TRANSFER_POINTS = 64
LISTED_COLUMNS = 1000
STEPS = 5
"""Number of progress steps of :func:`analyse`."""


@dataclass(frozen=True)
class Picture:
    """Data for one PNG."""

    data: Array
    sampling_A: tuple[float, float] | None
    cyclic: bool = False
    shown: BoolArray | None = None
    """Valid pixels; None: all."""


@dataclass
class Analysis:
    """Collected figures, pictures and arrays."""

    figures: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    pages: dict[str, Array] = field(default_factory=dict)
    """RGB (rows, cols, 3), ready to be written."""

    def write(self, folder: Path) -> list[Path]:
        """Write ``analysis.json``, the pictures, and the arrays as npy files.

        Raises InputFileError, before anything is written, if there is a file of another origin under one of the names.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FIGURES
        pictures = [f"{name}.png" for name in (*self.pictures, *self.pages)]
        check_analysis(folder, [FIGURES, *pictures, *(f"{name}.npy" for name in self.arrays)])
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.figures, indent=2, allow_nan=False), encoding="utf-8")
        drawn = [_write_png(folder / f"{name}.png", picture) for name, picture in self.pictures.items()]
        drawn += [_write_rgb(folder / f"{name}.png", page) for name, page in self.pages.items()]
        return [path, *drawn, *(write_npy(folder / f"{name}.npy", array) for name, array in self.arrays.items())]


def analyse(
    run: StoredRun,
    *,
    line_A: tuple[Point, Point] | None = None,
    radius_A: float = 0.6,
    order: int = LOWEST_ORDER,
    on_step: Callable[[str], None] = lambda words: None,
) -> Analysis:
    """Everything that can be derived from one reconstruction alone. Raises MetadataError for an impossible line.

    ``order``: of the aberrations fitted to the probe. ``on_step`` is called with the name of the next step,
    :data:`STEPS` times.
    """
    if line_A is not None and run.slices == 1:
        raise MetadataError("one slice has no depth section", "refine with num_slices")
    on_step("object")
    analysis = Analysis()
    area = scanned_area((run.object.shape[2], run.object.shape[3]), run.origin_A, run.positions_A, run.pixel_A)
    phase = run.phase()[(slice(None), *area)]
    pixel = (run.pixel_A, run.pixel_A)
    analysis.figures["run"] = run.name
    analysis.figures["object"] = {
        "slices": run.slices,
        "pixel_A": run.pixel_A,
        "scanned_A": [phase.shape[1] * run.pixel_A, phase.shape[2] * run.pixel_A],
        "phase_rms_rad": [float(plane.std()) for plane in phase],
    }
    analysis.pictures["object_phase"] = Picture(phase.sum(axis=0), pixel)
    if run.phase_deviation is not None and run.median_deviation_rad is not None:
        analysis.figures["object"]["phase_deviation_rad"] = run.median_deviation_rad
        analysis.arrays["counting_deviation_rad"] = run.phase_deviation[area]
    analysis.figures["radial"] = {
        "object_power": _rings(object_power(phase, run.pixel_A), "frequency_invA", "power_rad2")
    }
    if (grid := refined_grid(run.positions_A)) is not None:
        analysis.figures["grid"] = _plain(asdict(grid))
        _add_on_scan(analysis, run, grid)
    on_step("probe")
    _add_probe(analysis, run, order)
    analysis.figures["radial"]["probe"] = _rings(probe_intensity(run.probe[0], run.pixel_A), "radius_A", "intensity")
    on_step("waves")
    add_waves(analysis.figures, analysis.pages, run)
    if (networks := prior_figures(run)) is not None:
        analysis.figures["prior"] = networks
    if (page := prior_page(run)) is not None:
        analysis.pages["prior"] = page
    on_step("atom columns")
    _add_columns(analysis, phase, run, find_columns(phase, run.pixel_A, radius_A=radius_A))
    on_step("depth section")
    line = line_A or middle_line((phase.shape[1], phase.shape[2]), run.pixel_A)
    if run.slices > 1 and line is not None:
        section = depth_section(phase, run.pixel_A, run.spacing_A, line)
        analysis.figures["section"] = {"sampling_A": list(section.sampling_A), "phase_rad": section.phase.tolist()}
        repeats = max(1, round(run.spacing_A / run.pixel_A))
        analysis.pictures["section"] = Picture(np.repeat(section.phase, repeats, axis=0), pixel)
    return analysis


def compare(analysis: Analysis, run: StoredRun, other: StoredRun) -> None:
    """Add ring and shell correlation with another reconstruction of the same scan. Raises MetadataError."""
    first, second = same_place(run, other)
    rings = ring_correlation(first.sum(axis=0), second.sum(axis=0), run.pixel_A)
    analysis.figures["ring_correlation"] = curve(rings)
    analysis.pages["ring_correlation"] = resolution_page(rings, "rings")
    add_comparison(analysis.pages, (run, other), (first, second))
    if run.slices > 1 and run.slices == other.slices:
        analysis.figures["shell_correlation"] = curve(shell_correlation(first, second, run.pixel_A, run.spacing_A))


def same_place(run: StoredRun, other: StoredRun) -> tuple[Array, Array]:
    """Phases (slices, Y, X) of the scanned area common to both reconstructions. Raises MetadataError."""
    if abs(run.pixel_A / other.pixel_A - 1) > 1e-6:
        raise MetadataError(
            f"pixels of {run.pixel_A:.4g} and {other.pixel_A:.4g} Å differ", "refine both with the same window_px"
        )
    offset = np.rint((np.asarray(other.origin_A) - np.asarray(run.origin_A)) / run.pixel_A).astype(int)
    area = scanned_area((run.object.shape[2], run.object.shape[3]), run.origin_A, run.positions_A, run.pixel_A)
    first = run.phase()[(slice(None), *area)]
    shift = (int(offset[0]) - area[0].start, int(offset[1]) - area[1].start)
    return common_part(first, other.phase(), shift)


def add_half_dose(analysis: Analysis, halves: HalfDose) -> None:
    """Add the agreement of two halves of the dose, and the uncertainty of the phase at each place."""
    uncertainty = halves.uncertainty
    pixel_A = halves.results[0].object_sampling_A[0]
    step_A = [
        (length * pixel_A - uncertainty.tile_A) / max(1, count - 1) or uncertainty.tile_A
        for length, count in zip(uncertainty.deviation_rad.shape, uncertainty.limit_A.shape, strict=True)
    ]
    analysis.figures["half_dose"] = {"rings": curve(halves.rings)}
    analysis.pages["half_dose"] = resolution_page(halves.rings, "halves of the dose")
    if halves.shells is not None:
        analysis.figures["half_dose"]["shells"] = curve(halves.shells)
    quantiles = np.quantile(uncertainty.deviation_rad, (0.05, 0.5, 0.95))
    analysis.figures["half_dose"]["uncertainty"] = {
        "deviation_rad": dict(zip(("p05", "median", "p95"), map(float, quantiles), strict=True)),
        "window_A": uncertainty.window_A,
        "limit_A": [[None if math.isnan(period) else period for period in row] for row in uncertainty.limit_A.tolist()],
        "tile_A": uncertainty.tile_A,
        "tile_step_A": step_A,
    }
    analysis.pictures["phase_deviation"] = Picture(uncertainty.deviation_rad, (pixel_A, pixel_A))
    analysis.arrays["phase_deviation_rad"] = uncertainty.deviation_rad.astype(np.float32)
    analysis.arrays["information_limit_A"] = uncertainty.limit_A.astype(np.float32)


def curve(correlation: FourierCorrelation) -> dict[str, Any]:
    """A correlation as plain numbers, with the periods at which it falls below the usual levels."""
    return {
        "frequencies_invA": correlation.frequencies_invA.tolist(),
        "correlation": correlation.correlation.tolist(),
        "half_bit": correlation.half_bit.tolist(),
        "resolution_A": {
            "half": correlation.resolution_A(0.5),
            "one_seventh": correlation.resolution_A(ONE_SEVENTH),
            "half_bit": correlation.resolution_A(),
            "half_bit_from": correlation.resolution_A(deviations=1),
            "half_bit_to": correlation.resolution_A(deviations=-1),
        },
    }


def _add_on_scan(analysis: Analysis, run: StoredRun, grid: RefinedGrid) -> None:
    """Add the phase summed over slices, cropped to the field of the scan and rotated to its axes."""
    from ptylive.engine.analysis.scan_frame import ScanFrame, finer_by, phase_on_scan

    frame = ScanFrame.of_positions(run.positions_A, grid.shape, grid.step_A)
    if frame is None:
        return
    finer = finer_by(run, grid.shape, grid.step_A)
    picture = phase_on_scan(run, frame, grid.shape, grid.step_A, finer)
    sampling = (grid.step_A[0] / finer, grid.step_A[1] / finer)
    analysis.figures["on_scan"] = {"sampling_A": list(sampling), "shape": list(picture.shape)}
    analysis.pictures["object_on_scan"] = Picture(picture, sampling)
    analysis.arrays["object_on_scan_rad"] = picture


def _add_probe(analysis: Analysis, run: StoredRun, order: int) -> None:
    modes = ProbeModes.of(run.probe[0], run.pixel_A)
    analysis.figures["probe"] = {
        "counts": modes.counts,
        "powers": modes.powers.tolist(),
        "rms_radii_A": modes.rms_radii_A.tolist(),
        "purity": modes.purity,
        "half_width_A": modes.half_width_A,
    }
    for number, mode in enumerate(modes.modes):
        analysis.pictures[f"probe_mode_{number}"] = Picture(np.abs(mode), (run.pixel_A, run.pixel_A))
    semiangle = run.calibration.get("convergence_semiangle_mrad")
    if semiangle is None or run.calibration.get("energy_eV") is None:
        return
    aberrations = report(
        modes.modes[0], run.pixel_A, run.wavelength_A, float(semiangle), run.calibration.aberrations, order
    )
    values = {aberration.name: aberration for aberration in aberrations.coefficients}
    analysis.figures["aberrations"] = {
        "coefficients": {name: _plain(vars(aberration)) for name, aberration in values.items()},
        "probe_shift_A": list(aberrations.shift_A),
        "residual_rad": aberrations.residual_rad,
    }
    alpha = float(semiangle) * 1e-3 / run.wavelength_A
    q = np.linspace(0, 2 * alpha, TRANSFER_POINTS)
    analysis.figures["transfer"] = {
        "frequencies_invA": q.tolist(),
        "double_overlap": double_overlap_transfer(q, alpha).tolist(),
        "coherent_bright_field": phase_contrast_transfer(
            q, -values["C10"].value_A, values["C30"].value_A, run.wavelength_A
        ).tolist(),
    }
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(modes.modes[0])))
    lit = np.abs(spectrum) > 0.1 * np.abs(spectrum).max()
    analysis.pictures["probe_phase"] = Picture(np.angle(spectrum), None, cyclic=True, shown=lit)


def _add_columns(analysis: Analysis, phase: FloatArray, run: StoredRun, columns: Columns) -> None:
    few = slice(0, LISTED_COLUMNS)
    analysis.figures["columns"] = {
        "number": len(columns.peaks_rad),
        "positions_A": columns.positions_A[few].tolist(),
        "peaks_rad": columns.peaks_rad[few].tolist(),
        "widths_A": columns.widths_A[few].tolist(),
        "profile_radii_A": columns.profile_radii_A.tolist(),
        "profile_rad": columns.profile_rad.tolist(),
        "depth_profiles_rad": columns.depth_profiles_rad[few].tolist(),
    }
    marked = phase.sum(axis=0).copy()
    for row, col in np.rint(columns.positions_A[few] / run.pixel_A).astype(int):
        marked[max(row, 0) : row + 1, max(col, 0) : col + 1] = marked.max()
    analysis.pictures["columns"] = Picture(marked, (run.pixel_A, run.pixel_A))


def _rings(rings: RadialMean, radius: str, mean: str) -> dict[str, list[float]]:
    return {radius: rings.radius.tolist(), mean: rings.mean.tolist()}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "name"}


def _write_rgb(path: Path, picture: Array) -> Path:
    from ptylive.pictures.snapshot import png

    with replacing(path) as temporary:
        temporary.write_bytes(png(picture))
    return path


def _write_png(path: Path, picture: Picture) -> Path:
    from ptylive.pictures.colours import ColourMap
    from ptylive.pictures.snapshot import draw, png

    colours = ColourMap.CYCLIC if picture.cyclic else ColourMap.GRAY
    limits = (-np.pi, np.pi) if picture.cyclic else None
    drawn = draw(
        np.asarray(picture.data, dtype=np.float32),
        colours,
        visited=picture.shown,
        limits=limits,
        sampling_A=picture.sampling_A,
    )
    with replacing(path) as temporary:
        temporary.write_bytes(png(drawn))
    return path
