"""Decode words of the raw stream: hits, edges of the trigger inputs, the shutter. Damage is skipped.

The stream consists of chunks: a word with ``TPX3``, the number of the chip and the bytes that follow, then packets of
eight bytes, little-endian, whose highest bits give their kind. All times share 30 bits of 25 ns (26.8 s) and arrive
nearly in order, so each is placed within half of that range of the previous one. Edges and heartbeats have two bits
more (107 s), which identify longer pauses (:mod:`.pauses`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.schema.model import Array, BoolArray, IndexArray

TICK_NS = 25 / 16
"""Unit of all times: the fine clock of a pixel."""
WORD_BYTES = 8
CHIP_SIDE = 256
_MAGIC = np.uint32(0x33585054)
MOST_CHIPS_READ = 8
"""Largest number of chips in one readout."""
_HALF = 2**29
"""Times of 30 bits belong to the same turn when they are closer together than this, in units of 25 ns."""
_ROUGH_BITS = 14
"""Bits of a hit's time in units of 25 ns; the upper ones are elsewhere in the word."""
TICKS = 16
"""Ticks per 25 ns."""
_FAR = 2**12
"""In units of 0.4 ms, 1.7 s: packets are never that late."""
_HIT, _COUNTS, _EDGE, _GLOBAL = 0xB, 0xA, 0x6, 0x44
_OPENED, _BEAT, _CLOSED = 0x5F, 0x5C, 0x5A
EDGES = {0xF: "1 rise", 0xA: "1 fall", 0xE: "2 rise", 0xB: "2 fall"}
"""Code of an edge -> trigger input and direction."""


@dataclass(frozen=True)
class Hits:
    """Pixels that were hit: chip, row and column of the chip in one number each, ticks, and 25 ns over threshold."""

    address: Array
    """(n,) uint32: chip << 16 | row << 8 | column."""
    times: IndexArray
    over_threshold: Array
    """(n,) uint16."""

    def kept(self, keep: Array) -> Hits:
        """Return a selection of the hits; numbers or bool (n,)."""
        return Hits(self.address[keep], self.times[keep], self.over_threshold[keep])

    @staticmethod
    def together(parts: list[Hits]) -> Hits:
        """Concatenate hits."""
        empty = Hits(np.zeros(0, np.uint32), np.zeros(0, np.int64), np.zeros(0, np.uint16))
        parts = parts or [empty]
        return Hits(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("address", "times", "over_threshold")))


@dataclass(frozen=True)
class Edges:
    """Signals at the trigger inputs: ticks, and codes of :data:`EDGES`."""

    times: IndexArray
    kinds: Array

    @staticmethod
    def together(parts: list[Edges]) -> Edges:
        """Concatenate edges."""
        parts = parts or [Edges(np.zeros(0, np.int64), np.zeros(0, np.uint8))]
        return Edges(np.concatenate([p.times for p in parts]), np.concatenate([p.kinds for p in parts]))


@dataclass(frozen=True)
class Packets:
    """Contents of some words. ``opened``: ticks at which the shutter was opened; ``chips``: numbers of those that were
    hit; ``untimed``: hits of a mode without times; ``lost``: words outside chunks.
    """

    hits: Hits
    edges: Edges
    opened: IndexArray
    chips: frozenset[int]
    untimed: int
    lost: int


@dataclass(frozen=True)
class Place:
    """State of decoding between two blocks of words: chip and remaining words of the chunk, time of the last packet in
    units of 25 ns (None: no packet yet).
    """

    chip: int = 0
    left: int = 0
    time: int | None = None


@dataclass(frozen=True)
class Turns:
    """Packets whose times have 32 bits: word numbers (n,), whether heartbeats (n,), and turns of 30 bits (n,), 0 to 3,
    by which their times are later than placed.
    """

    where: IndexArray
    is_beat: BoolArray
    turns: IndexArray

    @staticmethod
    def together(parts: list[tuple[int, Turns]]) -> Turns:
        """Concatenate turns, each with the number of its first word."""
        parts = [(0, Turns(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.int64))), *parts]
        where = np.concatenate([first + part.where for first, part in parts])
        is_beat = np.concatenate([part.is_beat for _, part in parts])
        return Turns(where, is_beat, np.concatenate([part.turns for _, part in parts]))


