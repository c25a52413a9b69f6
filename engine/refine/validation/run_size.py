"""What a refinement needs of memory, from numbers alone: of a run that is prepared, and of one that is planned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunSize:
    """The sizes that the memory of a refinement follows from."""

    patterns: int
    recorded_bytes: int
    """Of all patterns as they are read."""
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
    descanned: bool = False
    """Whether each pattern is moved by an offset of its own."""

    def peak_bytes(self, history: int, threads: int) -> int:
        """Bytes at the peak of a run on the CPU, with ``history`` pairs of L-BFGS and some threads.

        Patterns as read and as the window sees them, parameters and the vectors of the solver, complex planes.
        """
        window = self.shown * self.window_px**2 * self.pixel_bytes
        vector = 4 * (self.object_parts * self.object_pixels + self.probe_size)
        vectors = 2 * history + 9  # parameters, gradients, scaling, reference, direction and trial steps
        planes = 8 * self.object_pixels * (2 + threads)
        ramps = self.patterns * 4 * self.window_px * 4 * (2 if self.descanned else 1)
        return int(self.recorded_bytes + window + vectors * vector + planes + ramps)
