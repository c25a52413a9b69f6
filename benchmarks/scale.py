"""Memory, traffic and time of one refinement on many workers, calculated from a few constants (docs/scale.md).

    python benchmarks/scale.py

Nothing is measured here. Sizes follow from the code (tests/benchmarks/test_scale.py checks two of them against it);
times from constants that are marked as assumptions, since no GPU and no network were available.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PATTERNS = (1e6, 1e8, 1e9)
WORKERS = (1, 8, 64, 1024)
SMALL_BATCH, LEAST_BATCHES = 128, 128
"""Patterns per batch of small scans, and batches per sweep of large ones, as for ``auto``."""
NUMBER = 4
"""Bytes of a number in single precision."""


@dataclass(frozen=True)
class Machine:
    """Assumptions only: a GPU as in the calculation of docs/gpu.md, and a network between workers."""

    pattern_s: float = 0.4e-6
    """Loss and gradient of a pattern of 64 x 64 pixels, one slice, four modes: three times the bound of docs/gpu.md."""
    memory_B_s: float = 4.8e12
    network_B_s: float = 50e9
    latency_s: float = 20e-6


@dataclass(frozen=True)
class Case:
    """Window, slices, probe modes, parts of an object's pixel; step in object pixels; bytes of a recorded pixel."""

    window: int = 64
    slices: int = 1
    modes: int = 4
    parts: int = 1
    step_px: float = 4.0
    pixel_bytes: int = 2
    batch: int | None = None
    """Patterns; None: as many as ``auto`` uses."""
    vectors: int = 30
    """Vectors as large as the object, as the check of a GPU's memory counts them; the CPU needs 29 (docs/scale.md)."""
    passes: int = 20
    """Passes of a batch through vectors as large as the object, counted in the sweeps."""
    sums: int = 45
    """Sums over workers in an L-BFGS epoch with ten pairs."""

    def batch_of(self, patterns: float) -> float:
        """Patterns of a batch of a scan."""
        return max(SMALL_BATCH, patterns // LEAST_BATCHES) if self.batch is None else self.batch


@dataclass(frozen=True)
class Cost:
    """Cost for each worker; bytes and seconds."""

    patterns_B: float
    object_B: float
    order_B: float
    seam_B: float
    """Sent in one exchange."""
    probe_B: float
    """Sent in one sum of the probe's gradient."""
    batch_s: float
    """One batch without its patterns."""
    sweep_s: float
    epoch_s: float
    tile_rows: float
    """Rows of a tile without its halo: if less than the window, tiles reach beyond their neighbours."""


def cost(patterns: float, workers: int, case: Case = Case(), machine: Machine = Machine()) -> Cost:
    """Cost of a square scan."""
    side = math.sqrt(patterns) * case.step_px
    columns, tile_rows = side + case.window, side / workers
    planes, rounds = case.slices * case.parts, math.ceil(math.log2(workers))
    rows = tile_rows + case.window
    vector = NUMBER * planes * rows * columns
    reach = 0 if workers == 1 else min(workers - 1, math.ceil(case.window / tile_rows))
    halo = min(2, workers - 1) * sum(max(0.0, case.window - k * tile_rows) for k in range(reach))
    seam = NUMBER * (planes + 1) * halo * columns
    probe = rounds * NUMBER * 2 * case.modes * case.window**2
    network = (seam + probe) / machine.network_B_s + (rounds + (workers > 1)) * machine.latency_s
    batch_s = case.passes * vector / machine.memory_B_s + network
    patterns_s = patterns / workers * machine.pattern_s
    history = 2 * case.sums * vector / machine.memory_B_s + case.sums * rounds * machine.latency_s
    return Cost(
        patterns_B=patterns / workers * (case.window**2 * case.pixel_bytes + 16 * case.window + 48),
        object_B=case.vectors * vector,
        order_B=28 * patterns,
        seam_B=seam,
        probe_B=probe,
        batch_s=batch_s,
        sweep_s=patterns_s + patterns / case.batch_of(patterns) * batch_s,
        epoch_s=1.2 * (patterns_s + network) + history,
        tile_rows=tile_rows,
    )


def table() -> list[str]:
    """The table of docs/scale.md."""
    lines = [
        "| patterns | workers | patterns, GB | object, GB | order, GB | seam, MB | sweep | sweep of batches of 128"
        " | L-BFGS epoch | rows of a tile |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for patterns in PATTERNS:
        for workers in WORKERS:
            costs = cost(patterns, workers)
            small = cost(patterns, workers, Case(batch=SMALL_BATCH))
            lines.append(
                f"| 10^{math.log10(patterns):.0f} | {workers} | {short(costs.patterns_B / 1e9)}"
                f" | {short(costs.object_B / 1e9)} | {short(costs.order_B / 1e9)} | {short(costs.seam_B / 1e6)}"
                f" | {time_of(costs.sweep_s)} | {time_of(small.sweep_s)} | {time_of(costs.epoch_s)}"
                f" | {short(costs.tile_rows)} |"
            )
    return lines


def short(number: float) -> str:
    """Format with two significant digits."""
    return f"{number:.2g}" if number < 100 else f"{number:.0f}"


def time_of(seconds: float) -> str:
    """Format with a suitable unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size:
            return f"{short(seconds / size)} {unit}"
    return f"{short(1000 * seconds)} ms"


if __name__ == "__main__":
    print("\n".join(table()))
