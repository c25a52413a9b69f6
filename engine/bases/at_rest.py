"""Coefficients of a displaced pattern, corrected to those of the pattern at rest.

Masks m_n are fixed on the detector while the pattern wanders (descan). A pattern that the masks describe at rest,
I(k) = sum_n a_n m_n(k), is seen at a displacement d as

    c = A(d) a        A_jn(d) = sum_k m_j(k) m_n(k - d)        (orthonormal masks; others are made so first)

What lies beyond the masks is lost, so A is inverted with a ridge, for the deviations e = c - A(d) mean(a) from the part
common to all patterns: (A^T A + r) (a - mean(a)) = (A^T + r) e, which leaves patterns at rest unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.bases.masks import RANK_TOLERANCE, MaskBasis
from ptylive.engine.descan import moved
from ptylive.schema.model import Array, DoubleArray

RIDGE = 0.3
"""Ridge for the deviations. For discs displaced by up to a seventh of their radius 0.1 to 1 do about as well."""
RIDGE_OF_MEAN = 1e-3
NODES = ((0.02, 3), (0.05, 5), (0.1, 7), (np.inf, 11))
"""Largest displacement, in disc radii, and the number of nodes per axis between which operators are interpolated."""
CELLS = 9
CHUNK = 4096


@dataclass(frozen=True, eq=False)
class AtRest:
    """Operators for displacements of at most ``reach_px`` along either axis, of masks made orthonormal.

    overlap, back: (nodes^2, N, N), A and its inverse with a ridge at Chebyshev nodes; whiten, colour: (N, N).
    """

    reach_px: float
    nodes: DoubleArray
    overlap: DoubleArray
    back: DoubleArray
    whiten: DoubleArray
    colour: DoubleArray

    @classmethod
    def of(cls, basis: MaskBasis, radius_px: float, reach_px: float) -> AtRest:
        """Make the operators for the masks of a basis; ``radius_px`` of the disc."""
        gram = basis.flat.astype(float) @ basis.flat.T.astype(float)
        values, vectors = np.linalg.eigh(gram)
        usable = values > RANK_TOLERANCE * values.max()
        root = np.sqrt(np.where(usable, values, 1.0))
        whiten = (vectors * np.where(usable, 1.0 / root, 0.0)) @ vectors.T
        colour = (vectors * np.where(usable, root, 0.0)) @ vectors.T
        masks = np.tensordot(whiten, basis.masks.astype(float), axes=1).astype(np.float32)
        number = next(nodes for most, nodes in NODES if reach_px <= most * radius_px)
        nodes = reach_px * np.cos(np.pi * (np.arange(number) + 0.5) / number)
        flat = masks.reshape(len(masks), -1)
        overlap = np.empty((number**2, len(masks), len(masks)))
        for n, place in enumerate((row, col) for row in nodes for col in nodes):
            displaced = moved(masks, np.tile(np.negative(place), (len(masks), 1)), round_the_edge=True)
            overlap[n] = flat @ displaced.reshape(len(masks), -1).T
        back, identity = np.empty_like(overlap), np.eye(len(masks))
        for n, operator in enumerate(overlap):
            back[n] = np.linalg.solve(operator.T @ operator + RIDGE * identity, operator.T + RIDGE * identity)
        return cls(reach_px, nodes, overlap, back, whiten, colour)

    def coefficients(self, seen: Array, displacement_px: DoubleArray) -> DoubleArray:
        """Return coefficients (n, N) at rest from those ``seen`` (n, N) of patterns displaced by (n, 2) pixels."""
        white = np.asarray(seen, dtype=float) @ self.whiten
        mean = self._mean(white, displacement_px)
        out = np.empty_like(white)
        for start in range(0, len(white), CHUNK):
            part = slice(start, start + CHUNK)
            terms = self._terms(displacement_px[part])
            deviation = white[part] - terms @ (self.overlap @ mean)
            out[part] = mean + self._applied(self.back, terms, deviation)
        return out @ self.colour

    def _mean(self, white: DoubleArray, displacement_px: DoubleArray) -> DoubleArray:
        """Return the common part (N,) of all patterns at rest, by least squares over cells of the displacement."""
        cell = np.rint((displacement_px / max(self.reach_px, 1e-9) + 1) * (CELLS - 1) / 2).astype(int)
        number = (cell.clip(0, CELLS - 1) @ [CELLS, 1]).astype(int)
        count = np.bincount(number, minlength=CELLS**2)
        occupied = np.flatnonzero(count)
        order = np.argsort(number, kind="stable")
        first = np.concatenate([[0], np.cumsum(count[occupied])[:-1]])
        means = np.add.reduceat(white[order], first, axis=0) / count[occupied, None]
        places = np.add.reduceat(displacement_px[order], first, axis=0) / count[occupied, None]
        operator = np.tensordot(self._terms(places), self.overlap, axes=1)
        weight = count[occupied, None, None] / len(white)
        normal = (weight * operator.transpose(0, 2, 1) @ operator).sum(axis=0) + RIDGE_OF_MEAN * np.eye(white.shape[1])
        right = (weight[..., 0] * np.einsum("cjn,cj->cn", operator, means)).sum(axis=0) + RIDGE_OF_MEAN * white.mean(
            axis=0
        )
        return np.asarray(np.linalg.solve(normal, right))

    def _terms(self, displacement_px: DoubleArray) -> DoubleArray:
        """Return the weight (n, nodes^2) of each node: Lagrange polynomials along both axes."""
        weights = [self._lagrange(axis) for axis in displacement_px.T]
        return np.asarray(np.einsum("na,nb->nab", *weights).reshape(len(displacement_px), -1))

    def _lagrange(self, place: DoubleArray) -> DoubleArray:
        out = np.ones((len(place), len(self.nodes)))
        for n, node in enumerate(self.nodes):
            for other_node in np.delete(self.nodes, n):
                out[:, n] *= (place - other_node) / (node - other_node)
        return out

    @staticmethod
    def _applied(operators: DoubleArray, terms: DoubleArray, vectors: DoubleArray) -> DoubleArray:
        """Return sum_t terms_nt (operators_t vectors_n), (n, N)."""
        out = np.zeros_like(vectors)
        for operator, share in zip(operators, terms.T, strict=True):
            out += share[:, None] * (vectors @ operator.T)
        return out
