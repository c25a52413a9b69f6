"""A start object from images of phase and modulus on the field of the scan, with any number of pixels."""

from __future__ import annotations

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema.errors import MetadataError
from ptylive.schema.files.npy import read_npy
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset.start import StartSettings


def from_images(settings: StartSettings, problem: Problem) -> WarmStart | None:
    """The object that the images show, on the pixels of the problem; None if none is given.

    Their corner pixels lie on the corners of the scan, whatever its rotation; beyond them phases are continued from the
    border. One image of the phase represents all slices together. Raises MetadataError.
    """
    names = {"start_phase_image": settings.start_phase_image, "start_amplitude_image": settings.start_amplitude_image}
    images = {name: _image(name, path) for name, path in names.items() if path is not None}
    if not images:
        return None
    grid, positions = problem.grid, _on_scan(problem)
    on_grid = {name: _sampled(image, positions, problem.measured.dataset.scan_shape) for name, image in images.items()}
    phase, modulus = on_grid.get("start_phase_image", 0.0), on_grid.get("start_amplitude_image", 1.0)
    if np.any(np.asarray(modulus) <= 0):
        raise MetadataError("start_amplitude_image holds a modulus at or below 0", "give numbers above 0, vacuum is 1")
    transmission = np.asarray(modulus * np.exp(1j * np.asarray(phase)), dtype=np.complex64)[None, None]
    origin = (float(grid.origin_A[0]), float(grid.origin_A[1]))
    return WarmStart(transmission, grid.pixel_A, origin, over_map=True)


def _image(name: str, path: str) -> DoubleArray:
    image = read_npy(name, path, "give an npy file of an image")
    if image.ndim != 2 or min(image.shape) < 2 or image.dtype.kind not in "buif":
        raise MetadataError(f"{name} {path} is {image.dtype} {image.shape}", "give an image of numbers, rows x columns")
    if not np.isfinite(image).all():
        raise MetadataError(f"{name} {path} holds values that are not numbers", "give finite ones")
    return np.asarray(image, dtype=np.float64)


def _on_scan(problem: Problem) -> DoubleArray:
    """(2, Y, X) place of each object pixel in rows and columns of the scan, by the best-fitting grid of positions."""
    dataset: Dataset = problem.measured.dataset
    row, column = np.divmod(dataset.point, dataset.scan_shape[1])
    model = np.stack([np.ones(len(row)), row, column], axis=1)
    fit, _, rank, _ = np.linalg.lstsq(model, problem.positions_A, rcond=None)
    axes = fit[1:]
    if rank < 3 or abs(np.linalg.det(axes)) < 1e-9:
        raise MetadataError(
            "start_phase_image covers the field of the scan, which is not defined", "use a scan with rows and columns"
        )
    y, x = np.meshgrid(*(np.arange(n) for n in problem.grid.shape), indexing="ij")
    offsets_A = np.stack([y, x], axis=-1) * problem.grid.pixel_A + problem.grid.origin_A - fit[0]
    return np.moveaxis(offsets_A @ np.linalg.inv(axes), -1, 0)


def _sampled(image: DoubleArray, positions: DoubleArray, scan_shape: tuple[int, int]) -> DoubleArray:
    """Interpolate an image linearly at places of the scan; beyond its border the last value is continued."""
    from scipy.ndimage import map_coordinates

    finer = [(pixels - 1) / max(points - 1, 1) for pixels, points in zip(image.shape, scan_shape, strict=True)]
    at = np.stack([positions[0] * finer[0], positions[1] * finer[1]])
    return np.asarray(map_coordinates(image, at, order=1, mode="nearest"))
