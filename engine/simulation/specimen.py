"""The specimen of a simulation as transmission functions of slices, one set for each configuration of its atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft

from ptylive.engine.memory import check_fits
from ptylive.engine.simulation import continuous
from ptylive.engine.simulation.atomic_potential import check_known, layer_phase
from ptylive.engine.simulation.atoms import SHEETS, Atoms, Random, bilayer, crystal_cell, scattered, sheet_cell, tiled
from ptylive.engine.simulation.object_grid import ObjectGrid, Window
from ptylive.engine.simulation.structure_files import abtem_layers, structure_atoms
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import FloatArray
from ptylive.schema.simulation.groups import SpecimenSettings
from ptylive.schema.simulation.settings import SimulationSettings

SLICE_A = {"bilayer": 6.2, "monolayer": 6.2, "crystal": 2.0, "atoms": 2.0, "particles": 20.0}
"""Default slice thickness; other specimens have a single slice."""
OF_FILES_A = 2.0
MARGIN_A = 0.5
"""Margin of an atomic specimen above its first and below its last atom."""
SHEET_VACANCIES = 0.02
MOST_SLICES = 4096
PLANES_AT_WORK = 6
"""Object-sized planes of 4 bytes required besides the result while it is made."""


@dataclass(frozen=True, eq=False)
class Specimen:
    """Transmission functions and mean phases; slices counted from the entrance."""

    planes: tuple[FloatArray, ...]
    """One array per configuration, (2, slices, rows, cols): real and imaginary part."""
    phase: FloatArray
    """(slices, rows, cols), rad, averaged over the configurations, before the band limit."""
    slice_thickness_A: float
    """0 for a single slice without thickness."""

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.phase)

    @classmethod
    def of(cls, settings: SimulationSettings, grid: ObjectGrid, window: Window) -> Specimen:
        """Build on a grid. Raises MetadataError for unknown specimens or lack of memory, InputFileError."""
        specimen, seed = settings.specimen, settings.model.seed
        energy, rng = settings.probe.energy_eV, np.random.default_rng([seed, 1])
        if specimen.specimen in _CONTINUOUS and not specimen.structure_file:
            return _continuous(settings, grid, window, rng)
        atoms, height = _atoms(specimen, grid, rng)
        check_known(set(atoms.symbols.tolist()))
        atoms = atoms.lowered(MARGIN_A)
        height += 2 * MARGIN_A
        layers = _layers(specimen, height)
        _check(grid, layers, specimen.configurations)
        every, mean = [], np.zeros((layers, *grid.shape), np.float32)
        for number in range(specimen.configurations):
            moved = atoms.shaken(specimen.displacement_A, np.random.default_rng([seed, 2, number]))
            if specimen.potential == "abtem":
                phases = abtem_layers(_wrapped(moved, grid, height), grid, energy, height, layers)
            else:
                layer = np.clip((moved.positions_A[:, 2] / height * layers).astype(int), 0, layers - 1)
                phases = np.stack([layer_phase(moved.chosen(layer == k), grid, energy) for k in range(layers)])
            mean += phases / np.float32(specimen.configurations)
            every.append(_transmission(phases, grid, window.limit_invA))
        return cls(tuple(every), mean, height / layers)

    @classmethod
    def of_phases(cls, phase: FloatArray, slice_thickness_A: float, grid: ObjectGrid, limit_invA: float) -> Specimen:
        """Build from the phases (slices, rows, cols), rad, of slices on a grid, cut off at ``limit_invA``."""
        return cls((_transmission(phase, grid, limit_invA),), phase, slice_thickness_A)


def _atoms(specimen: SpecimenSettings, grid: ObjectGrid, rng: Random) -> tuple[Atoms, float]:
    """The atoms within the grid, the first of them at depth 0, and their height."""
    extent, material = grid.extent_A, specimen.material
    share = specimen.vacancies or 0.0
    if specimen.structure_file:
        found, height = structure_atoms(
            Path(specimen.structure_file), extent, specimen.thickness_A, specimen.orientation_deg
        )
    elif specimen.specimen in ("monolayer", "bilayer"):
        name = material or next(iter(SHEETS))
        share = SHEET_VACANCIES if specimen.vacancies is None else specimen.vacancies
        if specimen.specimen == "monolayer":
            found = tiled(sheet_cell(name), 1, extent, specimen.orientation_deg)
        else:
            found = bilayer(name, extent, specimen.orientation_deg, specimen.twist_deg)
        height = float(np.ptp(found.positions_A[:, 2])) if len(found) else 0.0
    elif specimen.specimen == "crystal":
        cell = crystal_cell(material or "SrTiO3")
        layers = max(1, round(specimen.thickness_A / cell.height_A))
        found, height = tiled(cell, layers, extent, specimen.orientation_deg), layers * cell.height_A
    else:
        element = material or "Au"
        check_known({element})
        found, height = scattered(element, extent, specimen.coverage, rng), 0.0
    return found.thinned(share, rng), height


def _layers(specimen: SpecimenSettings, height_A: float) -> int:
    usual = OF_FILES_A if specimen.structure_file else SLICE_A.get(specimen.specimen, height_A)
    layers = max(1, round(height_A / (specimen.slice_thickness_A or usual)))
    if layers > MOST_SLICES:
        raise MetadataError(f"the specimen has {layers} slices, at most {MOST_SLICES}", "raise slice_thickness_A")
    return layers


def _check(grid: ObjectGrid, layers: int, configurations: int) -> None:
    planes = (2 * layers * configurations + 3 * layers + PLANES_AT_WORK) * 4.0
    check_fits(
        planes * grid.shape[0] * grid.shape[1],
        f"an object of {configurations} x {layers} slices of {grid.shape[0]} x {grid.shape[1]} pixels",
        "use a smaller scan, thicker slices, fewer configurations or a lower reach",
    )


def _wrapped(atoms: Atoms, grid: ObjectGrid, height_A: float) -> Atoms:
    """Atoms wrapped into the box that is passed to abTEM."""
    places = atoms.positions_A.copy()
    places[:, :2] %= grid.extent_A
    places[:, 2] = places[:, 2].clip(1e-3, height_A - 1e-3)
    return Atoms(atoms.symbols, places)


def _continuous(settings: SimulationSettings, grid: ObjectGrid, window: Window, rng: Random) -> Specimen:
    """A specimen without atoms."""
    specimen = settings.specimen
    layers = _layers(specimen, specimen.thickness_A) if specimen.specimen == "particles" else 1
    _check(grid, layers, 1)
    phases = np.stack(list(_CONTINUOUS[specimen.specimen](settings, grid, layers, rng)))
    thickness = specimen.thickness_A / layers if specimen.specimen == "particles" else 0.0
    limit = window.limit_invA if specimen.specimen == "particles" else None
    return Specimen((_transmission(phases, grid, limit),), phases, thickness)


_Maker = Callable[[SimulationSettings, ObjectGrid, int, Random], Iterable[FloatArray]]
_CONTINUOUS: dict[str, _Maker] = {
    "vacuum": lambda settings, grid, layers, rng: [np.zeros(grid.shape, np.float32)],
    "gradient": lambda settings, grid, layers, rng: [continuous.gradient(settings.specimen, grid)],
    "gaussians": lambda settings, grid, layers, rng: [continuous.gaussians(settings.specimen, grid, rng)],
    "circles": lambda settings, grid, layers, rng: [continuous.circles(settings.specimen, grid, rng)],
    "particles": lambda settings, grid, layers, rng: continuous.particles(
        settings.specimen, grid, settings.probe.energy_eV, layers, rng
    ),
}


def _transmission(phases: FloatArray, grid: ObjectGrid, limit_invA: float | None) -> FloatArray:
    """exp(i phase) of slices as planes (2, slices, rows, cols), without frequencies beyond ``limit_invA``."""
    out = np.empty((2, *phases.shape), np.float32)
    if limit_invA is not None:
        rows, cols = (np.fft.fftfreq(n, grid.pixel_A) for n in grid.shape)
        passed = np.hypot(rows[:, None], cols[None, :]) <= limit_invA
    for number, phase in enumerate(phases):
        wave = np.exp(1j * phase)
        if limit_invA is not None:
            wave = scipy.fft.ifft2(scipy.fft.fft2(wave, overwrite_x=True) * passed, overwrite_x=True)
        out[0, number], out[1, number] = wave.real, wave.imag
    return out
