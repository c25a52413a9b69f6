"""Frequencies of a map that no noise explains: aliases of stronger ones, and beams of a lattice.

A map finer than the scan shows each frequency of the scan at several places, of which one is the true place; the shifts
of the bright-field images suppress the others (docs/theory/live-maps.md). How far is measured on the map: most places
of a strong frequency hold nothing but its alias.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ptylive.schema.model import BoolArray, DoubleArray, FloatArray, IndexArray

Shares = Callable[[IndexArray], DoubleArray]
"""Frequencies (n, 2), multiples of the lowest ones -> (n,) signal-to-noise of the phase at each over the largest at
those equivalent to it, including those too fine for a map."""
OUTSTANDING = 20.0
"""Signal-to-noise of a frequency that noise alone has once in a thousand million frequencies."""
ALIASED = 0.3
"""Ratio to the signal-to-noise at an equivalent frequency below which a frequency may be the alias of that one."""
ALIKE = 0.8
"""Share of the largest signal-to-noise of a phase from which it may be at this place as well."""
WIDTH_OF_LINES = 5
"""Number of frequencies along each axis over which the window spreads one."""
MOST_UNEVEN = 100.0
"""An alias exceeds the median of the aliases of its frequency by less than this factor: by 3 to 28 in gold."""
SURPASSING = 10.0
"""Ratio of a beam to the usual alias of the strongest frequency, which is stronger than any the map does not show."""


def aliases(to_noise: FloatArray, finer: int, share_of_strongest: Shares | None = None) -> BoolArray:
    """Return which frequencies (Y, X) only repeat a stronger one, for a map ``finer`` times as fine as the scan.

    to_noise (Y, X): power over the mean power of noise. A frequency is an alias if an equivalent one is OUTSTANDING and
    1 / ALIASED times as strong, unless it exceeds the median of all that are equivalent by MOST_UNEVEN. Peaks that
    are the strongest of their equivalents are judged by ``share_of_strongest`` if given: an alias has less than ALIKE.
    """
    if finer == 1:
        return np.zeros(to_noise.shape, dtype=bool)
    rows, cols = (n // finer for n in to_noise.shape)
    equivalent = to_noise.reshape(finer, rows, finer, cols)
    strongest = equivalent.max(axis=(0, 2), keepdims=True)
    usual = np.median(equivalent, axis=(0, 2), keepdims=True)
    weaker = (equivalent < ALIASED * strongest) & (equivalent < MOST_UNEVEN * usual)
    alias = np.asarray(weaker & (strongest > OUTSTANDING)).reshape(to_noise.shape)
    if share_of_strongest is None:
        return alias
    first = np.asarray(equivalent == strongest).reshape(to_noise.shape)
    return _judged_by_images(alias, np.where(first, to_noise, 0.0), share_of_strongest)


def _judged_by_images(alias: BoolArray, strongest: FloatArray, share_of_strongest: Shares) -> BoolArray:
    """Return ``alias`` with peaks, and what the window makes of them, judged by the images of the detector pixels.

    strongest (Y, X): signal-to-noise of frequencies that are the strongest of their equivalents, 0 elsewhere.
    """
    is_peak = (strongest > OUTSTANDING) & (strongest == ndimage.maximum_filter(strongest, 3, mode="wrap"))
    places = np.argwhere(is_peak)
    places = places[np.argsort(-strongest[tuple(places.T)])]
    signed = np.where(places > np.array(strongest.shape) // 2, places - strongest.shape, places)
    is_alias = share_of_strongest(signed) < ALIKE
    around = []
    for chosen in (places[is_alias], places[~is_alias]):
        peaks = np.zeros_like(strongest)
        peaks[tuple(chosen.T)] = strongest[tuple(chosen.T)]
        around.append(ndimage.maximum_filter(peaks, WIDTH_OF_LINES, mode="wrap"))
    return np.asarray(alias | (around[0] > around[1]))


def beams(to_noise: FloatArray, alias: BoolArray, finer: int, ring: IndexArray, count: int) -> DoubleArray:
    """Return the number of beams of a half plane in each of ``count`` rings, with its neighbours' if it has any itself.

    to_noise, alias (Y, X): as for :func:`aliases`; ring (Y, X): number of each frequency's ring. A beam is no alias,
    the largest of its neighbours that are none, OUTSTANDING, and SURPASSING times the usual alias of the strongest
    frequency: those that are too fine for the map have aliases in it, too.
    """
    least = OUTSTANDING
    if finer > 1:
        rows, cols = (n // finer for n in to_noise.shape)
        least = max(least, SURPASSING * float(np.median(to_noise.reshape(finer, rows, finer, cols), axis=(0, 2)).max()))
    candidates = np.where(alias, 0.0, to_noise)
    found = ring[(candidates == ndimage.maximum_filter(candidates, 3, mode="wrap")) & (candidates > least)]
    each = np.bincount(found, minlength=count)[:count] / 2
    return np.where(each > 0, np.convolve(np.pad(each, 1), np.ones(3), "valid"), 0.0)
