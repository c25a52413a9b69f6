"""From a file of a tilt series to structure factors: read, invert, write with a table and a picture."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.application.outputs import OTHER_NAME, beside, check_output_file, check_own_hdf5
from ptylive.engine.larbed import larbed_file
from ptylive.engine.larbed.inversion import InversionResult, LarbedSettings, invert
from ptylive.engine.larbed.spots import Lattice, fit_lattice, integrate, mean_at_rest
from ptylive.engine.larbed.tilt_series import TiltSeries, raster_tilts
from ptylive.engine.memory import check_fits
from ptylive.pictures.colours import ColourMap
from ptylive.pictures.sheet import Cell, sheet
from ptylive.schema.errors import InputFileError, MetadataError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.small_files import read_text
from ptylive.schema.model import Array, DoubleArray
from ptylive.schema.units import mrad_to_invA

if TYPE_CHECKING:
    from ptylive.streamer.source import FileSource

SHOWN_DISCS = 6
"""Number of reflections in the picture, the strongest ones."""
LEAST_ANGLE_DEG = 5.0
"""Least angle between the axes of a cell: below it, radians are meant."""
TABLE, PICTURE = ".csv", ".png"
MOST_TABLE = 4 * 2**20
"""Largest number of characters in a table of tilts."""


@dataclass(frozen=True)
class TiltGeometry:
    """Geometry that a file of patterns does not contain. Tilts are those of the beam, (row, column) of the detector."""

    cell: tuple[float, float, float] | None = None
    """a, b in Å, and the angle between them in degrees."""
    step_mrad: float | None = None
    centre_mrad: tuple[float, float] = (0.0, 0.0)
    rotation_deg: float = 0.0
    table: Path | None = None
    """CSV of two columns, mrad, one line per pattern; replaces the raster."""
    follows_tilt: bool = False
    """Patterns are not descanned: they move on the detector with the tilt."""


def read(path: Path, geometry: TiltGeometry, values: Mapping[str, Any] | None = None) -> TiltSeries:
    """Read a tilt series from reflections (``/larbed``) or patterns (any scan file).

    ``values``: metadata that take precedence over the file's. Raises InputFileError, MetadataError, MemoryError.
    """
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet, vet_results

    if path.is_file() and path.suffix.lower() in (".h5", ".hdf5"):
        vet_results(path)
        if larbed_file.has_series(path):
            return larbed_file.read_series(path)
    vet(path, dict(values or {}))
    with open_source(path, values) as source:
        return _from_patterns(source, geometry)


def _from_patterns(source: FileSource, geometry: TiltGeometry) -> TiltSeries:
    header = source.header
    energy, wavelength = header.optics.energy_eV, header.optics.wavelength_A
    pixel = header.detector.pixel_invA
    if pixel is None and header.detector.pixel_mrad is not None and wavelength is not None:
        pixel = mrad_to_invA(header.detector.pixel_mrad, wavelength)
    values = {"energy_eV": energy, "detector_pixel_mrad": pixel}
    if missing := [name for name, value in values.items() if value is None]:
        raise MetadataError(
            f"a tilt series needs {', '.join(missing)}", f"give {' '.join(f'--set {n}=…' for n in missing)}"
        )
    assert energy is not None and pixel is not None and wavelength is not None  # noqa: S101  (checked above)
    if geometry.cell is None:
        raise MetadataError("a tilt series of patterns needs the unit cell", "give --cell A,B,ANGLE (Å, Å, degrees)")
    if not header.basis.is_raw:
        raise InputFileError(f"{source.path} holds coefficients", "a tilt series needs frames")
    index = np.flatnonzero(source.received)
    tilts, raster = _tilts(geometry, header.scan.shape, source.frame_count)
    if len(index) < len(tilts):
        tilts, raster = tilts[index], None
    check_fits(8.0 * len(index) * float(np.prod(header.detector_shape)), "the patterns", "crop or bin them first")
    patterns = header.readout.counts(source.frames(index))[0]
    shifts = (tilts * mrad_to_invA(1.0, wavelength) / pixel) * geometry.follows_tilt
    counts, hk, cell_A = _reflections(patterns, shifts, _cell(geometry.cell), pixel)
    electrons = float(patterns.sum(dtype=np.float64)) / len(patterns)
    series = TiltSeries(counts, hk, tilts, cell_A, float(energy), electrons, raster)
    return larbed_file.checked(series, str(source.path))


def _reflections(patterns: Array, shifts: DoubleArray, cell_A: DoubleArray, pixel: float) -> tuple[Any, Any, Any]:
    """Counts (N, M), orders (M, 2) and the cell (2, 2) rotated to the detector."""
    nominal = np.asarray(np.linalg.inv(cell_A).T, dtype=np.float64)
    mean = mean_at_rest(patterns, shifts)
    lattice: Lattice = fit_lattice(mean, nominal, pixel)
    u, _, v = np.linalg.svd(nominal.T @ lattice.basis_px)
    rotation = u @ v  # lengths as given, direction as measured
    hk = lattice.inside((patterns.shape[1], patterns.shape[2]), shifts)
    return integrate(patterns, lattice, hk, shifts), hk, np.linalg.inv(nominal @ rotation).T


def _cell(cell: tuple[float, float, float]) -> DoubleArray:
    a, b, angle = cell
    if not (a > 0 and b > 0 and LEAST_ANGLE_DEG < angle < 180 - LEAST_ANGLE_DEG):
        raise MetadataError(f"--cell {a:g},{b:g},{angle:g} is not a valid cell", "give A,B,ANGLE in Å, Å and degrees")
    gamma = np.deg2rad(angle)
    return np.array([[a, 0.0], [b * np.cos(gamma), b * np.sin(gamma)]])


def _tilts(
    geometry: TiltGeometry, shape: tuple[int, int] | None, count: int
) -> tuple[DoubleArray, tuple[int, int] | None]:
    if geometry.table is not None:
        tilts = read_tilts(geometry.table)
        if len(tilts) != count:
            raise InputFileError(f"{geometry.table} has {len(tilts)} tilts for {count} patterns", "give one for each")
        return tilts, shape if shape is not None and shape[0] * shape[1] == count else None
    if geometry.step_mrad is None or shape is None:
        raise MetadataError(
            "the tilts are not known", "give --tilt-step MRAD (with --set scan_shape=ROWS,COLUMNS), or --tilts FILE"
        )
    return raster_tilts(shape, geometry.step_mrad, geometry.centre_mrad, geometry.rotation_deg), shape


def read_tilts(path: Path) -> DoubleArray:
    """Read (N, 2) from lines of two numbers, mrad, between commas or blanks; # is a comment. Raises InputFileError."""
    tilts = []
    for number, line in enumerate(read_text(path, MOST_TABLE).splitlines(), 1):
        numbers = line.partition("#")[0].replace(",", " ").split()
        if not numbers:
            continue
        try:
            row, col = (float(text) for text in numbers)
        except ValueError:
            raise InputFileError(
                f"{path}, line {number}: not two numbers", "give row and column tilt in mrad"
            ) from None
        tilts.append((row, col))
    return np.array(tilts, dtype=np.float64).reshape(-1, 2)


