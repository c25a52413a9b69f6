"""Compiled decoder of Merlin frames, the counterpart of :mod:`ptylive.streamer.protocols.merlin.pixels`.

Rows are flipped, and words of 64 bits become pixels in this machine's order. Raw words hold their pixels from the
highest column down, so a chip turned by 180 degrees is read with its words in reverse. Frames of a run are handed on as
received, and decoded by their readers; for a journal they are decoded in place.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.schema import CodedFrames
from ptylive.schema.model import Array, ByteArray, IndexArray
from ptylive.streamer.fast import merlin_headers
from ptylive.streamer.fast.bslz4 import DECODED, DECODER, WRONG_SIZE
from ptylive.streamer.fast.c_functions import c_function
from ptylive.streamer.fast.coded import DecodableBatch
from ptylive.streamer.fast.memory import COMPILED, INNER, load8, load64, shuffled_copy, store8, words_at
from ptylive.streamer.marks import WORDS
from ptylive.streamer.protocols.merlin.pixels import PixelLayout
from ptylive.streamer.protocols.merlin.runs import decode_runs_with

_PLAIN, _PAIRS, _FOURS, _WORDS, _BITS = 0, 1, 2, 3, 4
"""Treatment of a word: none, its bytes swapped in pairs, in fours, all eight, or its 64 bits expanded to bytes."""
_SWAPPED = {1: _PLAIN, 2: _PAIRS, 4: _FOURS}
_LEFT_TO_NUMPY, _CHIP = 24, 256
_ALIGNED = 64
_OFFSET, _STORED_BYTES, _BYTES, _ROWS, _STORED, _LINE, _AS_STORED, _TURNED, _SIDE = range(9)
"""Positions in the array of :func:`parameters_of`: bytes before the pixels, of the stored pixels and of the pattern;
rows and bytes of a stored line (of one chip), bytes of a line of the pattern, treatment of its words; for four chips
the treatment of the words of the turned chips, and rows of the pattern (0: one chip).
"""
_TWO = np.uint64(0x00FF00FF00FF00FF)
_FOUR = np.uint64(0x0000FFFF0000FFFF)
_8, _16, _32, _1 = np.uint64(8), np.uint64(16), np.uint64(32), np.uint64(1)


_VECTOR = 64
_copy_plain, _copy_pairs, _copy_fours, _copy_words = (
    shuffled_copy([k ^ ((1 << what) - 1) for k in range(_VECTOR)]) for what in (_PLAIN, _PAIRS, _FOURS, _WORDS)
)
_turn_plain, _turn_pairs = (
    shuffled_copy([(_VECTOR - 8 - k // 8 * 8 + k % 8) ^ ((1 << what) - 1) for k in range(_VECTOR)])
    for what in (_PLAIN, _PAIRS)
)


@nb.jit(**INNER)
def _words(word):
    """A word with its bytes in reverse."""
    word = ((word >> _8) & _TWO) | ((word & _TWO) << _8)
    word = ((word >> _16) & _FOUR) | ((word & _FOUR) << _16)
    return (word >> _32) | (word << _32)


@nb.jit(**INNER)
def _line(target, source, nbytes, treatment):
    """Copy ``nbytes`` bytes of a line; bytes beyond whole vectors are copied one by one."""
    vectors = nbytes // _VECTOR
    if treatment == _PAIRS:
        for k in range(vectors):
            _copy_pairs(target + nb.uintp(_VECTOR * k), source + nb.uintp(_VECTOR * k))
    elif treatment == _FOURS:
        for k in range(vectors):
            _copy_fours(target + nb.uintp(_VECTOR * k), source + nb.uintp(_VECTOR * k))
    elif treatment == _WORDS:
        for k in range(vectors):
            _copy_words(target + nb.uintp(_VECTOR * k), source + nb.uintp(_VECTOR * k))
    else:
        for k in range(vectors):
            _copy_plain(target + nb.uintp(_VECTOR * k), source + nb.uintp(_VECTOR * k))
    within = (1 << treatment) - 1  # mask within a swapped group
    for k in range(_VECTOR * vectors, nbytes):
        store8(target + nb.uintp(k), load8(source + nb.uintp(k ^ within)))


@nb.jit(**INNER)
def _bits(target, source, words):
    """Expand a line of pixels of 1 bit."""
    for k in range(words):
        word = _words(load64(source + nb.uintp(8 * k)))
        for bit in range(64):
            store8(target + nb.uintp(64 * k + bit), nb.uint8((word >> nb.uint64(bit)) & _1))


@nb.jit(**INNER)
def _line_of_chip(target, source, nbytes, treatment):
    """Decode a raw line of one chip; ``nbytes`` as stored."""
    if treatment == _BITS:
        _bits(target, source, nbytes // 8)
    else:
        _line(target, source, nbytes, treatment)


@nb.jit(**INNER)
def _turned(target, source, nbytes, treatment):
    """Like :func:`_line_of_chip`, with columns in reverse: words from last to first; a chip's line is whole vectors."""
    words = nbytes // 8
    if treatment == _BITS:
        for k in range(words):
            word = _words(load64(source + nb.uintp(8 * (words - 1 - k))))
            for bit in range(64):
                store8(target + nb.uintp(64 * k + bit), nb.uint8((word >> nb.uint64(63 - bit)) & _1))
    elif treatment == _PAIRS:
        for k in range(nbytes // _VECTOR):
            _turn_pairs(target + nb.uintp(_VECTOR * k), source + nb.uintp(nbytes - _VECTOR * (k + 1)))
    else:
        for k in range(nbytes // _VECTOR):
            _turn_plain(target + nb.uintp(_VECTOR * k), source + nb.uintp(nbytes - _VECTOR * (k + 1)))


@nb.jit(**INNER)
def _decode_lines(source, stored, line, rows, treatment, target):
    """Decode a frame at an address: ``rows`` lines of ``stored`` bytes become lines of ``line`` bytes, flipped."""
    for row in range(rows):
        place = target + nb.uintp((rows - 1 - row) * line)
        _line_of_chip(place, source + nb.uintp(row * stored), stored, treatment)


@nb.jit(**INNER)
def _decode_quad(source, parameters, target):
    """Decode a frame of four raw chips."""
    stored, line, rows, side = parameters[_STORED], parameters[_LINE], parameters[_ROWS], parameters[_SIDE]
    as_stored, turned = parameters[_AS_STORED], parameters[_TURNED]
    chip = stored * 8 if as_stored == _BITS else stored
    right = line - chip
    for row in range(side):
        between = rows <= row < side - rows
        for k in range(0 if between else chip, line if between else right):
            store8(target + nb.uintp(row * line + k), nb.uint8(0))
    for row in range(rows):
        four = source + nb.uintp(4 * stored * row)
        top, low = target + nb.uintp(row * line), target + nb.uintp((side - 1 - row) * line)
        _turned(top + nb.uintp(right), four, stored, turned)
        _turned(top, four + nb.uintp(stored), stored, turned)
        _line_of_chip(low + nb.uintp(right), four + nb.uintp(2 * stored), stored, as_stored)
        _line_of_chip(low, four + nb.uintp(3 * stored), stored, as_stored)


@nb.jit(**COMPILED)
def _decode_one(source, parameters, target):
    """Decode a frame whose pixels begin at an address."""
    if parameters[_SIDE]:
        _decode_quad(source, parameters, target)
    else:
        _decode_lines(source, parameters[_STORED], parameters[_LINE], parameters[_ROWS], parameters[_AS_STORED], target)


@nb.jit(**COMPILED)
def _decode_all(frames, count, stride, parameters, target):
    """Decode ``count`` frames, ``stride`` bytes apart, to patterns back to back."""
    for n in range(count):
        _decode_one(
            frames + nb.uintp(n * stride + parameters[_OFFSET]), parameters, target + nb.uintp(n * parameters[_BYTES])
        )


@nb.jit(**COMPILED)
def _pack_all(frames, count, stride, parameters, target, space):
    """Like :func:`_decode_all`, with patterns in the memory of the frames, none of them behind its own frame."""
    for n in range(count):
        _line(space, frames + nb.uintp(n * stride + parameters[_OFFSET]), parameters[_STORED_BYTES], _PLAIN)
        _decode_one(space, parameters, target + nb.uintp(n * parameters[_BYTES]))


@c_function(DECODER)
def decode_frame_at(data, size, _itemsize, target, target_bytes, _work, parameters):
    """Decode a frame with prefix and header, as a C function of addresses: see :class:`ptylive.schema.CodedFrames`."""
    words = words_at(parameters, _SIDE + 1)
    if size != words[_OFFSET] + words[_STORED_BYTES] or target_bytes != words[_BYTES]:
        return nb.int64(WRONG_SIZE)
    _decode_one(data + nb.uintp(words[_OFFSET]), words, target)
    return nb.int64(DECODED)


def parameters_of(layout: PixelLayout, offset: int) -> IndexArray | None:
    """Parameters (9,) int64 of the compiled functions for frames whose pixels begin after ``offset`` bytes.

    None for raw frames of 24 bits, which are left to numpy.
    """
    (rows, columns), itemsize = layout.shape, np.dtype(layout.dtype).itemsize
    if layout.depth == _LEFT_TO_NUMPY:
        return None
    line, one_bit = columns * itemsize, layout.depth == 1
    sizes = (offset, layout.nbytes, rows * line)
    if layout.quad:
        stored = _CHIP // 8 if one_bit else _CHIP * itemsize
        swapped = (_BITS, _BITS) if one_bit else (_WORDS, _SWAPPED[itemsize])
        return np.array([*sizes, layout.nbytes // (4 * stored), stored, line, *swapped, rows], dtype=np.int64)
    treatment = _SWAPPED[itemsize] if layout.depth == 0 else _BITS if one_bit else _WORDS
    return np.array([*sizes, rows, layout.nbytes // rows, line, treatment, 0, 0], dtype=np.int64)


class RunBatch(DecodableBatch):
    """Frames of a run (n, bytes) uint8 as received, each with prefix and header."""

    def __init__(
        self, uid: str, index: IndexArray, frames: ByteArray, layout: PixelLayout, parameters: IndexArray
    ) -> None:
        ends = np.arange(1, len(frames) + 1, dtype=np.int64) * frames.shape[1]
        coded = CodedFrames(frames.reshape(-1), ends, decode_frame_at.address, 0, parameters)
        vars(self).update(uid=uid, index=index, coded=coded, _rows=frames, _layout=layout)

    def _decoded(self, first: int, count: int) -> Array:
        layout: PixelLayout = vars(self)["_layout"]
        found = np.empty((count, *layout.shape), dtype=layout.dtype)
        rows, parameters = vars(self)["_rows"][first : first + count], self._coded.parameters
        _decode_all(rows.ctypes.data, len(rows), rows.strides[0], parameters, found.ctypes.data)
        return found


class CompiledRuns:
    """The argument of :func:`ptylive.streamer.protocols.merlin.runs.decode_runs_with`."""

    alike, marks = staticmethod(merlin_headers.alike), staticmethod(merlin_headers.marks)

    @staticmethod
    def handed_on(layout: PixelLayout, frames: ByteArray, offset: int, uid: str, index: IndexArray) -> RunBatch | None:
        """Return frames (n, bytes) of a scan for decoding by their readers; None where numpy must decode them."""
        parameters = parameters_of(layout, offset)
        return None if parameters is None else RunBatch(uid, index, frames, layout, parameters)

    @staticmethod
    def pack(layout: PixelLayout, frames: ByteArray, offset: int) -> ByteArray | None:
        """Decode patterns (bytes,) uint8, back to back, into the memory of their frames (n, bytes), which are
        destroyed.

        None where they do not fit there: with fewer bits than a pixel occupies, or with gaps between chips.

        Data that have just been received are in the cache; other memory would have to be fetched first, which takes
        twice the time.
        """
        start, parameters = frames.ctypes.data, parameters_of(layout, offset)
        skipped = -start % _ALIGNED
        if parameters is None or layout.nbytes != parameters[_BYTES] or offset < skipped:
            return None
        space = np.empty(layout.nbytes, np.uint8)
        _pack_all(start, len(frames), frames.strides[0], parameters, start + skipped, space.ctypes.data)
        return frames.reshape(-1)[skipped : skipped + len(frames) * layout.nbytes]

    @staticmethod
    def decode(layout: PixelLayout, frames: ByteArray, offset: int, patterns: ByteArray) -> bool:
        """Fill patterns (bytes,) uint8, back to back, from frames (n, bytes) uint8 whose pixels begin at a column.

        False for raw frames of 24 bits, which are left to numpy.
        """
        if (parameters := parameters_of(layout, offset)) is None:
            return False
        _decode_all(frames.ctypes.data, len(frames), frames.strides[0], parameters, patterns.ctypes.data)
        return True


def use_compiled_runs() -> None:
    """Compile the decoder (seconds the first time on a machine) and decode runs here from now on, in every thread."""
    compiled = CompiledRuns()
    frame = np.zeros((1, 64 + _ALIGNED), np.uint8)
    layout = PixelLayout((8, 8), "|u1", 6, False, 64)
    compiled.decode(layout, frame, _ALIGNED, np.empty(64, np.uint8))
    compiled.pack(layout, frame, _ALIGNED)
    compiled.alike(frame, np.zeros(1, np.int64), np.zeros(1, np.uint8), slice(0, 1))
    compiled.marks(frame, np.zeros(8 * WORDS, np.int64), 64)
    decode_frame_at.compile()
    decode_runs_with(compiled)
