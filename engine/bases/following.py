"""Masks that follow the beam: coefficients of patterns that wander over the detector while the scan runs (descan).

The place of a pattern is known beforehand, or predicted from the centres of mass of earlier frames. The masks follow in
quarters of a pixel, and each vector records how far: the remainder is removed when the whole scan is known
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
"""Lines of the scan after which a frame counts half: slow enough to ignore atoms, fast enough for a slope."""
PRIOR_FRAMES = 2.0
"""Weight, in frames, of the prior that the pattern lies still, against which few frames count little."""
BELIEVED = 3.0
"""Standard errors by which a pattern must be displaced before it is followed."""
LEAST_PX, LEAST_SHARE = 0.25, 0.02
"""Smallest displacement followed, in pixels and as a share of the disc's radius: specimens move the CoM as much."""


class Wander(Protocol):
    """Place of the patterns of a scan."""

    def take(self, point: IndexArray, counts: DoubleArray, place_px: DoubleArray) -> None:
        """Record patterns (n,) of scan points, flat: their counts and centres of mass (n, 2), recorded pixels."""
        ...

    def places(self, point: IndexArray) -> DoubleArray:
        """Return the displacement (n, 2), pixels, of patterns of scan points (n,)."""
        ...


@dataclass(frozen=True)
class GivenWander:
    """A descan that was given."""

    descan: Descan
    scan: Scan

    def take(self, point: IndexArray, counts: DoubleArray, place_px: DoubleArray) -> None:
        """Do nothing: the descan is known."""

    def places(self, point: IndexArray) -> DoubleArray:
        """See :class:`Wander`."""
        return self.descan.at_points(point, self.scan.require_shape())


@dataclass
class TrackedWander:
    """Course of the centres of mass of recent lines: least squares with forgetting, of 1, u, v and v^2.

    u and v run from -1 to 1 over the scan's rows and columns. reference_px (row, col): place of a pattern at rest;
    None until it is known.
    """

    scan: Scan
    least_px: float = LEAST_PX
    reference_px: tuple[float, float] | None = None
    _normal: DoubleArray = field(default_factory=lambda: np.zeros((4, 4)))
    _right: DoubleArray = field(default_factory=lambda: np.zeros((4, 2)))
    _squares: DoubleArray = field(default_factory=lambda: np.zeros(2))

    def take(self, point: IndexArray, counts: DoubleArray, place_px: DoubleArray) -> None:
        """See :class:`Wander`; points outside the scan (-1) and empty patterns are ignored."""
        if self.reference_px is None:
            return
        usable = (point >= 0) & (counts > 0) & np.isfinite(place_px).all(axis=1)
        if not usable.any():
            return
        terms = self._terms(point[usable])
        forget = 0.5 ** (usable.sum() / (HALF_LIFE_LINES * self.scan.require_shape()[1]))
        place = place_px[usable] - self.reference_px
        self._normal = forget * self._normal + terms.T @ terms
        self._right = forget * self._right + terms.T @ place
        self._squares = forget * self._squares + (place**2).sum(axis=0)

    def refer_to(self, place_px: tuple[float, float]) -> None:
        """Measure displacements from another place."""
        if self.reference_px is not None:
            farther = np.subtract(self.reference_px, place_px)
            self._squares += (2 * self._right[0] + self._normal[0, 0] * farther) * farther
            self._right += self._normal[:, :1] * farther
        self.reference_px = place_px

    def places(self, point: IndexArray) -> DoubleArray:
        """See :class:`Wander`; 0 if it is too small to be followed, or not significant."""
        inverse = np.linalg.inv(self._normal + PRIOR_FRAMES * np.eye(4))
        course, terms = inverse @ self._right, self._terms(point)
        place = terms @ course
        scatter = float((self._squares - (course * self._right).sum(axis=0)).sum()) / max(self._normal[0, 0], 1.0)
        error = np.sqrt(max(scatter, 0.0) * np.einsum("na,ab,nb->n", terms, inverse, terms))
        insignificant = np.hypot(*place.T) < np.maximum(self.least_px, BELIEVED * error)
        return np.where(insignificant[:, None], 0.0, place)

    def _terms(self, point: IndexArray) -> DoubleArray:
        u, v = scan_places(point, self.scan.require_shape())
        return np.stack([np.ones_like(u), u, v, v**2], axis=1)


def wander_of(header: ScanHeader) -> Wander:
    """Return how the patterns of an upcoming scan of frames will be followed."""
    given = header.detector.descan_px
    return TrackedWander(header.scan) if given is None else GivenWander(Descan.of(given), header.scan)


def at_place(header: ScanHeader, wander: Wander, index: IndexArray, frames: Array) -> Array:
    """Return the first frames (n, Qy, Qx) of a scan, by acquisition number, moved back by whole pixels.

    If no descan was given it is learnt from them, and they are moved to their mean place.
    """
    if header.scan.shape is None or not len(frames):
        return frames
    point = header.scan.point_of(index)
    if isinstance(wander, TrackedWander):
        counts, place = centers_of_mass(header, frames)
        wander.reference_px = mean_center(header, frames)
        wander.take(point, counts, place)
    shift = np.rint(wander.places(point.clip(min=0))).astype(np.int64) * (point >= 0)[:, None]
    out = np.array(frames)
    for row, col in np.unique(shift[shift.any(axis=1)], axis=0).tolist():
        same_shift = (shift == (row, col)).all(axis=1)
        out[same_shift] = read_at_pixels(out[same_shift], row, col)
    return out


