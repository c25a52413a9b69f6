"""Virtual detectors that a user draws on the diffraction pattern, discs, rings and masks, summed for every scan point.

Live frames are summed as they arrive. Points that arrived before a detector was drawn are read from the recording when
the scan has ended, or at once if it has ended already; until then they hold the mean of the others. Detectors are fixed
on the recorded pattern: descan moves the pattern over them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from pydantic import Field, ValidationError, model_validator

from ptylive.engine.imaging.declaration import DETECTOR_PREFIX
from ptylive.engine.imaging.radial_profiles import PlacedProfiles, ProfileSums
from ptylive.schema import Calibration, CommandError, EventFrames, FrameBatch, LiveMap, MetadataError, ScanHeader
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray, StrictModel

MOST_DETECTORS = 8
"""Largest number of detectors of a user at a time: each costs a pass over the pixels of every frame."""
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,24}$"
SEES_NOTHING = "which contains no pixel of the detector"
"""Remark on a map that consists of zeros only."""


class SummableDetector(Protocol):
    """Anything that a bank can sum over; its map is ``vd_<name>``."""

    @property
    def name(self) -> str:
        """1 to 24 letters, digits, ``_`` and ``-``."""
        ...

    def weighted(self, shape: tuple[int, int], bad: BoolArray | None) -> tuple[IndexArray, DoubleArray | None]:
        """Return flat indices (n,) of its good pixels on a detector of ``shape``, and their weights, if any."""
        ...

    def described(self) -> tuple[str, dict[str, Any]]:
        """Return a short description, and the settings of its map."""
        ...


@dataclass(frozen=True, eq=False)
class DetectorContext:
    """Information needed to place detectors on the recorded pattern."""

    calibration: Calibration
    mean_pattern: DoubleArray
    bad_pixels: BoolArray | None = None


class UnplacedDetector(Protocol):
    """A detector whose pixels are determined once enough is known about its scan."""

    @property
    def name(self) -> str:
        """Name, as of :class:`SummableDetector`."""
        ...

    def placed(self, by: DetectorContext) -> SummableDetector | PlacedProfiles:
        """Return the detector placed on the recorded pattern. Raises MetadataError naming what is missing."""
        ...


class VirtualDetector(StrictModel):
    """A disc (``inner_px`` 0) or a ring, in pixels of the recorded pattern."""

    name: str = Field(pattern=NAME_PATTERN)
    center_px: tuple[float, float]
    inner_px: float = Field(default=0.0, ge=0, le=8192)
    outer_px: float = Field(gt=0, le=8192)

    @model_validator(mode="after")
    def _ring(self) -> VirtualDetector:
        if self.inner_px >= self.outer_px or not all(map(math.isfinite, self.center_px)):
            raise ValueError("inner_px must be less than outer_px, center_px two numbers")
        return self

    def weighted(self, shape: tuple[int, int], bad: BoolArray | None) -> tuple[IndexArray, DoubleArray | None]:
        """Return the pixels (n,), flat, whose centres lie inside; without weights."""
        rows, cols = np.indices(shape)
        radius = np.hypot(rows - self.center_px[0], cols - self.center_px[1])
        return _usable((radius >= self.inner_px) & (radius < self.outer_px), bad), None

    def described(self) -> tuple[str, dict[str, Any]]:
        """Return its kind and radii, and all its parameters."""
        ring = f"ring {self.inner_px:g}–{self.outer_px:g} px"
        return ring if self.inner_px else f"disc of {self.outer_px:g} px", self.model_dump(mode="json")


@dataclass(frozen=True, eq=False)
class MaskDetector:
    """Arbitrary weights (Qy, Qx) on the recorded pattern, also negative ones, for instance differences of segments."""

    name: str
    weights: DoubleArray
    source: str = ""
    """Where the weights came from."""

    def weighted(self, shape: tuple[int, int], bad: BoolArray | None) -> tuple[IndexArray, DoubleArray | None]:
        """Return the pixels with non-zero weights. Raises MetadataError for a mask of another shape."""
        if self.weights.shape != shape:
            found = " x ".join(map(str, self.weights.shape))
            expected = " x ".join(map(str, shape))
            raise MetadataError(f"mask {self.name} is {found} pixels, the detector {expected}", "give one of its shape")
        pixels = _usable(self.weights != 0, bad)
        return pixels, self.weights.ravel()[pixels]

    def described(self) -> tuple[str, dict[str, Any]]:
        """Return its source and number of pixels."""
        settings = {"name": self.name, "source": self.source, "pixels": int(np.count_nonzero(self.weights))}
        return f"mask {self.source}".strip(), settings


@dataclass(frozen=True)
class LostElectrons:
    """Electrons that left the detector: shortfall of a pattern's sum from the highest. A dark field from the rest."""

    name: str

    def weighted(self, shape: tuple[int, int], bad: BoolArray | None) -> tuple[IndexArray, DoubleArray | None]:
        """Return all good pixels (n,), flat, with weights (n,) of -1."""
        pixels = _usable(np.ones(shape, dtype=bool), bad)
        return pixels, np.full(len(pixels), -1.0)

    def described(self) -> tuple[str, dict[str, Any]]:
        """Return a short description."""
        return "counts missing from the detector", {"name": self.name}


