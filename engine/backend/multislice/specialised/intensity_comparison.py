"""Comparison of compiled waves with recorded data: in the kernel itself or, if it cannot, on whole arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.description import CompressedPatterns, ForwardModel
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.comparison import comparison
from ptylive.engine.backend.multislice.forward.detection import Detector
from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.problem import Corrections, DataTermKind, MultisliceProblem, PythonTerm
from ptylive.schema.model import Array, IndexArray


def in_the_kernel(problem: MultisliceProblem, model: ForwardModel) -> bool:
    """Whether the kernel compares: it supports the data term, and model pixels are detector pixels without spread."""
    kind = problem.data_term.kind
    compiled = kind.pixel is not None if isinstance(kind, PythonTerm) else isinstance(kind, DataTermKind)
    return compiled and compared_by_pixel(model)


def compared_by_pixel(model: ForwardModel) -> bool:
    """Whether model pixels are the detector's pixels, with no spread between them."""
    smeared = model.near_field is not None and model.near_field.alpha_rad != 0
    return model.compressed is None and model.spread is None and model.upsampling == 1 and not smeared


class IntensityComparison:
    """Loss of intensities (n, P, P) in the kernel's order: transposed, except for a near field."""

    def __init__(self, kit: ArrayKit, problem: MultisliceProblem, model: ForwardModel) -> None:
        self._transposed = model.near_field is None
        turned = replace(problem, model=_transposed(model)) if self._transposed else replace(problem, model=model)
        if self._transposed:
            turned = replace(turned, patterns=np.swapaxes(problem.patterns, 1, 2), weights=problem.weights.T)
        turned_model = turned.model
        assert turned_model is not None  # noqa: S101  (as made above)
        self._detector = Detector(kit, turned_model, problem.window)
        self._comparison = comparison(kit, turned, turned_model.compressed)

    def compare(self, intensity: Array, values: Values, batch: IndexArray, total: Corrections) -> tuple[Any, Array]:
        """Loss, and dL/d|wave|^2 (n, P, P); derivatives by the detector's quantities are added to ``total``."""
        if self._transposed:
            values = values._replace(background=None if values.background is None else values.background.T)
            total = replace(total, background=None if total.background is None else total.background.T)
        counts = self._detector.counts_of(intensity, values, batch)
        loss, derivative = self._comparison.compare(counts, batch)
        self._detector.add_of_counts(derivative, counts, values, total)
        return loss, self._detector.derivative_of_waves(derivative, values, batch)


def _transposed(model: ForwardModel) -> ForwardModel:
    """The model for patterns whose axes are exchanged."""
    spread = model.spread
    if spread is not None and spread.image is not None:
        spread = replace(spread, image=spread.image.T)
    compressed = None if model.compressed is None else _turned(model.compressed)
    return replace(model, spread=spread, compressed=compressed)


def _turned(compressed: CompressedPatterns) -> CompressedPatterns:
    lengths = tuple(replace(term, region=_plane(term.region)) for term in compressed.perpendicular)
    edge = None if compressed.edge is None else _plane(compressed.edge)
    return replace(compressed, masks=_plane(compressed.masks), edge=edge, perpendicular=lengths)


def _plane(flat: Array) -> Array:
    """Planes (..., p * p) with their two axes exchanged."""
    size = int(flat.shape[-1] ** 0.5 + 0.5)
    return np.ascontiguousarray(np.swapaxes(flat.reshape(*flat.shape[:-1], size, size), -1, -2)).reshape(flat.shape)
