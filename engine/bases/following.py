"""Masks that follow the beam: coefficients of patterns that wander over the detector while the scan goes on (descan).

Where the pattern lies is known beforehand, or foretold from the centres of mass of the frames before. The masks follow
in quarters of a pixel, and each vector says how far: the rest is taken out when the whole scan is known
(:mod:`ptylive.engine.bases.at_rest`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from scipy import ndimage

from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.descan import moved, read_at_pixels
from ptylive.schema import Basis, Scan, ScanHeader
from ptylive.schema.basis import MOMENTS, MOVED
from ptylive.schema.detector import Descan, scan_places
from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray
from ptylive.schema.pattern.readout import AS_RECORDED

STEPS_PER_PX = 4
HALF_LIFE_LINES = 4.0
"""Lines of the scan after which a frame counts half: slow enough to see no atoms, fast enough for a slope."""
PRIOR_FRAMES = 2.0
"""Frames that say the pattern lies still, in which few others are heard."""
BELIEVED = 3.0
"""Standard errors by which a pattern must lie beside its place before it is followed."""
LEAST_PX, LEAST_SHARE = 0.25, 0.02
"""Less, or less than this share of the disc's radius, is not followed: specimens move the centre of mass as much."""


class Wander(Protocol):
    """Where the patterns of a scan lie."""

    def take(self, point: IndexArray, counts: DoubleArray, place_px: DoubleArray) -> None:
        """Hear of patterns (n,) of scan points, flat: their counts and centres of mass (n, 2), recorded pixels."""
        ...

    def places(self, point: IndexArray) -> DoubleArray:
        """Displacement (n, 2), pixels, of patterns of scan points (n,)."""
        ...


@dataclass(frozen=True)
class KnownWander:
    """A descan that was given."""

    descan: Descan
    scan: Scan

    def take(self, point: IndexArray, counts: DoubleArray, place_px: DoubleArray) -> None:
        """Nothing is learnt."""

    def places(self, point: IndexArray) -> DoubleArray:
        """See :class:`Wander`."""
        return self.descan.at_points(point, self.scan.require_shape())


@dataclass
class HeardWander:
    """The course of the last lines' centres of mass: least squares with forgetting, of 1, u, v and v^2.

    u and v run from -1 to 1 over the scan's rows and columns. reference_px (row, col): where a pattern lies still;
    None until that is known.
    """

    scan: Scan
    least_px: float = LEAST_PX
    reference_px: tuple[float, float] | None = None
    _normal: DoubleArray = field(default_factory=lambda: np.zeros((4, 4)))
    _right: DoubleArray = field(default_factory=lambda: np.zeros((4, 2)))
    _squares: DoubleArray = field(default_factory=lambda: np.zeros(2))

    def take(self, point: IndexArray, counts: DoubleArray, place_px: DoubleArray) -> None:
        """See :class:`Wander`; points of no scan (-1) and empty patterns say nothing."""
        if self.reference_px is None:
            return
        heard = (point >= 0) & (counts > 0) & np.isfinite(place_px).all(axis=1)
        if not heard.any():
            return
        terms = self._terms(point[heard])
        forget = 0.5 ** (heard.sum() / (HALF_LIFE_LINES * self.scan.require_shape()[1]))
        place = place_px[heard] - self.reference_px
        self._normal = forget * self._normal + terms.T @ terms
        self._right = forget * self._right + terms.T @ place
        self._squares = forget * self._squares + (place**2).sum(axis=0)

    def refer_to(self, place_px: tuple[float, float]) -> None:
        """Count displacements from another place."""
        if self.reference_px is not None:
            farther = np.subtract(self.reference_px, place_px)
            self._squares += (2 * self._right[0] + self._normal[0, 0] * farther) * farther
            self._right += self._normal[:, :1] * farther
        self.reference_px = place_px

    def places(self, point: IndexArray) -> DoubleArray:
        """See :class:`Wander`; 0 where it is too little to be followed, or to be believed."""
        inverse = np.linalg.inv(self._normal + PRIOR_FRAMES * np.eye(4))
        course, terms = inverse @ self._right, self._terms(point)
        place = terms @ course
        scatter = float((self._squares - (course * self._right).sum(axis=0)).sum()) / max(self._normal[0, 0], 1.0)
        error = np.sqrt(max(scatter, 0.0) * np.einsum("na,ab,nb->n", terms, inverse, terms))
        still = np.hypot(*place.T) < np.maximum(self.least_px, BELIEVED * error)
        return np.where(still[:, None], 0.0, place)

    def _terms(self, point: IndexArray) -> DoubleArray:
        u, v = scan_places(point, self.scan.require_shape())
        return np.stack([np.ones_like(u), u, v, v**2], axis=1)


def wander_of(header: ScanHeader) -> Wander:
    """How the patterns of a scan of frames that is about to come will be followed."""
    given = header.detector.descan_px
    return HeardWander(header.scan) if given is None else KnownWander(Descan.of(given), header.scan)