def check_output(output: Path, inputs: list[Path]) -> None:
    """Raise InputFileError if a result and the files next to it cannot be written: they only replace an earlier one."""
    check_own_hdf5(output, inputs, "larbed", larbed_file.is_result)
    for path in (beside(output, TABLE), beside(output, PICTURE)):
        check_output_file(path, inputs)
        if path.exists() and not output.exists():
            raise InputFileError(f"{path} exists, and would be written next to {output}", OTHER_NAME)


def larbed(
    path: Path,
    output: Path,
    geometry: TiltGeometry,
    settings: LarbedSettings,
    values: Mapping[str, Any] | None = None,
    on_step: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> tuple[InversionResult, list[Path]]:
    """Invert a file and write OUT (HDF5) with a CSV table and a picture next to it; return the result and the files.

    Raises InputFileError, MetadataError, RefinementError, MemoryError, OSError.
    """
    inverted = invert(read(path, geometry, values), settings, on_step)
    attributes = {"seed": settings.seed, "starts_asked": settings.starts, "source": path.name}
    larbed_file.write(output, inverted, attributes)
    table, picture = beside(output, TABLE), beside(output, PICTURE)
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(larbed_file.COLUMNS)
        writer.writerows([*row[:3], *(f"{value:.6g}" for value in row[3:])] for row in larbed_file.table(inverted))
    draw(inverted, picture)
    return inverted, [output, table, picture]


def draw(inverted: InversionResult, path: Path) -> None:
    """Write a PNG: the potential, residuals over the tilts, and discs of data above those of the model."""
    from PIL import Image

    series, crystal = inverted.series, inverted.crystal
    potential = larbed_file.potential_V(inverted)
    lengths = np.linalg.norm(series.cell_A, axis=1) / len(potential)
    title = f"potential, {crystal.thickness_A:.1f} Å thick"
    cells = [
        Cell(potential.astype(np.float32), title, (f"explained {inverted.explained:.1%}",), pixel_A=tuple(lengths))
    ]
    if series.raster is not None:
        residual = inverted.residual.reshape(series.raster)
        cells.append(Cell(residual, "residual of each tilt", (f"median {np.median(residual):.2%}",), ColourMap.MAGMA))
        data, model = series.discs(series.counts), series.discs(inverted.model)
        for number in np.argsort(-series.counts.mean(axis=0))[:SHOWN_DISCS]:
            limits = (0.0, float(data[number].max()) or 1.0)
            discs = np.concatenate([data[number], np.full((1, data.shape[2]), limits[1]), model[number]])
            h, k = series.hk[number]
            cells.append(Cell(discs, f"{h} {k}", ("data above, model below",), ColourMap.VIRIDIS, limits=limits))
    with replacing(path) as temporary:
        Image.fromarray(sheet(cells)).save(temporary, "PNG")
