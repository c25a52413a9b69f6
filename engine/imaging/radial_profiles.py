"""Radial profiles of the pattern at every scan point, and the few shapes that they are composed of.

Principal components of counts: each ring is divided by its standard deviation due to counting alone (Keenan and
Kotula 2004), so that noise is equal in all rings and whatever stands out is not noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ptylive.engine.imaging.declaration import DETECTOR_PREFIX
from ptylive.engine.memory import check_fits
from ptylive.schema import FrameBatch, LiveMap, ScanHeader
from ptylive.schema.model import DoubleArray, IndexArray

MOST_COMPONENTS = 9
"""Largest number of components kept; those within noise are left out anyway."""
GROWN = 1.25
"""Growth in the number of frames after which components are recomputed."""
LEAST_COUNTS = 1.0
"""Counts of a ring over the whole scan below which the ring is left out."""


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of profiles, the strongest first.

    shapes: (n, rings), counts per pixel for a score of 1; scores: (n, points), mean 0 and mean square 1 over points;
    strength: (n,) variance relative to that of counting noise alone; noise: the largest strength from noise alone.
    """

    shapes: DoubleArray
    scores: DoubleArray
    strength: DoubleArray
    noise: float


@dataclass(frozen=True)
class PlacedProfiles:
    """Radial profiles around a place (row, column), described by their ``count`` strongest principal components."""

    name: str
    count: int
    center_px: tuple[float, float]


@dataclass(eq=False)
class RadialProfiles:
    """Counts in rings one pixel wide around the beam (row, column), summed for every scan point."""

    header: ScanHeader
    center_px: tuple[float, float]
    ring_of: IndexArray = field(init=False)
    """(Qy, Qx) ring number, -1 for bad pixels."""
    counts: DoubleArray = field(init=False)
    """(points, rings) summed counts."""
    frames: IndexArray = field(init=False)

    def __post_init__(self) -> None:
        """Lay out the rings. Raises MetadataError if the sums of all points do not fit in memory."""
        rows, cols = np.indices(self.header.detector_shape)
        ring = np.hypot(rows - self.center_px[0], cols - self.center_px[1]).astype(np.int64)
        bad = self.header.arrays.get("bad_pixel_mask")
        self.ring_of = ring if bad is None else np.where(np.asarray(bad, dtype=bool), -1, ring)
        points = math.prod(self.header.scan.require_shape())
        count = int(self.ring_of.max()) + 1
        check_fits(
            8.0 * points * count, f"{count} rings at {points} points", "check beam_center_px, or scan fewer points"
        )
        self.counts = np.zeros((points, count))
        self.frames = np.zeros(points, dtype=np.int64)
        flat = self.ring_of.ravel()
        usable = np.flatnonzero(flat >= 0)
        shape = (flat.size, self.counts.shape[1])
        self._sum = sparse.csr_array((np.ones(usable.size), (usable, flat[usable])), shape=shape)

    @property
    def pixels(self) -> DoubleArray:
        """Number of good pixels of each ring, (rings,)."""
        return np.asarray(self._sum.sum(axis=0)).ravel()

    def add(self, batch: FrameBatch) -> None:
        """Sum raw frames; flyback and surplus frames are ignored."""
        point = self.header.scan.point_of(batch.index)
        keep = point >= 0
        frames = self.header.readout.counts(batch.frames[keep])[0]
        np.add.at(self.counts, point[keep], frames.reshape(len(frames), self._sum.shape[0]).astype(float) @ self._sum)
        np.add.at(self.frames, point[keep], 1)

    def components(self, count: int) -> Components:
        """Return the ``count`` strongest components of the visited points; scores of other points are 0."""
        visited = self.frames > 0
        per_frame = self.counts[visited] / self.frames[visited, None]
        mean = per_frame.mean(axis=0)
        rings = np.flatnonzero(mean * len(per_frame) >= LEAST_COUNTS)
        deviation = np.sqrt(mean[rings])
        whitened = (per_frame[:, rings] - mean[rings]) / deviation
        values, vectors = np.linalg.eigh(whitened.T @ whitened / max(len(whitened), 1))
        order = np.argsort(values)[::-1][: min(count, len(rings))]
        shapes, scores = np.zeros((len(order), self.counts.shape[1])), np.zeros((len(order), len(visited)))
        for n, component in enumerate(order):
            vector, size = vectors[:, component], math.sqrt(max(float(values[component]), 1e-30))
            vector = vector * (1.0 if vector[np.abs(vector).argmax()] >= 0 else -1.0)
            shapes[n, rings] = vector * deviation * size / np.maximum(self.pixels[rings], 1.0)
            scores[n, visited] = whitened @ vector / size
        noise = (1 + math.sqrt(len(rings) / max(len(whitened), 1))) ** 2  # edge of the Marchenko-Pastur distribution
        return Components(shapes, scores, values[order], noise)

    def maps(self, name: str, count: int) -> Iterator[LiveMap]:
        """Yield a map ``vd_<name>_<n>`` for each component: its score at every point, with the shape as a setting."""
        components, shape = self.components(count), self.header.scan.require_shape()
        for n in range(len(components.scores)):
            strength = float(components.strength[n])
            settings = {
                "shape_counts": [float(f"{value:.4g}") for value in components.shapes[n]],
                "strength": round(strength, 3),
                "noise": round(components.noise, 3),
            }
            yield LiveMap(
                f"{DETECTOR_PREFIX}{name}_{n + 1}",
                components.scores[n].reshape(shape).astype(np.float32),
                "score",
                self.header.scan.step_A,
                int(self.frames.sum()),
                f"radial profiles, principal component {n + 1}",
                settings,
                buried=strength < components.noise,
            )


