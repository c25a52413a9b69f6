"""Repeated simulation of a scan with a truth: the same specimen and microscope, but its pattern wanders.

Slices, probe positions, optics and dose are read from the file; the patterns are those of ptylive's own simulation
(docs/simulate.md), so that a descan moves the wave before any electron is counted: nothing is interpolated, and no
count is cut off. Metadata of the file are kept, except for the descan; the beam centre is that of the mean pattern, as
for a microscope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ptylive.application.conversion import write_scan
from ptylive.application.simulation import write_truth
from ptylive.engine.simulation.illumination import FWHM_PER_SIGMA
from ptylive.engine.simulation.object_grid import ObjectGrid, Window
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.engine.simulation.specimen import Specimen
from ptylive.schema.simulation.settings import SimulationSettings

Floats = NDArray[np.floating[Any]]
SOURCE_POINTS, FOCAL_POINTS = 2, 2
NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Wander:
    """A descan: coefficients of a plane or a parabola, and the standard deviation of each line's displacement, px."""

    numbers: tuple[float, ...] = (0.0,)
    jumps_px: float = 0.0


def simulated_again(
    source: Path,
    target: Path,
    wander: Wander,
    seed: int,
    *,
    tell: str = "everything",
    detector: Mapping[str, Any] = NO_SETTINGS,
) -> Floats:
    """Write the scan of ``source`` with another wander and other noise; return its pattern positions.

    These are (rows, columns, 2) in px. ``tell``: as in a simulation's settings; ``detector``: detector settings to
    override. Raises SystemExit for a file without slices, or with drifting points.
    """
    with h5py.File(source) as file:
        metadata, truth = dict(file["metadata"].attrs), file["truth"]
        if "slices" not in truth or np.any(metadata.get("drift_A", 0)) or np.any(metadata.get("position_jitter_A", 0)):
            raise SystemExit(f"{source}: needs truth/slices and points without drift and jitter")
        slices, sampling = truth["slices"][()], float(truth.attrs["object_sampling_A"])
        first, thickness = (
            truth["positions_A"][0, 0].astype(float),
            float(metadata.get("thickness_A", 0.0)) / len(slices),
        )
        shape = file["data"].shape[-2:]

    def specimen(_: SimulationSettings, grid: ObjectGrid, window: Window) -> Specimen:
        places = [
            (first[axis] + grid.origin_A[axis] + np.arange(grid.shape[axis]) * grid.pixel_A) / sampling
            for axis in (0, 1)
        ]
        coordinates = np.meshgrid(*places, indexing="ij")
        phases = [
            ndimage.map_coordinates(slice_phase.astype(float), coordinates, order=3, mode="grid-wrap")
            for slice_phase in slices
        ]
        return Specimen.of_phases(np.asarray(phases, np.float32), thickness, grid, window.limit_invA)

    scan = SimulatedScan.with_specimen(_settings(metadata, shape, wander, seed, tell, detector), target, specimen)
    rows, cols = scan.header.scan.require_shape()
    places = scan.trajectory.descan_px.reshape(rows, -1, 2)[:, :cols]
    center = scan.header.detector.beam_center_px
    if center is not None:
        center = (center[0] + float(places[..., 0].mean()), center[1] + float(places[..., 1].mean()))
    detector = scan.header.detector.model_copy(update={"descan_px": None, "beam_center_px": center})
    scan = replace(scan, header=replace(scan.header, detector=detector))
    target.unlink(missing_ok=True)
    write_scan(target, scan)
    write_truth(target, *scan.truth())
    return places


def simulation_settings(source: Path, seed: int, *, detector: Mapping[str, Any] = NO_SETTINGS) -> SimulationSettings:
    """Settings that simulate a scan again without wander."""
    with h5py.File(source) as file:
        metadata, shape = dict(file["metadata"].attrs), file["data"].shape[-2:]
    return _settings(metadata, shape, Wander(), seed, "everything", detector)


def _settings(
    metadata: dict[str, Any], shape: tuple[int, int], wander: Wander, seed: int, tell: str, detector: Mapping[str, Any]
) -> SimulationSettings:
    """Settings for the file's microscope."""
    center = np.asarray(metadata["beam_center_px"], dtype=float)
    step = np.broadcast_to(np.asarray(metadata["scan_step_A"], float), 2)
    return SimulationSettings.of(
        {
            "specimen": "vacuum",
            "energy_eV": float(metadata["energy_eV"]),
            "convergence_semiangle_mrad": float(metadata["convergence_semiangle_mrad"]),
            "defocus_A": float(metadata["defocus_A"]),
            "astigmatism_A": float(metadata.get("astigmatism_A", 0)),
            "astigmatism_deg": float(metadata.get("astigmatism_deg", 0)),
            "Cs_A": float(metadata.get("Cs_A", 0)),
            "source_size_A": float(metadata.get("source_sigma_A", 0)) * FWHM_PER_SIGMA,
            "source_points": SOURCE_POINTS,
            "focal_spread_A": float(metadata.get("focal_spread_sigma_A", 0)),
            "focal_points": FOCAL_POINTS,
            "scan_shape": tuple(int(n) for n in metadata["scan_shape"]),
            "scan_step_A": (float(step[0]), float(step[1])),
            "scan_pattern": str(metadata["scan_pattern"]),
            "rotation_deg": float(metadata["rotation_deg"]),
            "detector_shape": shape,
            "detector_pixel_mrad": float(metadata["detector_pixel_mrad"]),
            "beam_offset_px": (float(center[0] - shape[0] // 2), float(center[1] - shape[1] // 2)),
            "detector_transform": str(metadata["detector_transform"]),
            "descan_px": wander.numbers,
            "descan_jump_px": wander.jumps_px,
            "dose_e_per_A2": float(metadata["dose_e_per_A2"]),
            "seed": seed,
            "tell": tell,
            **detector,
        }
    )
