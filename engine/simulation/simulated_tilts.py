"""A tilt series that is computed frame by frame: a parallel beam on a crystal, tilted from scan point to scan point.

The window is the cell with periodic boundaries, so that every beam is a point of its transform. A beam tilted by the
tangents tau adds 2 q . tau / lam to q^2 in free space. Beams become Gaussian spots on the detector, which is that of
any simulation.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.memory import check_fits
from ptylive.engine.simulation.atomic_potential import SCATTERING_VA2, scattering_factor_A
from ptylive.engine.simulation.atoms import Cell, crystal_cell
from ptylive.engine.simulation.illumination import Illumination
from ptylive.engine.simulation.object_grid import ObjectGrid, Window
from ptylive.engine.simulation.readout import Readout
from ptylive.engine.simulation.simulated_scan import SimulatedScan, header_of
from ptylive.engine.simulation.specimen import OF_FILES_A, Specimen
from ptylive.engine.simulation.trajectory import Trajectory
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array, ComplexArray, DoubleArray, FloatArray, IndexArray
from ptylive.schema.scan import rotation_matrix
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.schema.units import interaction_rad_per_VA, mrad_to_invA

BYTES_PER_FRAME = 400
BEYOND = 1.5
"""Distance up to which beams are followed, in units of the detector's edge."""
LEAST_PIXELS, MOST_PIXELS = 16, 256
TILTS_AT_A_TIME = 64
FEWEST_SLICES = 1


@dataclass(frozen=True)
class TiltedCrystal:
    """One cell on P x P pixels, slice after slice. Vectors are (row, column) of the detector."""

    cell_A: DoubleArray
    """(2, 2) rows a1, a2."""
    potential_VA: ComplexArray
    """(layers, P, P) structure factors of each layer of a cell, over its area, zero frequency first."""
    layers: int
    """Number of layers of the whole crystal."""
    layer_A: float
    energy_eV: float
    wavelength_A: float

    @classmethod
    def of(cls, settings: SimulationSettings, window: Window) -> TiltedCrystal:
        """The crystal for some settings. Raises MetadataError if it is not perfect, or its cell too fine."""
        specimen = settings.specimen
        if (
            specimen.specimen != "crystal"
            or specimen.structure_file
            or specimen.configurations > 1
            or specimen.vacancies
        ):
            raise MetadataError(
                "beam=parallel needs a perfect crystal", "set specimen=crystal; displacement_A blurs its atoms"
            )
        cell = crystal_cell(specimen.material or "SrTiO3")
        across = np.asarray(cell.across_A, dtype=float) @ rotation_matrix(specimen.orientation_deg).T
        reach = BEYOND * window.detector_edge_invA
        orders = math.ceil(reach * float(np.linalg.norm(across, axis=1).max()))
        pixels = max(LEAST_PIXELS, 2 * math.ceil(1.5 * (orders + 1)))
        if pixels > MOST_PIXELS:
            raise MetadataError(f"the cell would have {pixels} pixels", "lower detector_pixel_mrad")
        per_cell = max(FEWEST_SLICES, round(cell.height_A / (specimen.slice_thickness_A or OF_FILES_A)))
        cells = max(1, round(specimen.thickness_A / cell.height_A))
        layers = np.stack(
            [_layer(cell, across, pixels, (k, per_cell), specimen.displacement_A) for k in range(per_cell)]
        )
        energy = settings.probe.energy_eV
        return cls(across, layers, cells * per_cell, cell.height_A / per_cell, energy, window.wavelength_A)

    @property
    def pixels(self) -> int:
        """Number of pixels P along a side."""
        return int(self.potential_VA.shape[-1])

    @cached_property
    def hk(self) -> IndexArray:
        """(P * P, 2) orders of the beams."""
        orders = np.rint(np.fft.fftfreq(self.pixels, 1 / self.pixels)).astype(np.int64)
        return np.stack(np.meshgrid(orders, orders, indexing="ij"), axis=-1).reshape(-1, 2)

    @cached_property
    def q_invA(self) -> DoubleArray:
        """(P * P, 2) spatial frequencies of the beams."""
        return np.asarray(self.hk @ np.linalg.inv(self.cell_A).T)

    @cached_property
    def inside(self) -> FloatArray:
        """(P, P) mask: 1 where products of waves and layers do not alias."""
        unaliased = np.abs(self.hk).max(axis=1) <= self.pixels // 3
        return np.asarray(unaliased.reshape(self.pixels, self.pixels), dtype=np.float32)

    def beams(self, tilts_mrad: DoubleArray) -> FloatArray:
        """(n, P * P) intensities behind the crystal for unit incident intensity, for tilts (n, 2) of the beam."""
        sigma = interaction_rad_per_VA(self.energy_eV)
        phases = sigma * np.fft.ifft2(self.potential_VA).real * self.pixels**2
        through = [np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * self.inside) for phase in phases]
        tangents = np.tan(1e-3 * np.asarray(tilts_mrad))
        q2 = (self.q_invA**2).sum(axis=1) + 2 * tangents @ self.q_invA.T / self.wavelength_A
        free = np.exp(-1j * np.pi * self.wavelength_A * self.layer_A * q2).reshape(-1, self.pixels, self.pixels)
        free = free * self.inside
        wave = np.ones((len(tilts_mrad), self.pixels, self.pixels), np.complex128)
        for number in range(self.layers):
            spectrum = np.fft.fft2(wave * through[number % len(through)])
            wave = np.fft.ifft2(spectrum * free)
        intensity = np.abs(np.fft.fft2(wave) / self.pixels**2) ** 2
        return np.asarray(intensity.reshape(len(tilts_mrad), -1), dtype=np.float32)


