"""Reflections as masks on the detector, so that the disc of each is a live map while a tilt series runs.

A mask adds up a spot and subtracts the mean of the ring around it, as :mod:`spots` integrates; it does not move, so the
series must be de-scanned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.larbed.spots import RING_SHARES, SPOT_SHARE, Lattice, fit_lattice
from ptylive.schema.errors import InputFileError
from ptylive.schema.model import BoolArray, DoubleArray, FloatArray, IndexArray


@dataclass(frozen=True, eq=False)
class ReflectionMask:
    """Weights (Qy, Qx) of one reflection: the weighted sum of a pattern is its strength, background subtracted."""

    hk: tuple[int, int]
    weights: DoubleArray
    mean: float
    """Strength in the mean pattern."""

    @property
    def name(self) -> str:
        """Name of the map: ``g0_0``, ``g-1_2``."""
        return f"g{self.hk[0]}_{self.hk[1]}"


def cell_of(a_A: float, b_A: float, angle_deg: float) -> DoubleArray:
    """(2, 2) rows a1, a2 of a cell in no particular orientation. Raises InputFileError for an invalid cell."""
    if not (a_A > 0 and b_A > 0 and 0 < angle_deg < 180):
        raise InputFileError(
            f"{a_A:g}, {b_A:g}, {angle_deg:g} is not a valid cell", "give a and b in Å, and their angle in degrees"
        )
    angle = np.deg2rad(angle_deg)
    return np.array([[a_A, 0.0], [b_A * np.cos(angle), b_A * np.sin(angle)]])


def reflection_masks(
    mean: FloatArray, cell_A: DoubleArray, pixel_invA: float, number: int, bad: BoolArray | None = None
) -> list[ReflectionMask]:
    """Masks of the ``number`` strongest reflections of a mean pattern (Qy, Qx), the strongest first.

    ``cell_A``: in any orientation; the lattice is fitted to the pattern. Bad pixels have weight 0. Raises
    InputFileError if no such lattice is found.
    """
    reciprocal = np.asarray(np.linalg.inv(cell_A).T, dtype=np.float64)
    usable = np.ones(mean.shape, bool) if bad is None else ~np.asarray(bad, bool)
    pattern = np.where(usable, mean, 0).astype(np.float32)
    lattice = fit_lattice(pattern, reciprocal, pixel_invA)
    hk = lattice.inside((mean.shape[0], mean.shape[1]), np.zeros((1, 2)))
    masks = [_mask(lattice, each, usable, pattern) for each in hk]
    return sorted(masks, key=lambda each: -each.mean)[: max(1, number)]


def _mask(lattice: Lattice, hk: IndexArray, usable: BoolArray, pattern: FloatArray) -> ReflectionMask:
    row, column = lattice.places(hk[None])[0]
    rows, columns = np.indices(usable.shape)
    distance = np.hypot(rows - row, columns - column)
    spot = (distance <= SPOT_SHARE * lattice.spacing_px) & usable
    ring = (
        (distance >= RING_SHARES[0] * lattice.spacing_px) & (distance <= RING_SHARES[1] * lattice.spacing_px) & usable
    )
    weights = spot.astype(np.float64) - ring * (spot.sum() / max(int(ring.sum()), 1))
    return ReflectionMask((int(hk[0]), int(hk[1])), weights, float((weights * pattern).sum()))
