"""Virtual detectors that a user draws on the diffraction pattern: discs and rings, summed for every scan point.

Live frames are summed as they come. Points that came before a detector was drawn are taken from the recording when the
scan has ended, or at once for a scan that has; until then they hold the mean of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field, ValidationError, model_validator

from ptylive.schema import CommandError, FrameBatch, LiveMap, ScanHeader
from ptylive.schema.detector import usable_counts
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray, StrictModel

MOST_DETECTORS = 8
PREFIX = "vd_"


class VirtualDetector(StrictModel):
    """A disc (``inner_px`` 0) or a ring, in pixels of the recorded pattern; its map is ``vd_<name>``."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,24}$")
    center_px: tuple[float, float]
    inner_px: float = Field(default=0.0, ge=0, le=8192)
    outer_px: float = Field(gt=0, le=8192)

    @model_validator(mode="after")
    def _ring(self) -> VirtualDetector:
        if self.inner_px >= self.outer_px or not all(map(math.isfinite, self.center_px)):
            raise ValueError("inner_px must be less than outer_px, center_px two numbers")
        return self

    def pixels(self, shape: tuple[int, int], bad: BoolArray | None) -> IndexArray:
        """Flat numbers of its pixels on a detector of ``shape``, bad ones left out."""
        rows, cols = np.indices(shape)
        radius = np.hypot(rows - self.center_px[0], cols - self.center_px[1])
        inside = (radius >= self.inner_px) & (radius < self.outer_px)
        if bad is not None:
            inside &= ~np.asarray(bad, dtype=bool)
        return np.flatnonzero(inside)


def parse_detectors(plain: Iterable[Mapping[str, Any]]) -> tuple[VirtualDetector, ...]:
    """Detectors as a command brings them. Raises CommandError naming what is wrong."""
    try:
        found = tuple(VirtualDetector.model_validate(dict(one)) for one in plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "detector"
        raise CommandError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    if len(found) > MOST_DETECTORS or len({one.name for one in found}) < len(found):
        raise CommandError(f"at most {MOST_DETECTORS} detectors, each with a name of its own")
    return found


@dataclass(eq=False)
class _Sums:
    detector: VirtualDetector
    pixels: IndexArray
    counts: DoubleArray
    frames: IndexArray


@dataclass(eq=False)
class DetectorBank:
    """The detectors of one scan. Not locked: its scan's lock guards it."""

    header: ScanHeader
    _sums: dict[str, _Sums] = field(default_factory=dict)

    def use(self, detectors: Iterable[VirtualDetector]) -> None:
        """Have exactly these; sums of the ones that have not moved are kept."""
        points = math.prod(self.header.scan.require_shape())
        before, self._sums = self._sums, {}
        for one in detectors:
            known = before.get(one.name)
            if known is not None and known.detector == one:
                self._sums[one.name] = known
                continue
            pixels = one.pixels(self.header.detector_shape, self.header.arrays.get("bad_pixel_mask"))
            self._sums[one.name] = _Sums(one, pixels, np.zeros(points), np.zeros(points, dtype=np.int64))

    def add(self, batch: FrameBatch) -> None:
        """Sum raw frames; flyback and surplus frames are ignored."""
        if self._sums:
            self._add(batch, self._sums.values())

    def _add(self, batch: FrameBatch, to: Iterable[_Sums]) -> None:
        point = self.header.scan.point_of(batch.index)
        keep = np.flatnonzero(point >= 0)
        frames = usable_counts(batch.frames, self.header.detector.saturation_value)[0]
        flat = frames.reshape(len(frames), -1)
        for sums in to:
            np.add.at(sums.counts, point[keep], flat[keep][:, sums.pixels].sum(axis=1, dtype=float))
            np.add.at(sums.frames, point[keep], 1)

    def incomplete(self, visited: BoolArray) -> bool:
        """Whether a detector misses points that the scan has."""
        return any(bool((visited.ravel() & (sums.frames == 0)).any()) for sums in self._sums.values())

    def fill(self, visited: BoolArray, frames: Iterable[FrameBatch]) -> None:
        """Sum a detector that misses points afresh over all frames."""
        wanting = [s for s in self._sums.values() if (visited.ravel() & (s.frames == 0)).any()]
        for sums in wanting:
            sums.counts[:], sums.frames[:] = 0.0, 0
        for batch in frames:
            self._add(batch, wanting)

    def maps(self, frames: int) -> list[LiveMap]:
        """One map for each detector that has seen something, counts per frame."""
        out = []
        for name, sums in self._sums.items():
            seen = sums.frames > 0
            if not seen.any():
                continue
            values = sums.counts / np.maximum(sums.frames, 1)
            image = np.where(seen, values, values[seen].mean()).reshape(self.header.scan.require_shape())
            one = sums.detector
            shape = f"disc of {one.outer_px:g} px" if not one.inner_px else f"ring {one.inner_px:g}–{one.outer_px:g} px"
            settings = one.model_dump(mode="json")
            step = self.header.scan.step_A
            out.append(LiveMap(PREFIX + name, image.astype(np.float32), "counts", step, frames, shape, settings))
        return out
