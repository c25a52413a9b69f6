"""Reduction of frames that arrived as events: same numbers as :mod:`.reduction_numba`, in time proportional to events.

Each event is looked up in the tables of its pixel. Integers are summed as integers, as in that module.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.engine.backend.imaging.filters_numba import FAST, INNER


@nb.jit(**FAST)
def reduce_events(source, span, point, tables, most, sums, space, adds):
    """Reduce frames ``span`` (start, stop) of a batch; return in how many of them a good pixel was saturated.

    source (ends (n,), pixels (events,), counts (events,)): see :class:`ptylive.schema.EventFrames`. point, most, sums,
    adds: as in :func:`.reduction_numba.reduce_frames`. tables (bin_of (pixels,), region_of (pixels,), row_at (rows,),
    col_at (cols,)): bin_of is -1 for pixels without a bin, region_of -1 for bad ones. space: bins (nb,) and regions
    (nr,) in the type of sums, zero before and after.
    """
    ends, pixels, counts = source
    bin_of, region_of, row_at, col_at = tables
    bins, regions, moments, pattern = sums
    in_bins, in_regions = space
    kind = in_bins.dtype.type
    cols = col_at.size
    full_frames = np.int64(0)
    for n in range(span[0], span[1]):
        p = point[n]
        if p < 0:
            continue
        total, row_moment, col_moment = kind(0), 0.0, 0.0
        full = False
        for e in range(ends[n - 1] if n > 0 else 0, ends[n]):
            pixel, count = np.int64(pixels[e]), counts[e]
            region = region_of[pixel]
            if most > 0 and count >= most:
                count = counts.dtype.type(most)
                full |= region >= 0
            pattern[pixel] += kind(count)
            if region < 0:
                continue
            in_regions[region] += kind(count)
            if bin_of[pixel] >= 0:
                in_bins[bin_of[pixel]] += kind(count)
            row = pixel // cols
            total += kind(count)
            row_moment += count * row_at[row]
            col_moment += count * col_at[pixel - row * cols]
        full_frames += np.int64(full)
        _put(in_bins, bins[p], adds)
        _put(in_regions, regions[p], adds)
        if not adds:
            moments[p, :] = 0.0
        moments[p, 0] += total
        moments[p, 1] += row_moment
        moments[p, 2] += col_moment
    return full_frames


@nb.jit(**INNER)
def _put(sums, out, adds):
    """Write the sums of one frame (n,) to ``out`` (n,), or add them; they are zero afterwards."""
    kind = out.dtype.type
    if adds:
        for k in range(out.size):
            out[k] += kind(sums[k])
            sums[k] = 0
    else:
        for k in range(out.size):
            out[k] = kind(sums[k])
            sums[k] = 0
