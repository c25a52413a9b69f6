"""How modelled counts are compared with what was recorded: pixel by pixel, or coefficient by coefficient.

With coefficients s = M v, v = I or sqrt(I), every loss is a function of a few numbers a pattern, and so a matrix
product forwards and one backwards:

    lsq_compressed      sum |W (s - D)|^2           W: whitening, or the identity
    sqrt_compressed     the same, v = sqrt(I)
    gauss_compressed    sum (sqrt(s) - sqrt(D))^2   masks at or above 0 only
    poisson_compressed  sum s - D - D ln(s / D)     the same
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ptylive.engine.backend.multislice.data_terms import TINY_COUNTS, compared
from ptylive.engine.backend.multislice.description import CompressedPatterns, PerpendicularTerm
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTerm, MultisliceProblem


class Comparison(Protocol):
    """A loss of modelled counts: a number, or a 0-d array of the device."""

    def compare(self, intensity: Any, batch: Any) -> tuple[Any, Any]:
        """Loss of the batch and dL/dI, both for I (n, p, p)."""


class Pixels:
    """Recorded patterns."""

    def __init__(self, kit: ArrayKit, problem: MultisliceProblem) -> None:
        self._kit, self._term = kit, problem.data_term
        self._patterns = kit.xp.asarray(problem.patterns)
        self._weights = kit.xp.asarray(problem.weights, dtype=kit.real)

    def compare(self, intensity: Any, batch: Any) -> tuple[Any, Any]:
        """See :class:`Comparison`."""
        counts = self._patterns[batch].astype(self._kit.real)
        return compared(self._kit.xp, self._term, intensity, counts, self._weights)


class Coefficients:
    """Recorded coefficients."""

    def __init__(self, kit: ArrayKit, term: DataTerm, compressed: CompressedPatterns) -> None:
        self._kit, self._term, self._compressed = kit, term, compressed
        xp, real = kit.xp, kit.real
        self._values = xp.asarray(compressed.values)
        self._masks = xp.asarray(compressed.masks, dtype=real)
        self._whitening = None if compressed.whitening is None else xp.asarray(compressed.whitening, dtype=real)
        self._edge = None if compressed.edge is None else xp.asarray(compressed.edge, dtype=real)
        self._perpendicular = [_Perpendicular(kit, term, self._masks, each) for each in compressed.perpendicular]

    def compare(self, intensity: Any, batch: Any) -> tuple[Any, Any]:
        """See :class:`Comparison`."""
        flat = intensity.reshape(len(intensity), -1)
        rooted = self._term.kind is CoefficientTermKind.ROOT
        seen = self._kit.xp.sqrt(flat + (self._term.offset + TINY_COUNTS)) if rooted else flat
        coefficients = seen @ self._masks.T
        loss, derivative = self._of_coefficients(coefficients, self._values[batch].astype(self._kit.real))
        by_seen, by_intensity = derivative @ self._masks, 0.0
        for term in self._perpendicular:
            more, of_seen, of_intensity = term.compare(seen, flat, coefficients, batch)
            loss, by_seen, by_intensity = loss + more, by_seen + of_seen, by_intensity + of_intensity
        total = by_intensity + (by_seen / (2 * seen) if rooted else by_seen)
        if self._edge is not None:
            loss = loss + (flat @ self._edge).sum(dtype=np.float64)
            total = total + self._edge
        return loss, total.reshape(intensity.shape)

    def _of_coefficients(self, s: Any, measured: Any) -> tuple[Any, Any]:
        """Loss and dL/ds, (n, K)."""
        xp, kind = self._kit.xp, self._term.kind
        if kind is CoefficientTermKind.GAUSS:
            root = xp.sqrt(s + TINY_COUNTS)
            difference = root - xp.sqrt(measured)
            loss, derivative = difference**2, difference / root
        elif kind is CoefficientTermKind.POISSON:
            safe = s + (self._term.offset + TINY_COUNTS)
            loss = safe - measured - measured * (xp.log(safe) - xp.log(xp.where(measured > 0, measured, 1)))
            derivative = 1 - measured / safe
        elif kind in (CoefficientTermKind.LEAST_SQUARES, CoefficientTermKind.ROOT):
            away = s - measured
            if self._whitening is not None:
                away = away @ self._whitening.T
            loss, derivative = away**2, 2 * away
            if self._whitening is not None:
                derivative = derivative @ self._whitening
        else:
            raise KeyError(kind)
        return loss.sum(dtype=np.float64), derivative


class _Perpendicular:
    """See :class:`~ptylive.engine.backend.multislice.description.PerpendicularTerm`."""

    def __init__(self, kit: ArrayKit, term: DataTerm, masks: Any, perpendicular: PerpendicularTerm) -> None:
        xp, real = kit.xp, kit.real
        self._region = xp.asarray(perpendicular.region, dtype=real)
        self._rows = xp.asarray(perpendicular.masks)
        self._masks = masks[self._rows]
        self._measured = xp.asarray(perpendicular.measured)
        self._weight, self._real = perpendicular.weight, real
        rooted = term.kind is CoefficientTermKind.ROOT
        self._scatter = None if rooted else self._region - (self._masks**2).sum(axis=0)

    def compare(self, seen: Any, flat: Any, coefficients: Any, batch: Any) -> tuple[Any, Any, Any]:
        """Loss, its derivative by what the masks see, and by the intensity directly."""
        inside, s = seen * self._region, coefficients[:, self._rows]
        length = (inside * seen).sum(axis=1) - (s**2).sum(axis=1)
        if self._scatter is not None:
            length = length + flat @ self._scatter
        away = length - self._measured[batch].astype(self._real)
        pull = (2 * self._weight * away)[:, None]
        of_seen = pull * 2 * (inside - s @ self._masks)
        of_intensity = 0.0 if self._scatter is None else pull * self._scatter
        return self._weight * (away**2).sum(dtype=np.float64), of_seen, of_intensity


def comparison(kit: ArrayKit, problem: MultisliceProblem, compressed: CompressedPatterns | None) -> Comparison:
    """The comparison a problem asks for."""
    return Pixels(kit, problem) if compressed is None else Coefficients(kit, problem.data_term, compressed)
