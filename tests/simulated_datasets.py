"""Scans of ``ptylive simulate`` as data sets for the refinement, without a file, and how well an object is found."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from ptylive.engine.dataset import Dataset
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.simulation.settings import SimulationSettings

BLUR_A = 0.15


def simulated(**values) -> SimulatedScan:
    """A scan whose frames are computed on request."""
    return SimulatedScan.of(SimulationSettings.of(values), Path("unused.h5"))


def dataset_of(scan: SimulatedScan, patterns: np.ndarray | None = None, **told) -> Dataset:
    """All frames of a raster scan (or ``patterns`` in their place) with a file's metadata, overridden by ``told``."""
    header = scan.header
    shape = header.scan.require_shape()
    center = header.detector.beam_center_px
    values = {
        "energy_eV": header.optics.energy_eV,
        "convergence_semiangle_mrad": header.optics.convergence_semiangle_mrad,
        "detector_pixel_invA": scan.window.detector_pixel_invA,
        "rotation_deg": scan.settings.scan.rotation_deg,
        "beam_center_px": center,
        "C10": 0.0,
        **scan.settings.aberrations,
        **told,
    }
    return Dataset(
        patterns=scan.frames(np.arange(header.frames)) if patterns is None else patterns,
        point=np.arange(header.frames),
        positions_A=scan.trajectory.nominal_A,
        bad_pixels=scan.readout.bad_pixels,
        beam_center_px=np.asarray(center, dtype=float),
        scan_shape=shape,
        calibration=Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()}),
    )


def found_and_true(scan: SimulatedScan, result) -> tuple[np.ndarray, np.ndarray]:
    """Phases of all slices on the truth's pixels between the outermost points, without a plane, with the best shift.

    Both blurred by 0.15 Å.
    """
    truth = scan.specimen.phase.sum(axis=0).astype(float)
    pixel, origin = scan.grid.pixel_A, np.asarray(scan.grid.origin_A)
    phase = np.angle(result.object).sum(axis=1).mean(axis=0).astype(float)
    places = scan.trajectory.nominal_A
    low, high = (np.ceil((edge - origin) / pixel).astype(int) for edge in (places.min(0), places.max(0)))
    rows, cols = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
    at = (np.stack([rows, cols]) * pixel + origin[:, None, None] - np.reshape(result.origin_A, (2, 1, 1))) / np.reshape(
        result.object_sampling_A, (2, 1, 1)
    )
    own = BLUR_A / np.asarray(result.object_sampling_A)
    smooth = ndimage.gaussian_filter(phase, own)
    wanted = _level(ndimage.gaussian_filter(truth, BLUR_A / pixel)[rows, cols])
    shifts = np.arange(-6, 7) * 0.05  # a common shift of object and probe is arbitrary
    tried = [
        _level(ndimage.map_coordinates(smooth, at + np.reshape((dy, dx), (2, 1, 1)) / result.object_sampling_A[0]))
        for dy in shifts
        for dx in shifts
    ]
    return max(tried, key=lambda one: agreement(one, wanted)), wanted


def agreement(found: np.ndarray, true: np.ndarray) -> float:
    """Correlation of two phases."""
    return float(np.corrcoef(found.ravel(), true.ravel())[0, 1])


def _level(plane: np.ndarray) -> np.ndarray:
    y, x = np.indices(plane.shape)
    design = np.stack([np.ones(plane.size), y.ravel(), x.ravel()], 1)
    fit, *_ = np.linalg.lstsq(design, plane.ravel(), rcond=None)
    return plane - (design @ fit).reshape(plane.shape)


def shown(title: str, figures: dict[str, float]) -> None:
    """Print one line of figures, visible even if output is captured."""
    print(f"{title}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()), file=sys.stdout)


__all__ = ["agreement", "dataset_of", "found_and_true", "replace", "shown", "simulated"]
