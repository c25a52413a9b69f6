"""Raw packets as sent by a Timepix3 detector, made from patterns: for tests and demonstrations.

The counts of each pattern come at random times while the beam is at its point, a pulse at trigger input 1 is high as
long as a line lasts, the chips take turns, and a heartbeat gives the time occasionally.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ptylive.schema.model import Array, IndexArray
from ptylive.streamer.timepix3.packets import CHIP_SIDE, EDGES, TICK_NS
from ptylive.streamer.timepix3.sensor import Sensor

_CHUNK_WORDS = 1000
_CODES = {text: code for code, text in EDGES.items()}


@dataclass(frozen=True)
class LineTiming:
    """Ticks of a raster: each point, the flyback behind each line, and the beginning of the first line."""

    dwell: int
    flyback: int
    begins: int = 0

    @classmethod
    def of(cls, dwell_us: float, flyback_us: float, begins_us: float = 0.0) -> LineTiming:
        """Convert from µs."""
        return cls(*(round(us * 1e3 / TICK_NS) for us in (dwell_us, flyback_us, begins_us)))

    def line(self, number: int, columns: int) -> int:
        """Beginning of a line."""
        return self.begins + number * (columns * self.dwell + self.flyback)


def line_packets(patterns: Array, number: int, timing: LineTiming, sensor: Sensor, rng: np.random.Generator) -> bytes:
    """The chunks of one line of the scan: patterns (columns, Qy, Qx) of integer counts; none in the sensor's gap."""
    columns = len(patterns)
    flat = patterns.reshape(columns, -1)
    point, pixel = np.nonzero(flat)
    counts = flat[point, pixel].astype(np.int64)
    point, pixel = np.repeat(point, counts), np.repeat(pixel, counts)
    return packets_of_line(point, pixel, columns, timing.line(number, columns), timing.dwell, sensor, rng)


def packets_of_line(
    point: IndexArray,
    pixel: IndexArray,
    columns: int,
    begins: int,
    dwell: int,
    sensor: Sensor,
    rng: np.random.Generator,
) -> bytes:
    """Like :func:`line_packets`, from hits (n,): points of the line, and flat pixels. ``begins``, ``dwell``: ticks."""
    times = begins + point * dwell + rng.integers(0, dwell, len(point))
    order = np.argsort(times, kind="stable")
    chip, row, column = chips_of(sensor, pixel[order])
    over_threshold = rng.integers(1, 200, len(order))
    words = hit_words(row, column, times[order], over_threshold)
    opening = np.array([edge_word("1 rise", begins, 0), *beat_words(begins)], dtype="<u8")
    closing = np.array([edge_word("1 fall", begins + columns * dwell, 0)], dtype="<u8")
    parts = [chunk(0, opening)]
    for start in range(0, len(words), _CHUNK_WORDS):
        part = slice(start, start + _CHUNK_WORDS)
        parts += [chunk(number, words[part][chip[part] == number]) for number in np.unique(chip[part]).tolist()]
    return b"".join([*parts, chunk(0, closing)])


def chips_of(sensor: Sensor, pixels: IndexArray) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Chip of flat pixels (n,), and row and column on it."""
    found = _addresses(sensor)[pixels]
    return found >> 16, (found >> 8) & 0xFF, found & 0xFF


@cache
def _addresses(sensor: Sensor) -> IndexArray:
    """Address of each flat pixel; -1 in the gap."""
    address = np.arange((4 if sensor.four else 1) * CHIP_SIDE**2, dtype=np.uint32)
    addresses = np.full(sensor.shape[0] * sensor.shape[1], -1)
    addresses[sensor.pixels(address)] = address
    return addresses


def hit_words(row: IndexArray, column: IndexArray, ticks: IndexArray, over_threshold: IndexArray) -> Array:
    """Packets (n,) of pixels that were hit."""
    coarse = -(-ticks // 16)  # the fine time is subtracted
    fine = coarse * 16 - ticks
    address = (column >> 1) << 9 | (row >> 2) << 3 | (column & 1) << 2 | (row & 3)
    spidr, arrival = (coarse >> 14) & 0xFFFF, coarse & 0x3FFF
    time = arrival << 30 | over_threshold << 20 | fine << 16 | spidr
    return np.asarray(0xB << 60 | address.astype("<u8") << 44 | time.astype("<u8"))


def edge_word(kind: str, ticks: int, number: int) -> int:
    """An edge at a trigger input (of EDGES); ``number`` counts them."""
    coarse, rest = divmod(ticks, 16)
    time = (coarse & 0xFFFFFFFF) << 12 | (rest // 2) << 9 | 1 << 5
    return 0x6 << 60 | _CODES[kind] << 56 | (number & 0xFFF) << 44 | time


def beat_words(ticks: int) -> tuple[int, int]:
    """The global time, its lower and upper part."""
    coarse = ticks // 16
    spidr = (coarse >> 14) & 0xFFFF
    return 0x44 << 56 | (coarse & 0xFFFFFFFF) << 16 | spidr, 0x45 << 56 | (coarse >> 32 & 0xFFFF) << 16 | spidr


def chunk(chip: int, words: Array) -> bytes:
    """Packets of one chip with their header."""
    header = np.array([words.size * 8 << 48 | chip << 32 | 0x33585054], dtype="<u8")
    return header.tobytes() + np.ascontiguousarray(words, dtype="<u8").tobytes()
