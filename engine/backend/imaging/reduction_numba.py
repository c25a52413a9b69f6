"""Frames to numbers in one pass while a frame is in the cache: pattern sum, moments, bins, regions. Releases the GIL.

Frames come as they lie in memory, or encoded, with the address of a C function that decodes one
(:class:`ptylive.schema.CodedFrames`): data not needed twice are never written out. Integers are summed as integers, so
that no order of frames or threads changes a result.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.engine.backend.imaging.addresses import call_decoder, copy_memory
from ptylive.engine.backend.imaging.filters_numba import FAST, INNER, NOGIL
from ptylive.schema.detector import MOST_COUNTS

REORDERED = {**NOGIL, "fastmath": {"reassoc", "contract", "nsz"}}
"""Options that allow sums in any order, but still recognise values that are not numbers."""
MOST_IN_SINGLE = np.float32(MOST_COUNTS)

PATTERN_BLOCK = 4096
"""Pixels of the running sum added up at a time: they stay in the nearest cache while frames pass by."""


@nb.jit(**INNER)
def add_patterns(frames, count, pattern):
    """Add the first ``count`` of frames (n, pixels) to a running sum (pixels,), a block of pixels at a time."""
    kind = pattern.dtype.type
    for start in range(0, pattern.size, PATTERN_BLOCK):
        stop = min(start + PATTERN_BLOCK, pattern.size)
        block = pattern[start:stop]
        n = 0
        while n + 4 <= count:  # four at a time: the sum is read and written once
            one, two = frames[n, start:stop], frames[n + 1, start:stop]
            three, four = frames[n + 2, start:stop], frames[n + 3, start:stop]
            for p in range(block.size):
                block[p] += (kind(one[p]) + kind(two[p])) + (kind(three[p]) + kind(four[p]))
            n += 4
        while n < count:
            one = frames[n, start:stop]
            for p in range(block.size):
                block[p] += kind(one[p])
            n += 1


@nb.jit(**INNER)
def _add_rows(frame, first, stop, row_at, total):
    """Add rows ``first`` to ``stop`` of a frame (pixels,) to ``total`` (cols,); return their sum, and the sum of each
    times its coordinate. Every pixel is read once.
    """
    kind = total.dtype.type
    cols = total.size
    counts = 0.0
    moment = 0.0
    r = first
    while r + 4 <= stop:
        # slices of known length vectorise, indices into the frame do not
        one, two = frame[r * cols : (r + 1) * cols], frame[(r + 1) * cols : (r + 2) * cols]
        three, four = frame[(r + 2) * cols : (r + 3) * cols], frame[(r + 3) * cols : (r + 4) * cols]
        a, b, c, d = kind(0), kind(0), kind(0), kind(0)
        for k in range(cols):
            in_one, in_two, in_three, in_four = kind(one[k]), kind(two[k]), kind(three[k]), kind(four[k])
            a = kind(a + in_one)
            b = kind(b + in_two)
            c = kind(c + in_three)
            d = kind(d + in_four)
            total[k] = kind(total[k] + kind(in_one + in_two) + kind(in_three + in_four))
        counts += a
        counts += b
        counts += c
        counts += d
        moment += a * row_at[r]
        moment += b * row_at[r + 1]
        moment += c * row_at[r + 2]
        moment += d * row_at[r + 3]
        r += 4
    while r < stop:
        one = frame[r * cols : (r + 1) * cols]
        a = kind(0)
        for k in range(cols):
            a = kind(a + kind(one[k]))
            total[k] += kind(one[k])
        counts += a
        moment += a * row_at[r]
        r += 1
    return counts, moment


@nb.jit(**INNER)
def _fill_boxes(line, width, out):
    """Fill bins (n,) float32 from n * width columns whose rows have been added up."""
    if width == 1:
        for j in range(out.size):
            out[j] = np.float32(line[j])
    elif width == 2:
        for j in range(out.size):
            out[j] = np.float32(line[2 * j] + line[2 * j + 1])
    elif width == 4:
        for j in range(out.size):
            out[j] = np.float32((line[4 * j] + line[4 * j + 1]) + (line[4 * j + 2] + line[4 * j + 3]))
    elif width == 8:
        for j in range(out.size):
            left = (line[8 * j] + line[8 * j + 1]) + (line[8 * j + 2] + line[8 * j + 3])
            out[j] = np.float32(left + (line[8 * j + 4] + line[8 * j + 5]) + (line[8 * j + 6] + line[8 * j + 7]))
    else:
        for j in range(out.size):
            inside = line[j * width]
            for i in range(1, width):
                inside += line[j * width + i]
            out[j] = np.float32(inside)


@nb.jit(**INNER)
def _fill_bins(frame, plan, band, column, bins):
    """Fill the bins (nb,) of a frame; ``column`` (cols,) becomes the sum of its rows, ``band`` is similar work space.
    Return its sum, and the sum of each row times its coordinate.
    """
    kind = band.dtype.type
    cols, width = plan.col_at.size, plan.width
    column[:] = kind(0)
    total = 0.0
    moment = 0.0
    for b in range(plan.band_at.size - 1):
        first, stop = plan.boxes_at[b], plan.boxes_at[b + 1]
        if first == stop:
            counts, row_moment = _add_rows(frame, plan.band_at[b], plan.band_at[b + 1], plan.row_at, column)
            total += counts
            moment += row_moment
            continue
        band[:] = kind(0)
        counts, row_moment = _add_rows(frame, plan.band_at[b], plan.band_at[b + 1], plan.row_at, band)
        total += counts
        moment += row_moment
        for k in range(first, stop):
            left, count, number = plan.boxes[k, 0], plan.boxes[k, 1], plan.boxes[k, 2]
            _fill_boxes(band[left : left + count * width], width, bins[number : number + count])
        for c in range(cols):
            column[c] += band[c]
    for g in range(plan.ragged_bin.size):
        inside = kind(0)
        for k in range(plan.ragged_at[g], plan.ragged_at[g + 1]):
            inside += kind(frame[np.uintp(plan.ragged[k])])
        bins[plan.ragged_bin[g]] = np.float32(inside)
    return total, moment


@nb.jit(**INNER)
def _fill_regions(frame, runs, total, column, regions):
    """Fill the region sums (nr,) of a frame whose sum is ``total``; the last one is what no run holds."""
    kind = column.dtype.type
    regions[:] = 0.0
    remaining = total
    for k in range(runs.shape[0]):
        piece = frame[runs[k, 0] : runs[k, 1]]
        inside = kind(0)
        for j in range(piece.size):
            inside = kind(inside + kind(piece[j]))
        regions[runs[k, 2]] += inside
        remaining -= inside
    regions[regions.size - 1] += remaining


@nb.jit(**INNER)
def _reduce_frame(frame, plan, band, column, bins, regions, moments):
    """Fill bins (nb,) float32, regions (nr,) and moments (3,) float64 of one frame (pixels,) without bad pixels.

    band, column: work space (cols,) in the type of sums.
    """
    total, row_moment = _fill_bins(frame, plan, band, column, bins)
    col_moment = 0.0
    for c in range(plan.col_at.size):
        col_moment += column[c] * plan.col_at[c]
    moments[0] = total
    moments[1] = row_moment
    moments[2] = col_moment
    _fill_regions(frame, plan.runs, total, column, regions)


@nb.jit(**INNER)
def _limit(frame, most, bad):
    """Clip pixels (pixels,) to the saturation value; return whether a good one was saturated."""
    peak = frame[0]
    for k in range(frame.size):  # vectorises; few frames need more
        peak = max(peak, frame[k])
    if peak < most:
        return np.int64(0)
    full = np.int64(0)
    for k in range(frame.size):
        if frame[k] >= most:
            full += 1
            frame[k] = most
    for k in range(bad.size):
        full -= np.int64(frame[bad[k]] >= most)
    return np.int64(full > 0)


@nb.jit(**INNER)
def _gather(frames, source, span, point, gathered_points, work):
    """Fill frames (group, pixels) from those of a batch's ``span`` that have a point.

    The points are written to ``gathered_points`` (group,). Returns how many were filled, the next frame, how many do
    not decode, and whether the next frame does not fit the type of ``frames``.
    """
    decode, data, ends, itemsize, told = source
    frame_bytes = frames.shape[1] * frames.itemsize
    base = nb.uintp(frames.ctypes.data)
    n, stop = span
    gathered, failed = 0, 0
    while n < stop and gathered < frames.shape[0]:
        if point[n] >= 0:
            target = nb.uintp(base + nb.uintp(gathered * frame_bytes))
            outcome = np.int64(0)
            if decode == 0:
                copy_memory(target, nb.uintp(nb.uintp(data) + nb.uintp(n * frame_bytes)), np.int64(frame_bytes))
            else:
                begin = ends[n - 1] if n > 0 else np.int64(0)
                coded = nb.uintp(nb.uintp(data) + nb.uintp(begin))
                outcome = call_decoder(
                    nb.uintp(decode),
                    coded,
                    np.int64(ends[n] - begin),
                    np.int64(itemsize),
                    target,
                    np.int64(frame_bytes),
                    nb.uintp(work.ctypes.data),
                    nb.uintp(told),
                )
            if outcome < 0:
                return gathered, n, failed, True
            if outcome == 0:
                gathered_points[gathered] = point[n]
                gathered += 1
            else:
                failed += 1
        n += 1
    return gathered, n, failed, False


@nb.jit(**INNER)
def _reduce_group(frames, gathered, gathered_points, plan, most, sums, space, adds):
    """Reduce the first ``gathered`` of frames (group, pixels); return in how many of them a good pixel saturated."""
    bins, regions, moments, pattern = sums
    band, column, one_bins, numbers = space
    full = np.int64(0)
    if most > 0:
        for g in range(gathered):
            full += _limit(frames[g], most, plan.bad)
    add_patterns(frames, gathered, pattern)
    for g in range(gathered):
        frame = frames[g]
        for k in range(plan.bad.size):
            frame[plan.bad[k]] = 0
        p = gathered_points[g]
        if adds:
            _reduce_frame(frame, plan, band, column, one_bins[0], numbers[0], numbers[1])
            for k in range(bins.shape[1]):
                bins[p, k] += one_bins[0, k]
            for k in range(regions.shape[1]):
                regions[p, k] += numbers[0, k]
            for k in range(moments.shape[1]):
                moments[p, k] += numbers[1, k]
        else:
            _reduce_frame(frame, plan, band, column, bins[p], regions[p], moments[p])
    return full


@nb.jit(**FAST)
def reduce_frames(source, start, stop, point, plan, most, sums, space, adds):
    """Reduce frames ``start`` to ``stop`` of a batch. Return how many do not decode (their numbers stay as they are),
    in how many a good pixel was saturated, and the first frame not reduced: ``stop``, or one that does not fit the type
    into which frames are decoded.

    source (decode, data, ends, itemsize, told): address of the decoder, 0 for plain frames; address of the first frame;
    ends (n,) in bytes of encoded frames; size in bytes of an encoded pixel; address of further data for the decoder.
    point (n,) where the numbers go, -1: nowhere. sums (bins (points, nb) float32, regions (points, nr), moments
    (points, 3), pattern (pixels,)); ``adds``: add to them, for repeated frames. most: saturation value, to which counts
    are clipped; 0 if unknown. space (frames (group, pixels) in the type into which they are decoded, band, column,
    bins (1, nb), numbers (2, 4), work bytes).
    """
    frames, band, column, one_bins, numbers, work = space
    lines = (band, column, one_bins, numbers)
    gathered_points = np.empty(len(frames), np.int64)
    failed = 0
    full = np.int64(0)
    too_wide = False
    n = start
    while n < stop and not too_wide:
        gathered, n, undecoded, too_wide = _gather(frames, source, (n, stop), point, gathered_points, work)
        full += _reduce_group(frames, gathered, gathered_points, plan, most, sums, lines, adds)
        failed += undecoded
    return failed, full, n


@nb.jit(**REORDERED)
def reduce_vectors(vectors, start, stop, point, weights, sums, adds):
    """Reduce vectors (n, N + M) float32 of coefficients and extras: regions and moments are linear in them.

    weights (nr + 3, N + M) float64; sums as above, pattern (N + M,) float64. Values that are not numbers, or that no
    detector counts (``MOST_COUNTS``), are set to zero. Returns the number of such values in all vectors.
    """
    bins, regions, moments, pattern = sums
    exact = np.empty(vectors.shape[1])
    masked = 0
    for n in range(start, stop):
        p = point[n]
        vector = vectors[n]
        usable = 0
        for k in range(exact.size):
            usable += abs(vector[k]) <= MOST_IN_SINGLE
        masked += exact.size - usable
        if p < 0:
            continue
        for k in range(exact.size):
            exact[k] = np.float64(vector[k]) if abs(vector[k]) <= MOST_IN_SINGLE else 0.0
            pattern[k] += exact[k]
        out = bins[p]
        if adds:
            for k in range(out.size):
                out[k] += np.float32(exact[k])
        else:
            for k in range(out.size):
                out[k] = np.float32(exact[k])
        for w in range(weights.shape[0]):
            line = weights[w]
            value = 0.0
            for k in range(exact.size):
                value += line[k] * exact[k]
            if w < regions.shape[1]:
                regions[p, w] = value + (regions[p, w] if adds else 0.0)
            else:
                moment = w - regions.shape[1]
                moments[p, moment] = value + (moments[p, moment] if adds else 0.0)
    return masked