@dataclass(frozen=True)
class Survey:
    """Contents of some words, without their hits. ``span``: earliest and latest time, None without any; ``chip_words``:
    packets of each chip (MOST_CHIPS_READ,); ``fell``: whether times of hits fell far behind and stayed there; the rest
    as in :class:`Packets`.
    """

    edges: Edges
    opened: IndexArray
    chips: frozenset[int]
    chip_words: IndexArray
    span: tuple[int, int] | None
    any_hits: bool
    untimed: int
    lost: int
    turns: Turns
    fell: bool


def decode(words: Array, place: Place) -> tuple[Packets, Place]:
    """Decode the next words (n,) uint64; return their contents and the state after them."""
    chunks = _chunks(words, place)
    chips = chunks.chip_of_words(len(words), place)
    body = chips >= 0
    body[chunks.headers] = False
    words, chips = words[body], chips[body]
    kind = _kinds(words)
    is_hit, is_edge, is_shutter, is_global = _masks_by_kind(words, kind)
    coarse, order = _coarse(words, is_hit, is_edge | is_shutter, is_global)
    times, last = _unwrapped(coarse, place.time)
    every = np.zeros(len(words), dtype=np.int64)
    every[order] = times
    packets = Packets(
        hits=_hits(words[is_hit], chips[is_hit], every[is_hit]),
        edges=_edges(words[is_edge], kind[is_edge], every[is_edge]),
        opened=every[kind == _OPENED] * TICKS,
        chips=frozenset(np.unique(chips[is_hit]).tolist()),
        untimed=int(np.count_nonzero(kind >> 4 == _COUNTS)),
        lost=chunks.lost(len(body), place),
    )
    return packets, chunks.end(len(body), replace(place, time=last))


