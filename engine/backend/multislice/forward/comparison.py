"""Comparison of modelled counts with the recorded data: pixel by pixel, or coefficient by coefficient.

With coefficients s = M v, v = I or sqrt(I), every loss is a function of a few numbers per pattern, and thus takes one
matrix product forwards and one backwards:

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
from ptylive.schema.model import Array, FloatArray

FEW_MASKS, SPANS = 4, 16
"""Pixels covered by at most a quarter of the masks are treated separately, if in runs of over a sixteenth of all."""


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


class Masks:
    """Products with masks (K, P * P), most of which are 0 at most pixels, like those within the bright field.

    In spans of pixels that many masks cover, the product is one of dense matrices; elsewhere, of the few that cover it.
    """

    def __init__(self, kit: ArrayKit, masks: FloatArray) -> None:
        self._spans = _spans((masks != 0).sum(axis=0) * FEW_MASKS > len(masks))
        elsewhere = masks.copy()
        for span in self._spans:
            elsewhere[:, span] = 0
        few = np.flatnonzero((elsewhere != 0).any(axis=1))
        single_product = kit.xp is not np  # a device is faster with one product than with several
        if single_product or len(few) * FEW_MASKS > len(masks):
            self._spans, few = [slice(0, masks.shape[1])], few[:0]
        xp, real = kit.xp, kit.real
        self._few, self._rest = xp.asarray(few), xp.asarray(elsewhere[few], dtype=real)
        self._masks = [xp.asarray(np.ascontiguousarray(masks[:, span]), dtype=real) for span in self._spans]
        self._columns = [xp.asarray(np.ascontiguousarray(masks[:, span].T), dtype=real) for span in self._spans]

    def forward(self, planes: Any) -> Any:
        """(n, K) from planes (n, P * P)."""
        coefficients = sum(planes[:, span] @ columns for span, columns in zip(self._spans, self._columns, strict=True))
        if len(self._few):
            coefficients[:, self._few] += planes @ self._rest.T
        return coefficients

    def adjoint(self, coefficients: Any) -> Any:
        """(n, P * P) from coefficients (n, K)."""
        if not len(self._few) and len(self._spans) == 1:
            return coefficients @ self._masks[0]
        planes = coefficients[:, self._few] @ self._rest
        for span, masks in zip(self._spans, self._masks, strict=True):
            planes[:, span] = coefficients @ masks  # here the few masks are among the many
        return planes


def _spans(selected: Array) -> list[slice]:
    """Runs of the given pixels, with nearby runs merged; all pixels if none are given."""
    indices = np.flatnonzero(selected)
    if not len(indices):
        return [slice(0, len(selected))]
    cuts = np.flatnonzero(np.diff(indices) > len(selected) // SPANS) + 1
    return [slice(int(run[0]), int(run[-1]) + 1) for run in np.split(indices, cuts)]


class Coefficients:
    """Recorded coefficients."""

    def __init__(self, kit: ArrayKit, term: DataTerm, compressed: CompressedPatterns) -> None:
        self._kit, self._term = kit, term
        xp, real = kit.xp, kit.real
        self._values = xp.asarray(compressed.values)
        self._whitening = None if compressed.whitening is None else xp.asarray(compressed.whitening, dtype=real)
        self._edge = None if compressed.edge is None else xp.asarray(compressed.edge, dtype=real)
        masks = np.asarray(compressed.masks, dtype=real)
        self._perpendicular = [_Perpendicular(kit, term, masks, length) for length in compressed.perpendicular]
        # the contribution of scattered counts to each length is one more mask: no second pass over the planes
        scatters = [length_term.scatter[None] for length_term in self._perpendicular if length_term.scatter is not None]
        self._count, self._masks = len(masks), Masks(kit, np.concatenate([masks, *scatters]))

    def compare(self, intensity: Any, batch: Any) -> tuple[Any, Any]:
        """See :class:`Comparison`."""
        xp, flat = self._kit.xp, intensity.reshape(len(intensity), -1)
        rooted = self._term.kind is CoefficientTermKind.ROOT
        signal = xp.sqrt(flat + (self._term.offset + TINY_COUNTS)) if rooted else flat
        products = self._masks.forward(signal)
        coefficients, scattered = products[:, : self._count], products[:, self._count :]
        loss, derivative = self._coefficient_loss(coefficients, self._values[batch].astype(self._kit.real))
        pulls, insides = [], []
        for number, term in enumerate(self._perpendicular):
            of_scatter = scattered[:, number] if term.scatter is not None else 0.0
            length_loss, pull, inside = term.compare(signal, coefficients, of_scatter, batch)
            loss, derivative = loss + length_loss, term.taken_out(derivative, pull, coefficients)
            insides.append(inside)
            if term.scatter is not None:
                pulls.append(pull)
        total = self._masks.adjoint(xp.concatenate([derivative, *pulls], axis=1))
        for inside in insides:
            total += inside
        if rooted:
            total = total / (2 * signal)
        if self._edge is not None:
            loss = loss + (flat @ self._edge).sum(dtype=np.float64)
            total = total + self._edge
        return loss, total.reshape(intensity.shape)

    def _coefficient_loss(self, s: Any, measured: Any) -> tuple[Any, Any]:
        """Loss and dL/ds, (n, K)."""
        xp, kind = self._kit.xp, self._term.kind
        if kind is CoefficientTermKind.GAUSS:
            root = xp.sqrt(s + TINY_COUNTS)
            difference = root - xp.sqrt(measured)
            loss, derivative = difference**2, difference / root
        elif kind is CoefficientTermKind.POISSON:
            model = s + (self._term.offset + TINY_COUNTS)
            loss = model - measured - measured * (xp.log(model) - xp.log(xp.where(measured > 0, measured, 1)))
            derivative = 1 - measured / model
        elif kind in (CoefficientTermKind.LEAST_SQUARES, CoefficientTermKind.ROOT):
            residual = s - measured
            if self._whitening is not None:
                residual = residual @ self._whitening.T
            loss, derivative = residual**2, 2 * residual
            if self._whitening is not None:
                derivative = derivative @ self._whitening
        else:
            raise KeyError(kind)
        return loss.sum(dtype=np.float64), derivative


class _Perpendicular:
    """See :class:`~ptylive.engine.backend.multislice.description.PerpendicularTerm`."""

    def __init__(self, kit: ArrayKit, term: DataTerm, masks: FloatArray, perpendicular: PerpendicularTerm) -> None:
        xp, real = kit.xp, kit.real
        region = np.asarray(perpendicular.region, dtype=real)
        self._xp, self._region = xp, xp.asarray(region)
        self._rows = xp.asarray(perpendicular.masks)
        self._measured = xp.asarray(perpendicular.measured)
        self._weight, self._real = perpendicular.weight, real
        rooted = term.kind is CoefficientTermKind.ROOT
        self.scatter = None if rooted else region - (masks[perpendicular.masks] ** 2).sum(axis=0)
        """(P * P,) derivative by the intensity of what scattered counts add to the square; None for roots."""

    def compare(self, signal: Any, coefficients: Any, of_scatter: Any, batch: Any) -> tuple[Any, Any, Any]:
        """Loss, its derivative by the length (n, 1), and the derivative by the planes seen by the region (n, P * P)."""
        s = coefficients[:, self._rows]
        inside = signal * self._region
        length = self._xp.einsum("nk,nk->n", inside, signal) - (s**2).sum(axis=1) + of_scatter
        residual = length - self._measured[batch].astype(self._real)
        pull = (2 * self._weight * residual)[:, None]
        inside *= 2 * pull
        return self._weight * (residual**2).sum(dtype=np.float64), pull, inside

    def taken_out(self, derivative: Any, pull: Any, coefficients: Any) -> Any:
        """Derivative by the coefficients (n, K), minus the contribution of the length."""
        changed = derivative.copy()
        changed[:, self._rows] -= 2 * pull * coefficients[:, self._rows]
        return changed


def comparison(kit: ArrayKit, problem: MultisliceProblem, compressed: CompressedPatterns | None) -> Comparison:
    """The comparison for a problem."""
    return Pixels(kit, problem) if compressed is None else Coefficients(kit, problem.data_term, compressed)
