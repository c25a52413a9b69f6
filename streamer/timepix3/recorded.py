"""A file of raw packets as frames: surveyed once, then read on demand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ptylive.schema import EventFrames, InputFileError, Scan
from ptylive.schema.model import Array, BoolArray, IndexArray
from ptylive.streamer.timepix3.frames import COUNTS, DetectedEvents, counted
from ptylive.streamer.timepix3.packets import (
    MOST_CHIPS_READ,
    TICK_NS,
    WORD_BYTES,
    Edges,
    Hits,
    Place,
    Turns,
    decode,
    survey,
)
from ptylive.streamer.timepix3.pauses import farthest, later, passed
from ptylive.streamer.timepix3.scan_clock import ScanClock, understand
from ptylive.streamer.timepix3.sensor import MOST_CHIPS, Sensor

BLOCK_WORDS = 2**20
"""Number of words read and decoded together: 8 MiB of the file."""
MOST_EDGES = 2**26
_KEPT_BLOCKS = 4
_DAMAGED = 0.01
"""Impossible chip numbers with less than this fraction of the packets are damaged headers."""


@dataclass(frozen=True)
class Block:
    """Location of some words, and the time span of their contents."""

    first: int
    place: Place
    span: tuple[int, int] | None


@dataclass(frozen=True)
class Contents:
    """Result of surveying a file."""

    blocks: tuple[Block, ...]
    edges: Edges
    chips: frozenset[int]
    chip_words: IndexArray
    """Packets of each chip."""
    opened: int | None
    """Ticks at which the shutter was first opened."""
    first_hit: int | None
    """Number of the first block with hits."""
    untimed: int
    lost: int
    words: int
    turns: Turns
    fell: bool
    """Whether the times of hits fell far behind."""

    def words_of(self, number: int) -> int:
        """Number of words in a block."""
        following = self.blocks[number + 1].first if number + 1 < len(self.blocks) else self.words
        return following - self.blocks[number].first


BACKWARDS = (
    "the times of hits go back: after a pause of 13.4 s or more without a packet, where no heartbeats are recorded, "
    "points may be mistaken for earlier ones"
)


def look_through(path: Path, file: BinaryIO) -> Contents:
    """Survey an open file, block by block; again if a pause was too long for the times of hits. Raises InputFileError
    for more edges than could be kept.
    """
    contents = _surveyed(path, file, {})
    pauses = dict(_pause(file, contents, *found) for found in later(contents.turns))
    return _surveyed(path, file, pauses) if pauses else contents


def _pause(file: BinaryIO, contents: Contents, behind: int, upto: int, turns: int) -> tuple[int, int]:
    """Return the word with which the data after a pause begin, and the turns that were skipped."""
    found = (0, upto)
    for number, block in enumerate(contents.blocks):
        begin, stop = behind + 1 - block.first, upto + 1 - block.first
        if stop > 0 and begin < contents.words_of(number):
            longest = farthest(_words(file, contents, number), block.place, begin, stop)
            if longest is not None and longest[0] > found[0]:
                found = longest[0], block.first + longest[1]
    return found[1], turns


def _surveyed(path: Path, file: BinaryIO, pauses: Mapping[int, int]) -> Contents:
    """Survey the whole file. ``pauses``: words before which turns have passed, and how many."""
    blocks, edges, chips, turns = list[Block](), list[Edges](), set[int](), list[tuple[int, Turns]]()
    opened: int | None = None
    first_hit: int | None = None
    untimed = lost = first = edge_count = 0
    place, chip_words = Place(), np.zeros(MOST_CHIPS_READ, dtype=np.int64)
    fell = False
    for words in _blocks(file, sorted(pauses)):
        place = passed(place, pauses.get(first, 0))
        packets, after = survey(words, place)
        blocks.append(Block(first, place, packets.span))
        edge_count += len(packets.edges.times)
        if edge_count > MOST_EDGES:
            raise InputFileError(f"{path}: more than {MOST_EDGES} edges at the trigger inputs", "record shorter scans")
        edges.append(packets.edges)
        chips |= packets.chips
        chip_words += packets.chip_words
        if opened is None and len(packets.opened):
            opened = int(packets.opened[0])
        if first_hit is None and packets.any_hits:
            first_hit = len(blocks) - 1
        untimed, lost = untimed + packets.untimed, lost + packets.lost
        turns.append((first, packets.turns))
        fell |= packets.fell
        first, place = first + len(words), after
    every, seen_chips = Edges.together(edges), frozenset(chips)
    found = Turns.together(turns)
    return Contents(tuple(blocks), every, seen_chips, chip_words, opened, first_hit, untimed, lost, first, found, fell)


def _blocks(file: BinaryIO, begin: Sequence[int]) -> Iterator[Array]:
    """Yield the words of the file; the given words begin a block."""
    file.seek(0)
    first = 0
    while data := file.read(min([BLOCK_WORDS, *(at - first for at in begin if at > first)]) * WORD_BYTES):
        yield np.frombuffer(data, "<u8", len(data) // WORD_BYTES)
        first += len(data) // WORD_BYTES


@dataclass
class TimedFrames:
    """Frames (…, Qy, Qx) of a file of raw packets, as events of one count each. Not for several threads at once."""

    path: Path
    file: BinaryIO
    contents: Contents
    clock: ScanClock
    sensor: Sensor
    cluster: float
    """Ticks between hits of one electron; 0: every hit counts."""
    _kept: OrderedDict[int, DetectedEvents] = field(default_factory=OrderedDict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes of the scan, then (Qy, Qx)."""
        return (*self.clock.shape, *self.sensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return COUNTS

    @property
    def received(self) -> BoolArray:
        """Bool (frames,): frames of lines that began."""
        return np.arange(int(np.prod(self.clock.shape))) < len(self.clock.starts) * self.clock.columns

    def __getitem__(self, selection: Any) -> Array:
        """Return patterns by numbers and slices of the leading axes. Raises OSError for unreadable ones."""
        shape = np.broadcast_to(False, self.clock.shape)[selection].shape
        return self.select(selection).dense().reshape(*shape, *self.sensor.shape)

    def select(self, selection: Any) -> EventFrames:
        """Like ``__getitem__``, but as events, with the leading axes flattened. Raises OSError."""
        count = int(np.prod(self.clock.shape))
        numbers = np.arange(count).reshape(self.clock.shape)[selection].ravel()
        if not len(numbers):
            return EventFrames(np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, COUNTS), self.sensor.shape)
        low, high = int(numbers.min()), int(numbers.max())
        at = np.full(high - low + 1, -1)
        at[numbers - low] = np.arange(len(numbers))
        parts = [self._in_selection(block, low, at) for block in self._blocks_between(low, high)]
        pixels = np.concatenate([np.zeros(0, np.uint32), *(part.pixels for part in parts)])
        places = np.concatenate([np.zeros(0, np.int64), *(part.frames for part in parts)])
        return counted(pixels, places, len(numbers), self.sensor.shape)

    def _blocks_between(self, low: int, high: int) -> Iterator[int]:
        """Numbers of the blocks with hits that may belong to some frames."""
        if not len(self.clock.starts):
            return
        begins, ends = self.clock.span(low, high)
        for number, block in enumerate(self.contents.blocks):
            if block.span is not None and block.span[1] >= begins and block.span[0] <= ends:
                yield number

    def _in_selection(self, number: int, low: int, at: IndexArray) -> DetectedEvents:
        """Events of a block in frames from ``low`` on, with their positions in the selection ``at`` (-1: not in it)."""
        found = self._found_in(number)
        inside = slice(*np.searchsorted(found.frames, [low, low + len(at)]).tolist())
        place = at[found.frames[inside] - low]
        return DetectedEvents(found.pixels[inside][place >= 0], place[place >= 0])

    def _found_in(self, number: int) -> DetectedEvents:
        """Return all events in a block, by frame. Raises OSError where the file has been shortened."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        found = DetectedEvents.of(
            _hits(self.file, self.contents, number), self.sensor, self.clock, self.cluster
        ).sorted()
        self._kept[number] = found
        if len(self._kept) > _KEPT_BLOCKS:
            self._kept.popitem(last=False)
        return found


def _hits(file: BinaryIO, contents: Contents, number: int) -> Hits:
    """Return the hits of a block. Raises OSError where the file has been shortened."""
    packets, _ = decode(_words(file, contents, number), contents.blocks[number].place)
    return packets.hits.kept(packets.hits.address >> 16 < MOST_CHIPS)


def _words(file: BinaryIO, contents: Contents, number: int) -> Array:
    """Return the words of a block. Raises OSError where the file has been shortened."""
    wanted = contents.words_of(number) * WORD_BYTES
    file.seek(contents.blocks[number].first * WORD_BYTES)
    data = file.read(wanted)
    if len(data) < wanted:
        raise OSError("the file has been shortened")
    return np.frombuffer(data, "<u8")


def read_scan(path: Path, file: BinaryIO, scan: Scan, cluster_ns: float) -> tuple[TimedFrames, tuple[str, ...]]:
    """Return the frames of an open file and notes on its interpretation. Raises InputFileError."""
    contents = look_through(path, file)
    if not contents.blocks or contents.lost == contents.words:
        raise InputFileError(f"{path} holds no Timepix3 packets", "is it complete, and a raw file of Serval?")
    if contents.first_hit is None:
        if contents.untimed:
            raise InputFileError(f"{path}: the detector counted hits without times", "record in time-of-arrival mode")
        raise InputFileError(f"{path}: no pixel was hit", "was there a beam, and is the threshold right?")
    beyond = int(contents.chip_words[MOST_CHIPS:].sum())
    if beyond > _DAMAGED * contents.chip_words.sum():
        raise InputFileError(f"{path}: chip {max(contents.chips)}: at most four are supported", "open an issue")
    begins = contents.opened
    if begins is None:
        begins = int(_hits(file, contents, contents.first_hit).times.min())
    understood = understand(str(path), contents.edges, begins, scan)
    notes = list(understood.notes)
    if contents.lost:
        notes.append(f"{contents.lost} of {contents.words} words of eight bytes are damaged and were left out")
    if beyond:
        notes.append(f"{beyond} words belong to chips that do not exist: they are damaged and were left out")
    if contents.untimed:
        notes.append(f"{contents.untimed} hits have no time and were left out")
    if contents.fell and not len(contents.turns.where):
        notes.append(f"{BACKWARDS}: check it")
    sensor = Sensor(four=len([chip for chip in contents.chips if chip < MOST_CHIPS]) > 1)
    return TimedFrames(path, file, contents, understood.clock, sensor, cluster_ns / TICK_NS), tuple(notes)
