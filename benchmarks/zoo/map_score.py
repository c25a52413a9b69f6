"""Agreement of a live map with the truth of a simulated scan, at the scan points.

The true projected phase is blurred by a Gaussian and sampled at the true positions; a quadratic surface and the border
of the scan are removed from map and truth. The blur with the largest magnitude of the correlation is used, and the
signed value reported: a map is a linear picture of its own resolution, and a wrong sign is no success.

Any native file with a truth can be used: ``/truth/phase`` (y, x) in rad with ``object_sampling_A`` in the attributes of
``/truth``, and ``/truth/positions_A`` (rows, points + flyback, 2) in Å in the frame of that phase, in acquisition
order; shape, step and pattern of the scan, energy and semi-angle are read from ``/metadata``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.zoo.draws import wavelength_A
from benchmarks.zoo.score import correlation

Floats = NDArray[np.floating[Any]]
BLURS = tuple(np.geomspace(0.24, 12, 28))
"""Blurs to try, in units of the aperture's resolution, wavelength over twice the semi-angle."""
BORDER = 0.06
"""Fraction of the shorter side of the scan that is left out on all sides; at least two points."""


@dataclass(frozen=True)
class MapTruth:
    """The truth of a file, and the points at which it is evaluated."""

    phase: Floats
    sampling_A: float
    positions_A: Floats
    """True positions, (rows, columns, 2), each row from its first point on."""
    step_A: tuple[float, float]
    resolution_A: float

    @classmethod
    def read(cls, path: Path) -> MapTruth:
        """Read a file as described in this module's docstring; an error names what is missing."""
        import h5py

        with h5py.File(path) as file:
            missing = {"truth/phase", "truth/positions_A", "metadata"} - {n for n in _names(file)}
            if missing:
                raise SystemExit(f"{path}: there is no {sorted(missing)[0]!r}, so there is nothing to compare with")
            metadata, truth = dict(file["metadata"].attrs), file["truth"]
            phase, sampling = truth["phase"][()].astype(float), float(truth.attrs["object_sampling_A"])
            positions = truth["positions_A"][()].astype(float)[:, : int(metadata["scan_shape"][1])]
        if metadata["scan_pattern"] == "snake":
            positions[1::2] = positions[1::2, ::-1].copy()
        rows, columns = np.broadcast_to(np.asarray(metadata["scan_step_A"], float), 2)
        resolution = wavelength_A(float(metadata["energy_eV"])) / (2e-3 * float(metadata["convergence_semiangle_mrad"]))
        return cls(phase, sampling, positions, (float(rows), float(columns)), resolution)

    @property
    def border(self) -> int:
        """Number of points left out on each side."""
        return max(2, round(BORDER * min(self.positions_A.shape[:2])))

    @cached_property
    def targets(self) -> dict[float, Floats]:
        """For each blur in Å, the levelled truth of the evaluated points."""
        index = self.positions_A.transpose(2, 0, 1) / self.sampling_A
        found = {}
        for blur in BLURS:
            sigma = float(blur * self.resolution_A)
            soft = ndimage.gaussian_filter(self.phase, sigma / self.sampling_A, mode="nearest")
            found[sigma] = self.levelled(ndimage.map_coordinates(soft, index, order=3, mode="nearest"))
        return found

    def levelled(self, values: Floats) -> Floats:
        """Values (rows, columns) without border and quadratic surface."""
        trim = self.border
        inner = values[trim:-trim, trim:-trim]
        rows, columns = (axis.ravel() for axis in np.mgrid[-1 : 1 : inner.shape[0] * 1j, -1 : 1 : inner.shape[1] * 1j])
        surface = np.stack([np.ones(inner.size), rows, columns, rows**2, rows * columns, columns**2], 1)
        flat = inner.ravel()
        residual: Floats = flat - surface @ np.linalg.lstsq(surface, flat, rcond=None)[0]
        return residual


def _names(file: Any) -> list[str]:
    """Paths of all groups and data sets."""
    found: list[str] = []
    file.visit(found.append)
    return found


def score_map(truth: MapTruth, values: Floats, sampling_A: tuple[float, float] | None = None) -> dict[str, float]:
    """Correlation of a map with the truth, and the blur in Å at which it is largest.

    values: (y, x), its first pixel at the first scan point, along the axes of the scan; ``sampling_A`` is its pixel, by
    default the scan's step.
    """
    shape = truth.positions_A.shape[:2]
    if values.shape != shape:
        sampling = truth.step_A if sampling_A is None else sampling_A
        grid = np.indices(shape) * np.reshape(np.divide(truth.step_A, sampling), (2, 1, 1))
        values = ndimage.map_coordinates(values.astype(float), grid, order=3, mode="nearest")
    levelled = truth.levelled(values) if np.isfinite(values).all() else np.zeros(1)
    if not levelled.any():
        return {"corr": 0.0, "blur_A": 0.0}
    best = max(truth.targets, key=lambda blur: abs(correlation(levelled, truth.targets[blur])))
    return {"corr": round(correlation(levelled, truth.targets[best]), 4), "blur_A": round(best, 3)}