def at_place(header: ScanHeader, wander: Wander, index: IndexArray, frames: Array) -> Array:
    """The first frames (n, Qy, Qx) of a scan, by acquisition number, moved back by whole pixels.

    Where nothing was given it is learnt from them, and their mean is the place they are moved to.
    """
    if header.scan.shape is None or not len(frames):
        return frames
    point = header.scan.point_of(index)
    if isinstance(wander, HeardWander):
        counts, place = centers_of_mass(header, frames)
        wander.reference_px = mean_center(header, frames)
        wander.take(point, counts, place)
    whole = np.rint(wander.places(point.clip(min=0))).astype(np.int64) * (point >= 0)[:, None]
    out = np.array(frames)
    for row, col in np.unique(whole[whole.any(axis=1)], axis=0).tolist():
        own = (whole == (row, col)).all(axis=1)
        out[own] = read_at_pixels(out[own], row, col)
    return out


def centers_of_mass(header: ScanHeader, frames: Array) -> tuple[DoubleArray, DoubleArray]:
    """Counts (n,) and centres of mass (n, 2), recorded pixels, of frames (n, Qy, Qx)."""
    counts = header.readout.counts(frames)[0] * ~bad_pixels(header)
    total = counts.sum(axis=(1, 2), dtype=float)
    sums = [counts.sum(axis=3 - axis, dtype=float) @ np.arange(counts.shape[axis]) for axis in (1, 2)]
    return total, np.stack(sums, axis=1) / np.where(total > 0, total, 1.0)[:, None]


def mean_center(header: ScanHeader, frames: Array) -> tuple[float, float] | None:
    """Mean centre of mass (row, col) of frames (n, Qy, Qx), each by its counts; None without any."""
    counts, place = centers_of_mass(header, frames)
    if not len(frames) or not counts.sum() > 0:
        return None
    row, col = (counts @ place / counts.sum()).tolist()
    return row, col


def _told(vectors: FloatArray, compressor: Compressor) -> tuple[DoubleArray, DoubleArray]:
    first = compressor.basis.count
    total, *sums = (vectors[:, first + compressor.extras.index(name)].astype(float) for name in MOMENTS)
    place = np.stack(sums, axis=1) / np.where(total > 0, total, 1.0)[:, None]
    return total, place + compressor.field.center_px


@dataclass(eq=False)
class FollowingCompressor:
    """Turns frames of one scan into vectors whose last two numbers say how far the masks were moved."""

    still: Compressor
    scan: Scan
    wander: Wander
    _moved: dict[tuple[int, int], Compressor] = field(default_factory=dict)

    @classmethod
    def of(cls, compressor: Compressor, scan: Scan, wander: Wander) -> FollowingCompressor | Compressor:
        """The compressor itself where the place of a pattern cannot be told."""
        if scan.shape is None or not set(MOMENTS) <= set(compressor.extras):
            return compressor
        if isinstance(wander, HeardWander):
            wander.least_px = max(LEAST_PX, LEAST_SHARE * compressor.field.radius_px)
            wander.refer_to(compressor.com_px or compressor.field.center_px)
        return cls(compressor, scan, wander)

    @property
    def words(self) -> Basis:
        """What a stream or file says of these vectors."""
        plain = self.still.words
        return plain.model_copy(update={"extra": (*plain.extra, *MOVED)})

    def described(self, header: ScanHeader) -> ScanHeader:
        """The scan as its compressed frames tell it."""
        return replace(self.still.described(header), basis=self.words)

    def vectors(self, index: IndexArray, frames: Array) -> FloatArray:
        """Vectors (n, coefficients + extras + 2) of frames (n, Qy, Qx) by acquisition number."""
        counts = self.still.readout.counts(frames)[0]
        plain = self._at(0, 0).vectors(counts)
        point = self.scan.point_of(index)
        self.wander.take(point, *_told(plain, self.still))
        steps = np.rint(STEPS_PER_PX * self.wander.places(point.clip(min=0))).astype(np.int64) * (point >= 0)[:, None]
        for row, col in np.unique(steps[steps.any(axis=1)], axis=0).tolist():
            own = np.flatnonzero((steps == (row, col)).all(axis=1))
            exact = plain[np.ix_(own, self._exact)]
            whole_row, whole_col = (round(step / STEPS_PER_PX) for step in (row, col))
            rest = row - STEPS_PER_PX * whole_row, col - STEPS_PER_PX * whole_col
            plain[own] = self._at(*rest).vectors(read_at_pixels(counts[own], whole_row, whole_col))
            plain[np.ix_(own, self._exact)] = exact  # of the frame as it was recorded
        return np.concatenate([plain, (steps / STEPS_PER_PX).astype(np.float32)], axis=1)

    @property
    def _exact(self) -> IndexArray:
        return np.array([self.still.basis.count + self.still.extras.index(name) for name in MOMENTS])

    def _at(self, row: int, col: int) -> Compressor:
        """The compressor with masks moved by quarters of a pixel, of counts."""
        if (row, col) not in self._moved:
            basis = self.still.basis
            if row or col:
                basis = displaced(basis, row / STEPS_PER_PX, col / STEPS_PER_PX)
            self._moved[row, col] = replace(self.still, basis=basis, readout=AS_RECORDED)
        return self._moved[row, col]


def displaced(basis: MaskBasis, row_px: float, col_px: float) -> MaskBasis:
    """Masks as they are a little beside their place: by the shift theorem, what rings beyond their edge left out."""
    masks = moved(basis.masks, np.tile([-row_px, -col_px], (basis.count, 1)), round_the_edge=True)
    for own in (slice(0, basis.n_bright), slice(basis.n_bright, None)):
        if len(basis.masks[own]):
            masks[own] *= ndimage.binary_dilation((basis.masks[own] != 0).any(axis=0))
    return MaskBasis(basis.kind, masks, basis.n_bright)
