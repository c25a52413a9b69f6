"""Compiled decoder of runs of Merlin frames: what :mod:`ptylive.streamer.protocols.merlin.pixels` does to one.

Rows are turned over, words of 64 bits become pixels in this machine's order. Raw words hold their pixels from the
highest column down, so that a chip that lies turned by 180 degrees is read with its words in reverse.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.schema.model import ByteArray
from ptylive.streamer.fast.memory import COMPILED, load8, load64, store8, store64
from ptylive.streamer.protocols.merlin.pixels import PixelLayout
from ptylive.streamer.protocols.merlin.runs import decode_runs_with

_PLAIN, _PAIRS, _FOURS, _WORDS, _BITS = 0, 1, 2, 3, 4
"""What becomes of a word: nothing, its bytes swapped in pairs, in fours, all eight, or its 64 bits as bytes."""
_SWAPPED = {1: _PLAIN, 2: _PAIRS, 4: _FOURS}
_LEFT_TO_NUMPY, _CHIP = 24, 256
_ALIGNED = 64
_TWO = np.uint64(0x00FF00FF00FF00FF)
_FOUR = np.uint64(0x0000FFFF0000FFFF)
_8, _16, _32, _1 = np.uint64(8), np.uint64(16), np.uint64(32), np.uint64(1)


@nb.jit(**COMPILED)
def _pairs(word):
    return ((word >> _8) & _TWO) | ((word & _TWO) << _8)


@nb.jit(**COMPILED)
def _fours(word):
    word = _pairs(word)
    return ((word >> _16) & _FOUR) | ((word & _FOUR) << _16)


@nb.jit(**COMPILED)
def _words(word):
    word = _fours(word)
    return (word >> _32) | (word << _32)


@nb.jit(**COMPILED)
def _line(target, source, nbytes, what):
    """``nbytes`` bytes of a line; of one that is no whole number of words the rest byte by byte."""
    words = nbytes // 8
    if what == _PAIRS:
        for k in range(words):
            store64(target + nb.uintp(8 * k), _pairs(load64(source + nb.uintp(8 * k))))
    elif what == _FOURS:
        for k in range(words):
            store64(target + nb.uintp(8 * k), _fours(load64(source + nb.uintp(8 * k))))
    elif what == _WORDS:
        for k in range(words):
            store64(target + nb.uintp(8 * k), _words(load64(source + nb.uintp(8 * k))))
    else:
        for k in range(words):
            store64(target + nb.uintp(8 * k), load64(source + nb.uintp(8 * k)))
    within = (1 << what) - 1  # of a swapped pixel: never reached by words of raw frames
    for k in range(8 * words, nbytes):
        store8(target + nb.uintp(k), load8(source + nb.uintp(k ^ within)))


@nb.jit(**COMPILED)
def _bits(target, source, words):
    """A line of pixels of 1 bit."""
    for k in range(words):
        word = _words(load64(source + nb.uintp(8 * k)))
        for bit in range(64):
            store8(target + nb.uintp(64 * k + bit), nb.uint8((word >> nb.uint64(bit)) & _1))


@nb.jit(**COMPILED)
def _line_of_chip(target, source, nbytes, what):
    """A raw line of one chip; ``nbytes`` as it is stored."""
    if what == _BITS:
        _bits(target, source, nbytes // 8)
    else:
        _line(target, source, nbytes, what)


@nb.jit(**COMPILED)
def _turned(target, source, nbytes, what):
    """The same with its columns in reverse: words from the last to the first, each as it is in memory."""
    words = nbytes // 8
    if what == _BITS:
        for k in range(words):
            word = _words(load64(source + nb.uintp(8 * (words - 1 - k))))
            for bit in range(64):
                store8(target + nb.uintp(64 * k + bit), nb.uint8((word >> nb.uint64(63 - bit)) & _1))
        return
    for k in range(words):
        word = load64(source + nb.uintp(8 * (words - 1 - k)))
        store64(target + nb.uintp(8 * k), _pairs(word) if what == _PAIRS else word)


@nb.jit(**COMPILED)
def _decode_lines(source, count, stride, stored, line, rows, what, target):
    """``count`` frames at an address, ``stride`` bytes from one to the next: ``rows`` lines of ``stored`` bytes become
    lines of ``line`` bytes, turned over.
    """
    for n in range(count):
        for row in range(rows):
            place = target + nb.uintp((n * rows + rows - 1 - row) * line)
            _line_of_chip(place, source + nb.uintp(n * stride + row * stored), stored, what)


@nb.jit(**COMPILED)
def _decode_quads(source, count, stride, stored, line, rows, as_stored, turned, side, target):
    """Frames of four raw chips: ``rows`` lines of each, ``stored`` bytes of one; ``side`` lines of ``line`` bytes."""
    chip = stored * 8 if as_stored == _BITS else stored
    right = line - chip
    for n in range(count):
        start = target + nb.uintp(n * side * line)
        for row in range(side):
            between = rows <= row < side - rows
            for k in range(0 if between else chip, line if between else right):
                store8(start + nb.uintp(row * line + k), nb.uint8(0))
        for row in range(rows):
            four = source + nb.uintp(n * stride + 4 * stored * row)
            top, low = start + nb.uintp(row * line), start + nb.uintp((side - 1 - row) * line)
            _turned(top + nb.uintp(right), four, stored, turned)
            _turned(top, four + nb.uintp(stored), stored, turned)
            _line_of_chip(low + nb.uintp(right), four + nb.uintp(2 * stored), stored, as_stored)
            _line_of_chip(low, four + nb.uintp(3 * stored), stored, as_stored)


@nb.jit(**COMPILED)
def _pack_lines(source, count, stride, line, rows, what, target, space):
    """As :func:`_decode_lines`, where the patterns lie in the memory of the frames and none behind its own frame."""
    for n in range(count):
        _line(space, source + nb.uintp(n * stride), rows * line, _PLAIN)
        _decode_lines(space, 1, 0, line, line, rows, what, target + nb.uintp(n * rows * line))


@nb.jit(**COMPILED)
def _pack_quads(source, count, stride, stored, rows, as_stored, turned, target, space):
    """The same for four raw chips without gaps."""
    nbytes = 4 * stored * rows
    for n in range(count):
        _line(space, source + nb.uintp(n * stride), nbytes, _PLAIN)
        _decode_quads(space, 1, 0, stored, 2 * stored, rows, as_stored, turned, 2 * rows, target + nb.uintp(n * nbytes))


class CompiledRuns:
    """What :func:`ptylive.streamer.protocols.merlin.runs.decode_runs_with` takes."""

    @staticmethod
    def pack(layout: PixelLayout, frames: ByteArray, offset: int) -> ByteArray | None:
        """Patterns (bytes,) uint8, back to back, in the memory of their frames (n, bytes), which are gone then.

        None where they do not fit there: of fewer bits than a pixel takes, or with gaps between chips.

        What has just been received is near; other memory would have to be fetched first, and so takes twice the time.
        """
        (rows, columns), itemsize = layout.shape, np.dtype(layout.dtype).itemsize
        line, start = columns * itemsize, frames.ctypes.data
        skipped = -start % _ALIGNED
        if layout.depth in (1, _LEFT_TO_NUMPY) or layout.nbytes != rows * line or offset < skipped:
            return None
        space = np.empty(layout.nbytes, np.uint8)
        where = start + offset, len(frames), frames.strides[0]
        if layout.quad:
            stored = _CHIP * itemsize
            _pack_quads(*where, stored, rows // 2, _WORDS, _SWAPPED[itemsize], start + skipped, space.ctypes.data)
        else:
            what = _SWAPPED[itemsize] if layout.depth == 0 else _WORDS
            _pack_lines(*where, line, rows, what, start + skipped, space.ctypes.data)
        return frames.reshape(-1)[skipped : skipped + len(frames) * layout.nbytes]

    @staticmethod
    def decode(layout: PixelLayout, frames: ByteArray, offset: int, patterns: ByteArray) -> bool:
        """Patterns (bytes,) uint8, back to back, of frames (n, bytes) uint8 whose pixels begin at a column.

        False for raw frames of 24 bits, which are left to numpy.
        """
        (rows, columns), itemsize = layout.shape, np.dtype(layout.dtype).itemsize
        if layout.depth == _LEFT_TO_NUMPY:
            return False
        line, one_bit = columns * itemsize, layout.depth == 1
        where = frames.ctypes.data + offset, len(frames), frames.strides[0]
        if layout.quad:
            stored = _CHIP // 8 if one_bit else _CHIP * itemsize
            as_stored, turned = (_BITS, _BITS) if one_bit else (_WORDS, _SWAPPED[itemsize])
            chip_rows = layout.nbytes // (4 * stored)
            _decode_quads(*where, stored, line, chip_rows, as_stored, turned, rows, patterns.ctypes.data)
            return True
        what = _SWAPPED[itemsize] if layout.depth == 0 else _BITS if one_bit else _WORDS
        _decode_lines(*where, layout.nbytes // rows, line, rows, what, patterns.ctypes.data)
        return True


def use_compiled_runs() -> None:
    """Compile it (seconds the first time on a machine), and have runs decoded here from now on, in every thread."""
    compiled = CompiledRuns()
    for shape, depth, quad in (((2, 8), 0, False), ((2 * _CHIP, 2 * _CHIP), 6, True)):
        frame = np.zeros((1, shape[0] * shape[1] + _ALIGNED), np.uint8)
        layout = PixelLayout(shape, "|u1", depth, quad, shape[0] * shape[1])
        compiled.decode(layout, frame, _ALIGNED, np.empty(layout.nbytes, np.uint8))
        compiled.pack(layout, frame, _ALIGNED)
    decode_runs_with(compiled)