def survey(words: Array, place: Place) -> tuple[Survey, Place]:
    """Survey the next words (n,) uint64: times of hits only to 0.4 ms, several times faster than decoding."""
    chunks = _chunks(words, place)
    body = chunks.inside(len(words), place)
    kind = _kinds(words)
    is_hit, is_edge, is_shutter, is_global = (selected & body for selected in _masks_by_kind(words, kind))
    rough, where = words.view("<u2")[::4][is_hit], np.flatnonzero(is_hit)
    non_hits = np.flatnonzero(is_edge | is_shutter | is_global)
    coarse, _ = _coarse(words[non_hits], is_hit[non_hits], ~is_global[non_hits], is_global[non_hits])
    before = place.time
    if before is None and len(where) + len(non_hits):
        first = min([*where[:1].tolist(), *non_hits[:1].tolist()])
        before = int(coarse[0]) if not is_hit[first] else int(rough[0]) << _ROUGH_BITS
    begins = (before or 0) >> _ROUGH_BITS
    # the nearest steps of 16 bits that wrap around
    steps = np.diff(rough, prepend=np.uint16(begins & 0xFFFF)).view(np.int16)
    hits = begins + np.cumsum(steps, dtype=np.int64)
    near = np.concatenate([[begins], hits])[np.searchsorted(where, non_hits)] << _ROUGH_BITS
    times = near + (coarse - near + _HALF) % (2 * _HALF) - _HALF
    bounds = [int(b) << _ROUGH_BITS for b in ((hits.min(), hits.max() + 1) if len(hits) else ())]
    bounds += [int(b) for b in ((times.min(), times.max()) if len(times) else ())]
    edge, beat = is_edge[non_hits], is_global[non_hits]
    long = edge | beat
    whole = (words[non_hits][long] >> np.where(beat[long], 16, 12).astype(np.uint64)).astype(np.int64) & 0xFFFFFFFF
    found = Survey(
        edges=_edges(words[non_hits][edge], kind[non_hits][edge], times[edge]),
        opened=times[kind[non_hits] == _OPENED] * TICKS,
        chips=frozenset(chunks.chips[chunks.counts > 0].tolist()) if len(hits) else frozenset(),
        chip_words=np.bincount(chunks.chips, chunks.counts, MOST_CHIPS_READ).astype(np.int64),
        span=((min(bounds) - 1) * TICKS, (max(bounds) + 1) * TICKS) if bounds else None,
        any_hits=len(hits) > 0,
        untimed=int(np.count_nonzero((kind >> 4 == _COUNTS) & body)),
        lost=chunks.lost(len(words), place),
        turns=Turns(non_hits[long], beat[long], (whole - times[long]) // (2 * _HALF) % 4),
        fell=_falls_behind(steps),
    )
    last = int(hits[-1]) << _ROUGH_BITS if len(hits) else int(times[-1]) if len(times) else before
    return found, chunks.end(len(words), replace(place, time=last))


def times_in_order(words: Array, place: Place) -> tuple[IndexArray, IndexArray]:
    """Return which words (n,) have a time, and these times, in units of 25 ns, in their order."""
    at = np.flatnonzero(_chunks(words, place).inside(len(words), place))
    is_hit, is_edge, is_shutter, is_global = _masks_by_kind(words[at], _kinds(words[at]))
    coarse, order = _coarse(words[at], is_hit, is_edge | is_shutter, is_global)
    return at[order], _unwrapped(coarse, place.time)[0]


def _falls_behind(steps: Array) -> bool:
    """Whether hits (steps of 0.4 ms) fall behind and stay there; behind a damaged one they rise again at once."""
    rises = np.flatnonzero(steps > _FAR)
    falls = np.flatnonzero(steps < -_FAR)
    return bool((~np.isin(falls, np.concatenate([rises + 1, rises - 1]))).any())


@dataclass(frozen=True)
class _Chunks:
    """Positions of headers, their chips and the numbers of words that follow."""

    headers: IndexArray
    chips: IndexArray
    counts: IndexArray

    def end(self, length: int, place: Place) -> Place:
        """Return the state after the last chunk."""
        if not len(self.headers):
            return replace(place, left=max(0, place.left - length))
        words_left = int(self.headers[-1] + 1 + self.counts[-1]) - length
        return replace(place, chip=int(self.chips[-1]), left=max(0, words_left))

    def _covered(self, length: int) -> IndexArray:
        """Number of words of each chunk including its header; a truncated chunk ends at the next one."""
        return np.minimum(self.counts + 1, np.diff(self.headers, append=length))

    def lost(self, length: int, place: Place) -> int:
        """Number of words outside chunks."""
        before = int(self.headers[0]) if len(self.headers) else length
        return length - min(place.left, before) - int(self._covered(length).sum())

    def inside(self, length: int, place: Place) -> BoolArray:
        """Which words are packets."""
        if not self.lost(length, place):
            body = np.ones(length, dtype=bool)
        else:
            body = self.chip_of_words(length, place) >= 0
        body[self.headers] = False
        return body

    def chip_of_words(self, length: int, place: Place) -> Array:
        """The chip of each word; -1 for words outside chunks."""
        chips = np.full(length, -1, dtype=np.int8)
        chips[: min(place.left, length)] = place.chip
        covered = self._covered(length)
        chips[np.repeat(self.headers, covered) + _within(covered)] = np.repeat(self.chips, covered)
        return chips


def _chunks(words: Array, place: Place) -> _Chunks:
    """Find the chunks in some words by where each one declares its end."""
    candidates = np.flatnonzero(words.view("<u4")[::2] == _MAGIC)
    size, number = (
        (words[candidates] >> np.uint64(48)).astype(np.int64),
        (words[candidates] >> np.uint64(32)).astype(np.int64) & 0xFF,
    )
    good = (size % WORD_BYTES == 0) & (number < MOST_CHIPS_READ)
    candidates, counts, number = candidates[good], size[good] // WORD_BYTES, number[good]
    if _is_chain(candidates, counts, place.left, len(words)):
        return _Chunks(candidates, number, counts)
    chain = np.array(_chain(candidates, counts, place.left, len(words)), dtype=np.int64)
    return _Chunks(candidates[chain], number[chain], counts[chain])


def _kinds(words: Array) -> Array:
    """The highest byte of each word."""
    return np.asarray(words.view("u1")[7::8])


def _masks_by_kind(words: Array, kind: Array) -> tuple[BoolArray, BoolArray, BoolArray, BoolArray]:
    """Which words are hits, edges (except those whose time the detector declares invalid), of the shutter, or times."""
    is_edge = kind >> 4 == _EDGE
    fine = (words[is_edge] >> np.uint64(5)) & np.uint64(0xF)
    is_edge[is_edge] = (fine >= 1) & (fine <= 12)
    is_shutter = (kind == _OPENED) | (kind == _BEAT) | (kind == _CLOSED)
    return kind >> 4 == _HIT, is_edge, is_shutter, kind == _GLOBAL


def _is_chain(candidates: IndexArray, counts: IndexArray, words_left: int, length: int) -> bool:
    """Whether each header stands where the previous chunk ends, the first one after ``words_left`` words."""
    if not len(candidates):
        return words_left >= length
    return int(candidates[0]) == words_left and bool((candidates[1:] == candidates[:-1] + 1 + counts[:-1]).all())


def _chain(candidates: IndexArray, counts: IndexArray, words_left: int, length: int) -> list[int]:
    """Indices of the true headers among similar words: at the end of a chunk, or else the next one if truncated."""
    found: list[int] = []
    at, k = words_left, 0
    while k < len(candidates):
        exact = int(np.searchsorted(candidates, at))
        if exact < len(candidates) and int(candidates[exact]) == at:
            k = exact
        elif at >= length:
            break
        found.append(k)
        at = int(candidates[k] + 1 + counts[k])
        k += 1
    return found


def _within(lengths: IndexArray) -> IndexArray:
    """Numbers 0, 1, … for each length, one behind the other."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def _coarse(
    words: Array, is_hit: BoolArray, is_signal: BoolArray, is_global: BoolArray
) -> tuple[IndexArray, IndexArray]:
    """Lower 30 bits of the times, in units of 25 ns, of the words with a time (n,), and indices of these words (n,)."""
    order = np.flatnonzero(is_hit | is_signal | is_global)
    words, is_hit, is_signal = words[order], is_hit[order], is_signal[order]
    found = words >> np.uint64(16)
    found[is_signal] = words[is_signal] >> np.uint64(12)
    hits = words[is_hit]
    found[is_hit] = ((hits & np.uint64(0xFFFF)) << np.uint64(_ROUGH_BITS)) | (hits >> np.uint64(30) & np.uint64(0x3FFF))
    return (found & np.uint64(2 * _HALF - 1)).astype(np.int64), order


def _unwrapped(coarse: IndexArray, last: int | None) -> tuple[IndexArray, int | None]:
    """Unwrap times across overflows of 30 bits; return them and the last one."""
    if not len(coarse):
        return coarse, last
    first = int(coarse[0]) if last is None else last
    steps = (np.diff(coarse, prepend=first) + _HALF) % (2 * _HALF) - _HALF
    times = first + np.cumsum(steps)
    return times, int(times[-1])


def _hits(words: Array, chips: Array, times: IndexArray) -> Hits:
    address = (words >> np.uint64(44)).astype(np.uint32) & np.uint32(0xFFFF)
    pixel = address & np.uint32(7)
    column = ((address >> np.uint32(8)) & np.uint32(0xFE)) + (pixel >> np.uint32(2))
    row = ((address >> np.uint32(1)) & np.uint32(0xFC)) + (pixel & np.uint32(3))
    fine = ((words >> np.uint64(16)) & np.uint64(0xF)).astype(np.int64)
    over_threshold = ((words >> np.uint64(20)) & np.uint64(0x3FF)).astype(np.uint16)
    return Hits(
        chips.astype(np.uint32) << np.uint32(16) | row << np.uint32(8) | column, times * TICKS - fine, over_threshold
    )


def _edges(words: Array, kind: Array, times: IndexArray) -> Edges:
    eighths = ((words >> np.uint64(9)) & np.uint64(7)).astype(np.int64)
    return Edges(times * TICKS + 2 * eighths, kind & np.uint8(0xF))