def _layer(cell: Cell, across_A: DoubleArray, pixels: int, part: tuple[int, int], blur_A: float) -> ComplexArray:
    """Structure factors (P, P) of the atoms in one of several layers of a cell, V Å of its projected potential."""
    orders = np.rint(np.fft.fftfreq(pixels, 1 / pixels))
    h, k = np.meshgrid(orders, orders, indexing="ij")
    q = np.stack([h, k], axis=-1) @ np.linalg.inv(across_A).T
    q2 = (q**2).sum(axis=-1)
    places = np.asarray(cell.positions_A, dtype=float)
    share = places[:, :2] @ np.linalg.inv(np.asarray(cell.across_A))
    number, count = part
    inside = np.clip((places[:, 2] / cell.height_A * count + 1e-9).astype(int), 0, count - 1) == number
    total = np.zeros((pixels, pixels), np.complex128)
    for (u, v), symbol, in_layer in zip(share, cell.symbols, inside, strict=True):
        if in_layer:
            total += scattering_factor_A(symbol, q2) * np.exp(-2j * np.pi * (h * u + k * v))
    return np.asarray(total * np.exp(-2 * np.pi**2 * blur_A**2 * q2) * SCATTERING_VA2 / abs(np.linalg.det(across_A)))


@dataclass(eq=False)
class SimulatedTilts(SimulatedScan):
    """A file of a tilt series that does not exist yet."""

    crystal: TiltedCrystal | None = None
    tilts_mrad: DoubleArray | None = None
    """(frames, 2) tilts of the beam, in the order of acquisition."""

    @classmethod
    def of(cls, settings: SimulationSettings, path: Path) -> SimulatedTilts:
        """Everything but the frames. Raises MetadataError for impossible settings."""
        window = Window.of(settings)
        readout = Readout.of(settings, window)
        header = header_of(settings, readout)
        header = replace(
            header,
            scan=header.scan.model_copy(update={"step_A": None}),
            optics=header.optics.model_copy(update={"convergence_semiangle_mrad": None, "aberrations": {}}),
        )
        check_fits(float(header.frames) * BYTES_PER_FRAME, f"{header.frames} frames", "use fewer tilts")
        trajectory = Trajectory.of(settings, header.scan)
        readout.check_descan(trajectory.descan_px)
        crystal = TiltedCrystal.of(settings, window)
        empty = np.zeros((1, 1, 1), np.complex64)
        return cls(
            settings,
            path,
            header,
            window,
            ObjectGrid((1, 1), window.pixel_A, (0.0, 0.0)),
            trajectory,
            Illumination(empty, empty[0]),
            Specimen((), np.zeros((crystal.layers, 1, 1), np.float32), crystal.layer_A),
            readout,
            empty,
            crystal=crystal,
            tilts_mrad=_tilts(settings, trajectory),
        )

    def _parts(self) -> tuple[TiltedCrystal, DoubleArray]:
        if self.crystal is None or self.tilts_mrad is None:
            raise ValueError("a tilt series is made by SimulatedTilts.of")
        return self.crystal, self.tilts_mrad

    def _intensities(self, index: IndexArray) -> FloatArray:
        """Far-field intensities (n, P, P) of the model, zero frequency first: spots of the beams."""
        crystal, tilts = self._parts()
        offsets = self.readout.offsets_px(self.trajectory.descan_px[index])
        if self.settings.tilts.follows_tilt:
            offsets = offsets + mrad_to_invA(1.0, self.window.wavelength_A) * tilts[index] * self.window.side_A
        parts = [
            crystal.beams(tilts[index[first : first + TILTS_AT_A_TIME]])
            for first in range(0, len(index), TILTS_AT_A_TIME)
        ]
        wide = self.settings.tilts.spot_px * self.window.oversampling
        places = crystal.q_invA * self.window.side_A
        patterns = [
            _spots(intensity, places + offset, wide, self.window.size)
            for intensity, offset in zip(np.concatenate(parts), offsets, strict=True)
        ]
        return np.stack(patterns)

    def truth(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays and attributes of the group ``/truth``: tilts, and the structure factors of the mean potential."""
        crystal, tilts = self._parts()
        scan = self.header.scan
        rows, columns = scan.require_shape()[0], scan.frames_per_row
        mean_V = crystal.potential_VA.sum(axis=0) / (crystal.layer_A * len(crystal.potential_VA))
        inside = crystal.inside.ravel() > 0
        arrays: dict[str, Array] = {
            "tilts_mrad": tilts.reshape(rows, columns, 2),
            "hk": crystal.hk[inside],
            "structure_factors_V": mean_V.ravel()[inside],
            "descan_px": self.trajectory.descan_px.reshape(rows, columns, 2),
        }
        attributes: dict[str, Any] = {
            "cell_A": crystal.cell_A,
            "thickness_A": crystal.layers * crystal.layer_A,
            "slice_thickness_A": crystal.layer_A,
            "wavelength_A": crystal.wavelength_A,
            "detected_fraction": self.detected_fraction,
            "electrons_per_pattern": self.settings.electrons_per_pattern,
            "settings": json.dumps(self.settings.model_dump()),
            "seed": self.settings.model.seed,
            "beam_center_px": np.asarray(self.readout.center_px),
            "note": "structure factors of the mean inner potential, exp(-2 pi i (h u + k v)), u and v along cell_A",
        }
        return arrays, attributes


def _tilts(settings: SimulationSettings, trajectory: Trajectory) -> DoubleArray:
    """Tilts of all frames: the raster's points in steps around its middle, rotated from +row towards +column."""
    tilts, scan = settings.tilts, settings.scan
    steps = trajectory.nominal_A @ rotation_matrix(scan.rotation_deg) / np.asarray(scan.scan_step_A)
    steps = steps - (np.asarray(scan.scan_shape) - 1) / 2
    turn = rotation_matrix(tilts.tilt_rotation_deg)
    return np.asarray(tilts.tilt_step_mrad * steps @ turn.T + np.asarray(tilts.tilt_centre_mrad))


def _spots(intensity: FloatArray, places: DoubleArray, wide: float, size: int) -> FloatArray:
    """(P, P) Gaussians of given sums at places (M, 2) in pixels from zero frequency; what lies outside is lost."""
    visible = (np.abs(places) < size / 2 - 1).all(axis=1) & (intensity > 0)
    coordinates = np.fft.fftfreq(size, 1 / size)
    along = [np.exp(-0.5 * ((coordinates - place[:, None]) / wide) ** 2) for place in places[visible].T]
    rows, cols = (profile / profile.sum(axis=1, keepdims=True) for profile in along)
    return np.asarray((rows * intensity[visible][:, None]).T @ cols, dtype=np.float32)