def centers_of_mass(header: ScanHeader, frames: Array) -> tuple[DoubleArray, DoubleArray]:
    """Return counts (n,) and centres of mass (n, 2), recorded pixels, of frames (n, Qy, Qx)."""
    counts = header.readout.counts(frames)[0] * ~bad_pixels(header)
    total = counts.sum(axis=(1, 2), dtype=float)
    sums = [counts.sum(axis=3 - axis, dtype=float) @ np.arange(counts.shape[axis]) for axis in (1, 2)]
    return total, np.stack(sums, axis=1) / np.where(total > 0, total, 1.0)[:, None]


def mean_center(header: ScanHeader, frames: Array) -> tuple[float, float] | None:
    """Return the mean centre of mass (row, col) of frames (n, Qy, Qx), weighted by counts; None without any."""
    counts, place = centers_of_mass(header, frames)
    if not len(frames) or not counts.sum() > 0:
        return None
    row, col = (counts @ place / counts.sum()).tolist()
    return row, col


def _center_of_mass(vectors: FloatArray, compressor: Compressor) -> tuple[DoubleArray, DoubleArray]:
    first = compressor.basis.count
    total, *sums = (vectors[:, first + compressor.extras.index(name)].astype(float) for name in MOMENTS)
    place = np.stack(sums, axis=1) / np.where(total > 0, total, 1.0)[:, None]
    return total, place + compressor.field.center_px


@dataclass(eq=False)
class FollowingCompressor:
    """Turns frames of one scan into vectors whose last two numbers record how far the masks were moved."""

    still: Compressor
    scan: Scan
    wander: Wander
    _displaced: dict[tuple[int, int], Compressor] = field(default_factory=dict)

    @classmethod
    def of(cls, compressor: Compressor, scan: Scan, wander: Wander) -> FollowingCompressor | Compressor:
        """Return a following compressor, or the compressor itself if the place of a pattern cannot be determined."""
        if scan.shape is None or not set(MOMENTS) <= set(compressor.extras):
            return compressor
        if isinstance(wander, TrackedWander):
            wander.least_px = max(LEAST_PX, LEAST_SHARE * compressor.field.radius_px)
            wander.refer_to(compressor.com_px or compressor.field.center_px)
        return cls(compressor, scan, wander)

    @property
    def words(self) -> Basis:
        """Description of these vectors for a stream or file."""
        plain = self.still.words
        return plain.model_copy(update={"extra": (*plain.extra, *MOVED)})

    def described(self, header: ScanHeader) -> ScanHeader:
        """Return the header that describes the compressed frames."""
        return replace(self.still.described(header), basis=self.words)

    def vectors(self, index: IndexArray, frames: Array) -> FloatArray:
        """Return vectors (n, coefficients + extras + 2) of frames (n, Qy, Qx) by acquisition number."""
        counts = self.still.readout.counts(frames)[0]
        plain = self._at(0, 0).vectors(counts)
        point = self.scan.point_of(index)
        self.wander.take(point, *_center_of_mass(plain, self.still))
        steps = np.rint(STEPS_PER_PX * self.wander.places(point.clip(min=0))).astype(np.int64) * (point >= 0)[:, None]
        for row, col in np.unique(steps[steps.any(axis=1)], axis=0).tolist():
            same_steps = np.flatnonzero((steps == (row, col)).all(axis=1))
            exact = plain[np.ix_(same_steps, self._exact)]
            whole_row, whole_col = (round(step / STEPS_PER_PX) for step in (row, col))
            rest = row - STEPS_PER_PX * whole_row, col - STEPS_PER_PX * whole_col
            plain[same_steps] = self._at(*rest).vectors(read_at_pixels(counts[same_steps], whole_row, whole_col))
            plain[np.ix_(same_steps, self._exact)] = exact  # moments of the frame as it was recorded
        return np.concatenate([plain, (steps / STEPS_PER_PX).astype(np.float32)], axis=1)

    @property
    def _exact(self) -> IndexArray:
        return np.array([self.still.basis.count + self.still.extras.index(name) for name in MOMENTS])

    def _at(self, row: int, col: int) -> Compressor:
        """Return the compressor of counts with masks moved by quarters of a pixel."""
        if (row, col) not in self._displaced:
            basis = self.still.basis
            if row or col:
                basis = displaced(basis, row / STEPS_PER_PX, col / STEPS_PER_PX)
            self._displaced[row, col] = replace(self.still, basis=basis, readout=AS_RECORDED)
        return self._displaced[row, col]


def displaced(basis: MaskBasis, row_px: float, col_px: float) -> MaskBasis:
    """Return masks displaced by a fraction of a pixel by the shift theorem, without the ringing beyond their edge."""
    masks = moved(basis.masks, np.tile([-row_px, -col_px], (basis.count, 1)), round_the_edge=True)
    for region in (slice(0, basis.n_bright), slice(basis.n_bright, None)):
        if len(basis.masks[region]):
            masks[region] *= ndimage.binary_dilation((basis.masks[region] != 0).any(axis=0))
    return MaskBasis(basis.kind, masks, basis.n_bright)
