"""Masks and recorded coefficients in the form that the compiled kernel takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.description import CompressedPatterns, ForwardModel
from ptylive.engine.backend.multislice.kernel_parts.coefficients import (
    GAUSS,
    LEAST_SQUARES,
    POISSON,
    ROOT,
    Projection,
)
from ptylive.engine.backend.multislice.kernel_parts.planes import Real, laid_out
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTerm, MultisliceProblem
from ptylive.schema.model import Array, IndexArray

KINDS = {
    CoefficientTermKind.LEAST_SQUARES: LEAST_SQUARES,
    CoefficientTermKind.ROOT: ROOT,
    CoefficientTermKind.GAUSS: GAUSS,
    CoefficientTermKind.POISSON: POISSON,
}
FEW_MASKS = 4
"""Pixels covered by at most a quarter of the masks are stored separately."""
MOST_BYTES = 4 << 20
"""Size of masks that every pattern reads anew: beyond it, one product for many patterns is faster."""


def projection_of(problem: MultisliceProblem, model: ForwardModel) -> Projection | None:
    """The coefficients of a problem for the kernel; None if there are none, or the kernel does not support them."""
    compressed = model.compressed
    unsupported = model.near_field is not None or model.spread is not None or model.upsampling > 1
    if compressed is None or unsupported or problem.data_term.kind not in KINDS:
        return None
    projection = _projection(compressed, problem.data_term, problem.precision.real)
    return None if projection.many.nbytes + projection.rest.nbytes > MOST_BYTES else projection


def of_patterns(projection: Projection, batch: IndexArray) -> Projection:
    """Return the projection with the recorded values of the patterns ``batch`` only."""
    return projection._replace(values=projection.values[batch], measured=projection.measured[batch])


def _projection(compressed: CompressedPatterns, term: DataTerm, real: Real) -> Projection:
    kind, lengths = KINDS[CoefficientTermKind(str(term.kind))], compressed.perpendicular
    masks, count = _turned(compressed.masks, real), len(compressed.masks)
    regions = np.zeros((len(lengths), masks.shape[1]), real)
    members = np.zeros((len(lengths), count), real)
    scattered = np.zeros((len(lengths), masks.shape[1]), real)
    for number, length in enumerate(lengths):
        regions[number], members[number, length.masks] = _turned(length.region, real), 1
        if kind != ROOT:
            scattered[number] = regions[number] - (masks[length.masks] ** 2).sum(axis=0)
    masks = np.concatenate([masks, scattered])
    dense = (masks != 0).sum(axis=0) * FEW_MASKS > len(masks)
    elsewhere = np.where(dense, real.type(0), masks)
    few = np.flatnonzero(elsewhere.any(axis=1))
    if len(few) * FEW_MASKS > len(masks):
        dense[:], few = True, few[:0]
    pixels = np.flatnonzero(dense)
    whitening, edge = compressed.whitening, compressed.edge
    return Projection(
        kind,
        real.type(term.offset),
        _copied(compressed.values, real),
        pixels,
        _copied(masks[:, pixels], real),
        few,
        _copied(elsewhere[few], real),
        np.zeros((0, 0), real) if whitening is None else _copied(whitening, real),
        np.zeros(0, real) if edge is None else _turned(edge, real),
        regions,
        members,
        _copied(
            np.stack([length.measured for length in lengths], axis=1)
            if lengths
            else np.zeros((len(compressed.values), 0)),
            real,
        ),
        _copied([length.weight for length in lengths], real),
    )


def _turned(planes: Array, real: Real) -> Array:
    """Planes (..., P * P) for the kernel: with their two axes exchanged, and its row pitch."""
    size = int(planes.shape[-1] ** 0.5 + 0.5)
    return laid_out(np.swapaxes(planes.reshape(*planes.shape[:-1], size, size), -1, -2), real)


def _copied(values: Any, real: Real) -> Array:
    """A writeable copy: arrays of another kind would need another compiled version."""
    return np.array(values, dtype=real, order="C")