@dataclass(eq=False)
class ProfileSums:
    """The profiles of a scan shared by several detectors; their maps are remade when there is much more data.

    All requested profiles have the same centre, that of the beam.
    """

    asked: tuple[PlacedProfiles, ...]
    rings: RadialProfiles
    _made: tuple[int, list[LiveMap]] | None = None
    """Maps, and the number of frames they were made from."""

    @classmethod
    def of(
        cls, header: ScanHeader, asked: Iterable[PlacedProfiles], previous: ProfileSums | None = None
    ) -> ProfileSums | None:
        """Return the sums of a scan, reusing ``previous`` if its rings are the same; None if nothing is requested.

        Raises MetadataError if there is not enough memory.
        """
        wanted = tuple(asked)
        if not wanted:
            return None
        rings = RadialProfiles(header, wanted[0].center_px)
        if previous is not None and np.array_equal(previous.rings.ring_of, rings.ring_of):
            rings = previous.rings
        return cls(wanted, rings)

    def only(self, names: Collection[str]) -> ProfileSums | None:
        """Return the profiles of the named detectors only."""
        kept = tuple(profiles for profiles in self.asked if profiles.name in names)
        return ProfileSums(kept, self.rings) if kept else None

    @property
    def frames(self) -> IndexArray:
        """Number of frames of each point, (points,)."""
        return self.rings.frames

    def clear(self) -> None:
        """Reset all sums."""
        self.rings.counts[:], self.rings.frames[:], self._made = 0.0, 0, None

    def add(self, batch: FrameBatch) -> None:
        """Sum raw frames."""
        self.rings.add(batch)

    def maps(self) -> list[LiveMap]:
        """Return the maps of all requested profiles; while frames arrive, recomputed after every quarter more."""
        frames = int(self.rings.frames.sum())
        complete = bool((self.rings.frames > 0).all())
        if frames == 0:
            return []
        if self._made is None or (frames != self._made[0] and (complete or frames >= GROWN * self._made[0])):
            self._made = (
                frames,
                [live_map for profiles in self.asked for live_map in self.rings.maps(profiles.name, profiles.count)],
            )
        return list(self._made[1])
