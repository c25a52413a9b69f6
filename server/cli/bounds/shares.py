"""Which bound limits which figure of ``ptylive bench``: the single place for this reasoning.

A figure's bound is the shortest time its work could take if only that resource limited it: the bytes that have to move
at least once, or the arithmetic of the algorithm as counted in textbooks. It does not promise that a program can reach
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log2
from typing import Any, NamedTuple

from ptylive.server.cli.live_benchmark import FRAME

Bounds = Mapping[str, float]
Record = Mapping[str, Any]
RAW_BYTES = 2 * FRAME**2
"""Size of a frame of 64 x 64 pixels of two bytes, as sent by ``bench live`` and ``bench stream``."""
FLOPS_PER_MULTIPLY_ADD = 2


class Figure(NamedTuple):
    """A figure of a benchmark, and the minimum time for its work."""

    bench: str
    name: str
    bound: tuple[str, ...]
    """Bounds it is compared with, of which the slowest counts."""
    least_s: Callable[[Record, Bounds], tuple[float, ...]]
    """Function that returns the seconds of the work at each bound, for the benchmark's record."""
    taken_s: Callable[[Record], float]
    why: str


class Share(NamedTuple):
    """How close a figure comes to its bound."""

    figure: str
    value: float
    bound: str
    share: float
    why: str


def transform_flops(size: int) -> float:
    """Return the operations of a complex transform of size x size pixels: 5 N log2 N, with N the number of pixels."""
    return 5 * size**2 * log2(size**2)


def pattern_flops(window: int, slices: int, modes: int) -> float:
    """Return the operations for loss and gradient of one pattern: four transforms per slice and mode, and products with
    ramp, slice and propagator.

    A complex product counts as 6 and one with an addition as 8; a slice needs about nine of them forward and back, and
    comparison, intensities and square root take some 20 per pixel.
    """
    return modes * slices * (4 * transform_flops(window) + 9 * 7 * window**2) + 20 * window**2


def _frames_read(record: Record, bounds: Bounds) -> tuple[float, ...]:
    return (RAW_BYTES / bounds["memory_read"],)


def _refresh(prefix: str) -> Callable[[Record, Bounds], tuple[float, ...]]:
    def least(record: Record, bounds: Bounds) -> tuple[float, ...]:
        positions, bins = 256 * 256, record[f"{prefix}bins"]
        transforms = 0.5 * 5 * positions * log2(positions) * bins
        return (
            4 * positions * bins / bounds["memory_read"],
            transforms / (FLOPS_PER_MULTIPLY_ADD * bounds["fma"]),
        )

    return least


def _streamed(record: Record, bounds: Bounds) -> tuple[float, ...]:
    return (
        RAW_BYTES / bounds["loopback"],
        RAW_BYTES / bounds["disk_write"],
        2 * RAW_BYTES / bounds["memory_copy"],
    )


def _refined(record: Record, bounds: Bounds) -> tuple[float, ...]:
    flops = pattern_flops(record["window"], record["slices"], record["modes"])
    return (flops / (FLOPS_PER_MULTIPLY_ADD * bounds["fma"]),)


FIGURES = (
    Figure(
        "live",
        "frames_per_s",
        ("memory_read",),
        _frames_read,
        lambda record: 1 / record["frames_per_s"],
        "a raw frame is read once; sums, moments and bins are some ten operations a pixel, beside that",
    ),
    Figure(
        "live",
        "refresh_s",
        ("memory_read", "fma"),
        _refresh(""),
        lambda record: record["refresh_s"],
        "every number of the scan is read once, and transformed along rows and columns",
    ),
    Figure(
        "live",
        "coefficients_refresh_s",
        ("memory_read", "fma"),
        _refresh("coefficients_"),
        lambda record: record["coefficients_refresh_s"],
        "the same of 45 + 1 coefficients",
    ),
    Figure(
        "stream",
        "frames_per_s",
        ("loopback", "disk_write", "memory_copy"),
        _streamed,
        lambda record: 1 / record["frames_per_s"],
        "a frame comes through a socket, is copied to the ring and the journal, and is written to the disk",
    ),
    Figure(
        "refine",
        "frames_per_s",
        ("fma",),
        _refined,
        lambda record: 1 / record["frames_per_s"],
        "waves stay in the cache: what is left is the arithmetic of transforms and products, counted as in textbooks",
    ),
)


def shares(records: Mapping[str, Record], bounds: Bounds) -> tuple[list[Share], dict[str, str]]:
    """Return the share of every figure of the benchmarks run, and why others have none."""
    found, missing = [], {}
    for figure in FIGURES:
        if figure.bench not in records:
            continue
        record, name = records[figure.bench], f"{figure.bench} {figure.name}"
        absent = [each for each in figure.bound if each not in bounds]
        if absent:
            missing[name] = f"{', '.join(absent)} could not be measured"
            continue
        if record.get("error"):
            missing[name] = str(record["error"])
            continue
        times = figure.least_s(record, bounds)
        slowest = max(range(len(times)), key=times.__getitem__)
        share = times[slowest] / figure.taken_s(record)
        found.append(Share(name, float(record[figure.name]), figure.bound[slowest], share, figure.why))
    return found, missing