def _usable(inside: BoolArray, bad: BoolArray | None) -> IndexArray:
    return np.flatnonzero(inside if bad is None else inside & ~np.asarray(bad, dtype=bool))


def parse_detectors(plain: Iterable[Mapping[str, Any]]) -> tuple[VirtualDetector, ...]:
    """Return detectors as given in a command. Raises CommandError naming what is wrong."""
    try:
        found = tuple(VirtualDetector.model_validate(dict(detector)) for detector in plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "detector"
        raise CommandError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
    if len(found) > MOST_DETECTORS or len({detector.name for detector in found}) < len(found):
        raise CommandError(f"at most {MOST_DETECTORS} detectors, each with its own name")
    return found


@dataclass(eq=False)
class _Sums:
    detector: SummableDetector
    pixels: IndexArray
    weights: DoubleArray | None
    counts: DoubleArray
    frames: IndexArray

    def moved_to(self, other: _Sums) -> _Sums:
        """Return the other one, with these sums if it sees the same pixels."""
        same_pixels = np.array_equal(self.pixels, other.pixels) and _equal(self.weights, other.weights)
        return replace(other, counts=self.counts, frames=self.frames) if same_pixels else other


def _equal(first: DoubleArray | None, second: DoubleArray | None) -> bool:
    return first is second if first is None or second is None else bool(np.array_equal(first, second))


@dataclass(eq=False)
class DetectorBank:
    """The detectors of one scan. Not thread-safe: the lock of its scan guards it.

    Detectors given in words (``UnplacedDetector``) see nothing until they have been placed.
    """

    header: ScanHeader
    _sums: dict[str, _Sums] = field(default_factory=dict)
    _drawn: tuple[SummableDetector, ...] = ()
    _unplaced: tuple[UnplacedDetector, ...] = ()
    _profiles: ProfileSums | None = None
    waits: bool = False
    """Whether one of the detectors has not been placed yet."""
    _tried_entries: frozenset[str] | None = None
    """Names of the calibrated values known when a detector could not be placed."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no detector."""
        return not self._sums and not self._unplaced

    def use(self, detectors: Iterable[SummableDetector], unplaced: Iterable[UnplacedDetector] = ()) -> None:
        """Use exactly these detectors, keeping sums of unchanged ones. Raises MetadataError for an unsuitable one."""
        previous = {detector.name: detector for detector in self._unplaced}
        self._drawn, self._unplaced = tuple(detectors), tuple(unplaced)
        kept = [
            detector.name
            for detector in self._unplaced
            if previous.get(detector.name) == detector and detector.name in self._sums
        ]
        self.waits, self._tried_entries = len(kept) < len(self._unplaced), None
        self._sum_over([*self._drawn, *(self._sums[name].detector for name in kept)])
        if self._profiles is not None:
            self.waits = True
            self._profiles = self._profiles.only([detector.name for detector in self._unplaced])

    def may_be_placed(self, calibration: Calibration) -> bool:
        """Return whether a detector waits, and more is known than when it could not be placed."""
        return self.waits and self._tried_entries != frozenset(calibration.entries)

    def place(self, by: DetectorContext) -> list[str]:
        """Place the detectors given in words by what is known now; those that do not move keep their sums.

        Returns one line for each detector that could not be placed, with the reason.
        """
        found: list[SummableDetector] = []
        profiles: list[PlacedProfiles] = []
        problems = []
        for detector in self._unplaced:
            try:
                placed = detector.placed(by)
            except MetadataError as error:
                problems.append(error.line())
                continue
            if isinstance(placed, PlacedProfiles):
                profiles.append(placed)
            else:
                found.append(placed)
        self._sum_over([*self._drawn, *found])
        self._profiles = ProfileSums.of(self.header, profiles, self._profiles)
        self.waits, self._tried_entries = bool(problems), frozenset(by.calibration.entries)
        return problems

    def _sum_over(self, detectors: Iterable[SummableDetector]) -> None:
        points = math.prod(self.header.scan.require_shape())
        previous, self._sums = self._sums, {}
        for detector in detectors:
            existing = previous.get(detector.name)
            if existing is not None and existing.detector == detector:
                self._sums[detector.name] = existing
                continue
            on_pixels = detector.weighted(self.header.detector_shape, self.header.arrays.get("bad_pixel_mask"))
            sums = _Sums(detector, *on_pixels, np.zeros(points), np.zeros(points, dtype=np.int64))
            self._sums[detector.name] = existing.moved_to(sums) if existing is not None else sums

    def begin_anew(self, header: ScanHeader) -> None:
        """Prepare for all frames to arrive again, described by ``header``: sums are reset, and profiles wait."""
        previous, self._sums = self._sums, {}
        self.header = header
        self._sum_over([sums.detector for sums in previous.values()])
        if self._profiles is not None:
            self._profiles, self.waits, self._tried_entries = None, True, None

    def leave_out(self, bad: BoolArray) -> None:
        """Exclude bad pixels (Qy, Qx) found since: detectors whose pixels change start again."""
        previous, self._sums = self._sums, {}
        self.header = replace(self.header, arrays={**self.header.arrays, "bad_pixel_mask": bad})
        self._sum_over([sums.detector for sums in previous.values()])
        kept = {name: sums for name, sums in previous.items() if np.array_equal(sums.pixels, self._sums[name].pixels)}
        self._sums |= kept
        if self._profiles is not None:
            self._profiles = ProfileSums.of(self.header, self._profiles.asked, self._profiles)

    def add(self, batch: FrameBatch) -> None:
        """Sum raw frames; flyback and surplus frames are ignored."""
        if self._sums:
            self._add(batch, self._sums.values())
        if self._profiles is not None:
            self._profiles.add(batch)

    def _add(self, batch: FrameBatch, targets: Iterable[_Sums]) -> None:
        point = self.header.scan.point_of(batch.index)
        keep = np.flatnonzero(point >= 0)
        if batch.events is not None and not self.header.readout.corrects:
            self._add_events(batch.events.kept(point >= 0), point[keep], targets)
            return
        frames = self.header.readout.counts(batch.frames)[0]
        flat = frames.reshape(len(frames), -1)
        for sums in targets:
            selected = flat[keep][:, sums.pixels]
            totals = (
                selected.sum(axis=1, dtype=float) if sums.weights is None else selected.astype(float) @ sums.weights
            )
            np.add.at(sums.counts, point[keep], totals)
            np.add.at(sums.frames, point[keep], 1)

    def _add_events(self, events: EventFrames, point: IndexArray, targets: Iterable[_Sums]) -> None:
        """Sum events, at a cost proportional to their number."""
        events = events.at_most(self.header.readout.saturation_value)
        for sums in targets:
            weights = np.zeros(events.shape[0] * events.shape[1])
            weights[sums.pixels] = 1.0 if sums.weights is None else sums.weights
            np.add.at(sums.counts, point, events.weighted(weights))
            np.add.at(sums.frames, point, 1)

    def incomplete(self, visited: BoolArray) -> bool:
        """Return whether a detector misses points that the scan has: ``visited`` (rows, cols)."""
        frame_counts = [sums.frames for sums in self._sums.values()]
        frame_counts += [self._profiles.frames] if self._profiles is not None else []
        return any(bool((visited.ravel() & (frames == 0)).any()) for frames in frame_counts)

    def fill(self, visited: BoolArray, frames: Iterable[FrameBatch]) -> None:
        """Recompute the sums of detectors that miss points, over all frames."""
        lacking = [s for s in self._sums.values() if (visited.ravel() & (s.frames == 0)).any()]
        for sums in lacking:
            sums.counts[:], sums.frames[:] = 0.0, 0
        rings = self._profiles
        if rings is not None and (visited.ravel() & (rings.frames == 0)).any():
            rings.clear()
        else:
            rings = None
        for batch in frames:
            self._add(batch, lacking)
            if rings is not None:
                rings.add(batch)

    def maps(self, frames: int) -> list[LiveMap]:
        """Return one map for each detector that has seen something, counts per frame."""
        out = []
        for name, sums in self._sums.items():
            visited = sums.frames > 0
            if not visited.any():
                continue
            values = sums.counts / np.maximum(sums.frames, 1)
            if isinstance(sums.detector, LostElectrons):
                values = values - values[visited].min()
            image = np.where(visited, values, values[visited].mean()).reshape(self.header.scan.require_shape())
            method, settings = sums.detector.described()
            if not len(sums.pixels):
                method = f"{method}, {SEES_NOTHING}"
            step = self.header.scan.step_A
            out.append(
                LiveMap(DETECTOR_PREFIX + name, image.astype(np.float32), "counts", step, frames, method, settings)
            )
        return [*out, *(() if self._profiles is None else self._profiles.maps())]
