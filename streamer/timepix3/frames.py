"""Events as frames: the pixel and frame to which each hit, or each electron, belongs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema import EventFrames
from ptylive.schema.model import Array, IndexArray
from ptylive.streamer.timepix3.clusters import electrons
from ptylive.streamer.timepix3.packets import Hits
from ptylive.streamer.timepix3.scan_clock import ScanClock
from ptylive.streamer.timepix3.sensor import Sensor

COUNTS = np.dtype("<u2")


@dataclass(frozen=True)
class DetectedEvents:
    """Flat pixels (n,) uint32 of detected events, and numbers of their frames (n,), -1 for events outside frames."""

    pixels: Array
    frames: IndexArray

    @classmethod
    def of(cls, hits: Hits, sensor: Sensor, clock: ScanClock, cluster: float) -> DetectedEvents:
        """Find every hit, or every electron where ``cluster`` ticks (see :func:`.clusters.electrons`) are above 0."""
        pixels = sensor.pixels(hits.address)
        if not cluster or not len(pixels):
            return cls(pixels, clock.frame_of(hits.times))
        row, column = np.divmod(pixels.astype(np.int64), sensor.shape[1])
        row, column, times = electrons(row, column, hits.times, hits.over_threshold, cluster)
        return cls((row * sensor.shape[1] + column).astype(np.uint32), clock.frame_of(times))

    def sorted(self) -> DetectedEvents:
        """Sort by frame; events outside frames come first."""
        order = np.argsort(self.frames, kind="stable")
        return DetectedEvents(self.pixels[order], self.frames[order])


def counted(pixels: Array, frames: IndexArray, count: int, shape: tuple[int, int]) -> EventFrames:
    """Return ``count`` frames with the number of events (n,) in each pixel, counts of 16 bits."""
    size = shape[0] * shape[1]
    found, counts = np.unique(frames * size + pixels, return_counts=True)
    number, pixel = np.divmod(found, size)
    ends = np.cumsum(np.bincount(number, minlength=count))
    most = np.iinfo(COUNTS).max
    return EventFrames(ends, pixel.astype(np.uint32), np.minimum(counts, most).astype(COUNTS), shape)
