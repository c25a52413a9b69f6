"""What a refinement needs of memory, from numbers alone: of a run that is prepared, and of one that is planned."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.refine.solvers.pairs import LONG

STREAMED_PIXELS = 1 << 28
"""Recordings of more pixels are read from the file twice rather than kept in memory twice."""
LIBRARY_BYTES, PROGRAM_BYTES = 110_000_000, 270_000_000
"""Of the program before anything is refined, and with what was compiled and tried (docs/performance.md)."""
FIT_BYTES = 16
"""Of each pixel and point that a drift is looked for in: spectra over the scan, and what is chosen of them."""
VECTORS = 9
"""Beside the history: parameters, gradient, scaling, reference, direction, two steps of a line search with a gradient
of one, and the gradient that is put together for the other."""

BYTE = 255
SINGLE_BYTES = 4
PACKED = 0.5
"""What a long vector of the history takes of its size (:mod:`ptylive.engine.refine.solvers.pairs`)."""


def kept_bytes(pixel_bytes: int, largest: float) -> int:
    """Of a pixel in the window that was recorded in ``pixel_bytes``: one where its counts are at most 255."""
    return 1 if largest <= BYTE else min(4, pixel_bytes)


@dataclass(frozen=True)
class RunSize:
    """The sizes that the memory of a refinement follows from."""

    patterns: int
    recorded_bytes: int
    """Of all patterns as they are read, where they lie in memory: those of a large file do not."""
    shown: int
    """Patterns that the window holds: all, or one mean pattern of a compressed scan."""
    window_px: int
    pixel_bytes: int
    """Of a pixel in the window."""
    object_pixels: int
    """Of all slices and object modes."""
    object_parts: int
    """Parameters of an object pixel: 1 for a phase, 2 for a complex number."""
    probe_size: int
    """Parameters of the probe."""
    fitted: int = 0
    """Pixels of the bright field times points of the scan in which a drift is looked for, before anything else."""
    number_bytes: int = 4
    """Of a parameter: 8 in double precision."""
    descanned: bool = False
    """Whether each pattern is moved by an offset of its own."""

    def peak_bytes(self, history: int, threads: int) -> int:
        """Bytes at the peak of a run on the CPU, with ``history`` pairs of L-BFGS and some threads.

        The program, patterns as read and as the window sees them, parameters and the vectors of the solver, complex
        planes: a gradient of each thread, a sum of them, and the transmission where parameters are phases.
        """
        window = self.shown * self.window_px**2 * self.pixel_bytes
        numbers = self.object_parts * self.object_pixels + self.probe_size
        vector = self.number_bytes * numbers
        planes = 2 * self.number_bytes * self.object_pixels * (threads + (2 if self.object_parts == 1 else 1))
        turns = self.patterns * 4 * self.window_px * self.number_bytes if self.descanned else 0
        kept = PACKED if numbers >= LONG and self.number_bytes == SINGLE_BYTES else 1.0
        vectors = (2 * kept * history + VECTORS) * vector
        before = LIBRARY_BYTES + FIT_BYTES * self.fitted
        return int(self.recorded_bytes + window + max(before, PROGRAM_BYTES + vectors + planes + turns))
