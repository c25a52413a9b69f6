"""Memory that a refinement needs, from sizes alone, for a run that is prepared or only planned."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.refine.solvers.pairs import LONG

STREAMED_PIXELS = 1 << 28
"""Recordings with more pixels are read from the file twice rather than kept in memory twice."""
LIBRARY_BYTES, PROGRAM_BYTES = 110_000_000, 270_000_000
"""Memory of the program before anything is refined, and with compiled code and trials (docs/performance.md)."""
FIT_BYTES = 16
"""Memory per pixel and point in which drift is looked for: spectra over the scan, and a selection of them."""
VECTORS = 9
"""Number of vectors in addition to the history: parameters, gradient, scaling, reference, direction, two steps of a
line search with the gradient of one, and the gradient being assembled for the other."""

BYTE = 255
SINGLE_BYTES = 4
PACKED = 0.5
"""Size of a long vector in the history relative to its full size (:mod:`ptylive.engine.refine.solvers.pairs`)."""


def kept_bytes(pixel_bytes: int, largest: float) -> int:
    """Bytes per pixel in the window for recordings of ``pixel_bytes``: one if its counts are at most 255."""
    return 1 if largest <= BYTE else min(4, pixel_bytes)


@dataclass(frozen=True)
class RunSize:
    """The sizes that determine the memory of a refinement."""

    patterns: int
    recorded_bytes: int
    """Bytes of all patterns as read, if they are in memory: those of a large file are not."""
    shown: int
    """Number of patterns that the window holds: all, or one mean pattern of a compressed scan."""
    window_px: int
    pixel_bytes: int
    """Bytes per pixel in the window."""
    object_pixels: int
    """Number of pixels in all slices and object modes."""
    object_parts: int
    """Parameters per object pixel: 1 for a phase, 2 for a complex number."""
    probe_size: int
    """Number of parameters of the probe."""
    fitted: int = 0
    """Pixels of the bright field times points of the scan in which drift is looked for, before anything else."""
    number_bytes: int = 4
    """Bytes per parameter: 8 in double precision."""
    descanned: bool = False
    """Whether each pattern is shifted by a separate offset."""

    def peak_bytes(self, history: int, threads: int) -> int:
        """Peak memory of a run on the CPU, bytes, with ``history`` pairs of L-BFGS and some threads.

        Consists of the program, patterns as read and in the window, parameters and the vectors of the solver, complex
        planes: a gradient for each thread, their sum, and the transmission if parameters are phases.
        """
        window = self.shown * self.window_px**2 * self.pixel_bytes
        numbers = self.object_parts * self.object_pixels + self.probe_size
        vector = self.number_bytes * numbers
        planes = 2 * self.number_bytes * self.object_pixels * (threads + (2 if self.object_parts == 1 else 1))
        turns = self.patterns * 4 * self.window_px * self.number_bytes if self.descanned else 0
        packing = PACKED if numbers >= LONG and self.number_bytes == SINGLE_BYTES else 1.0
        vectors = (2 * packing * history + VECTORS) * vector
        fitting = LIBRARY_BYTES + FIT_BYTES * self.fitted
        return int(self.recorded_bytes + window + max(fitting, PROGRAM_BYTES + vectors + planes + turns))
