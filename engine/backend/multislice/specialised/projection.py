"""Masks and recorded coefficients as the compiled kernel takes them."""

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
from ptylive.engine.backend.multislice.kernel_parts.planes import laid_out
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTerm, MultisliceProblem
from ptylive.schema.model import Array, FloatArray, IndexArray

KINDS = {
    CoefficientTermKind.LEAST_SQUARES: LEAST_SQUARES,
    CoefficientTermKind.ROOT: ROOT,
    CoefficientTermKind.GAUSS: GAUSS,
    CoefficientTermKind.POISSON: POISSON,
}
FEW_MASKS = 4
"""Pixels that at most a quarter of the masks see are kept apart."""
MOST_BYTES = 4 << 20
"""Of masks that every pattern reads anew: beyond, one product for many patterns is quicker."""


def projection_of(problem: MultisliceProblem, model: ForwardModel) -> Projection | None:
    """The coefficients of a problem for the kernel; None where there are none, or they are not for it."""
    compressed = model.compressed
    beyond = model.near_field is not None or model.spread is not None or model.upsampling > 1
    if compressed is None or beyond or problem.data_term.kind not in KINDS:
        return None
    made = _projection(compressed, problem.data_term)
    return None if made.many.nbytes + made.rest.nbytes > MOST_BYTES else made


def of_patterns(projection: Projection, batch: IndexArray) -> Projection:
    """The same with what was recorded of the patterns ``batch`` only."""
    return projection._replace(values=projection.values[batch], measured=projection.measured[batch])


def _projection(compressed: CompressedPatterns, term: DataTerm) -> Projection:
    kind, lengths = KINDS[CoefficientTermKind(str(term.kind))], compressed.perpendicular
    masks, count = _turned(compressed.masks), len(compressed.masks)
    regions = np.zeros((len(lengths), masks.shape[1]), np.float32)
    members = np.zeros((len(lengths), count), np.float32)
    scattered = np.zeros((len(lengths), masks.shape[1]), np.float32)
    for number, one in enumerate(lengths):
        regions[number], members[number, one.masks] = _turned(one.region), 1
        if kind != ROOT:
            scattered[number] = regions[number] - (masks[one.masks] ** 2).sum(axis=0)
    masks = np.concatenate([masks, scattered])
    here = (masks != 0).sum(axis=0) * FEW_MASKS > len(masks)
    elsewhere = np.where(here, np.float32(0), masks)
    few = np.flatnonzero(elsewhere.any(axis=1))
    if len(few) * FEW_MASKS > len(masks):
        here[:], few = True, few[:0]
    pixels = np.flatnonzero(here)
    whitening, edge = compressed.whitening, compressed.edge
    return Projection(
        kind,
        np.float32(term.offset),
        _single(compressed.values),
        pixels,
        _single(masks[:, pixels]),
        few,
        _single(elsewhere[few]),
        np.zeros((0, 0), np.float32) if whitening is None else _single(whitening),
        np.zeros(0, np.float32) if edge is None else _turned(edge),
        regions,
        members,
        _single(
            np.stack([one.measured for one in lengths], axis=1) if lengths else np.zeros((len(compressed.values), 0))
        ),
        _single([one.weight for one in lengths]),
    )


def _turned(planes: Array) -> FloatArray:
    """Planes (..., P * P) for the kernel: with their two axes exchanged, and its pitch."""
    size = int(planes.shape[-1] ** 0.5 + 0.5)
    return _single(laid_out(np.swapaxes(planes.reshape(*planes.shape[:-1], size, size), -1, -2)))


def _single(values: Any) -> FloatArray:
    """A copy that compiled code may take for one it writes to: other arrays would be another compiled version."""
    return np.array(values, dtype=np.float32, order="C")
