"""Location of an acquisition number in a native file's data set: `(Ry, Rx + flyback, Qy, Qx)` or flat `(N, …)`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ptylive.schema import ScanHeader


@dataclass(frozen=True)
class StoredScan:
    """Leading shape of the data set: (rows, columns with flyback), or (frames,)."""

    shape: tuple[int, ...]

    @classmethod
    def of(cls, header: ScanHeader) -> StoredScan:
        """Layout in which a scan is recorded: rows by columns if every point has exactly one frame, otherwise flat."""
        scan = header.scan
        if scan.shape is not None and scan.skip_first == 0 and scan.repeats == 1 and scan.frames == header.frames:
            return cls((scan.shape[0], scan.frames_per_row))
        return cls((header.frames,))

    @property
    def frames(self) -> int:
        """Number of stored frames, N."""
        return math.prod(self.shape)

    def at(self, number: int) -> tuple[int, ...]:
        """Position of one frame in the leading axes."""
        return divmod(number, self.shape[1]) if len(self.shape) == 2 else (number,)

    def pieces(self, first: int, last: int) -> Iterator[tuple[tuple[int | slice, ...], int, int]]:
        """Split a half-open range of acquisition numbers by rows: (selection in the leading axes, first, last)."""
        if len(self.shape) == 1:
            yield (slice(first, last),), first, last
            return
        columns = self.shape[1]
        while first < last:
            row, column = divmod(first, columns)
            stop = min(last, (row + 1) * columns)
            yield (row, slice(column, column + stop - first)), first, stop
            first = stop
