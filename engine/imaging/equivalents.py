"""Which of the frequencies that a scan cannot tell apart is the true one.

A scan shows a frequency Q of the specimen at every Q + G, where G is a multiple of its sampling frequency. The images
of the detector pixels tell these apart: they have the amplitudes and phases of the transfer at the true one. The
matched filter of the optimum bright field, sum_n B_n(Q)* c_n / sigma_n^2, has its largest signal-to-noise there (Cauchy
and Schwarz), for weak phases. The aligned bright field alone can be stronger elsewhere: near the resolution limit few
pixels contribute, and those of both sidebands may cancel at Q and add up at Q + G.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from ptylive.engine.imaging.bank import Spectra
from ptylive.engine.imaging.noise.rings import WEAKEST, power_of, window_of
from ptylive.schema.model import ComplexArray, DoubleArray, IndexArray
from ptylive.schema.scan import rotation_matrix

MOST = 200
"""Largest number of frequencies that are compared with their equivalents."""
MOST_TRANSFERS = 1 << 18
"""Largest number of frequencies whose transfer is computed: very long steps have thousands of equivalents each."""
AT_A_TIME = 4096
"""Number of frequencies whose transfer is in memory at a time."""
POINTS_AT_A_TIME = 1 << 22
"""Number of values of images of detector pixels that are in memory at a time."""


def share_of_strongest(spectra: Spectra, places: IndexArray) -> DoubleArray:
    """Return the signal-to-noise of the phase at each frequency over the largest at those equivalent to it, (n,).

    places (n, 2): frequencies as multiples of the lowest ones of the scan's field along rows and columns. All
    equivalents below the resolution limit are compared, those too fine for a map, too. 1 for frequencies above the
    limit, and for those beyond the first MOST, or fewer where that would be more than MOST_TRANSFERS equivalents.
    """
    size = np.array(spectra.visited.shape)
    lowest = 1 / (size * spectra.conditions.step_A)
    limit = spectra.conditions.limit_invA
    reach = [math.ceil(limit / sampling) + 1 for sampling in size * lowest]
    most = min(MOST, MOST_TRANSFERS // (4 * math.prod(reach)))
    if not most:
        return np.ones(len(places))
    classes, first, which = np.unique(places % size, axis=0, return_index=True, return_inverse=True)
    compared = np.argsort(first)[:most]
    rank = np.full(len(classes), most)
    rank[compared] = np.arange(len(compared))
    rank, base = rank[which.ravel()], classes[compared]

    away = np.stack(np.meshgrid(*(np.arange(-n, n) for n in reach), indexing="ij"), -1).reshape(-1, 2)
    equivalent = base[:, None] + away * size
    passed = np.hypot(*np.moveaxis(equivalent * lowest, -1, 0)) < limit
    strength = np.zeros(passed.shape)
    strength[passed] = _signal_to_noise(
        spectra, equivalent[passed] * lowest, _windowed(spectra, base), np.nonzero(passed)[0]
    )
    share = np.ones(len(places))
    has_images = (rank < most) & (np.hypot(*(places * lowest).T) < limit)
    row, col = (places[has_images] // size + reach).T
    share[has_images] = (
        strength[rank[has_images], row * 2 * reach[1] + col] / np.maximum(strength.max(axis=1), 1e-30)[rank[has_images]]
    )
    return share


def _windowed(spectra: Spectra, classes: IndexArray) -> ComplexArray:
    """Return the transform of every coefficient's image under a window at some frequencies of the scan, (n, N)."""
    (rows, cols), shape = spectra.conditions.padded, spectra.visited.shape
    window = window_of(shape)
    out = np.empty((len(classes), spectra.planes.shape[1]), dtype=np.complex64)
    at_a_time = max(1, POINTS_AT_A_TIME // (rows * cols))
    for first in range(0, out.shape[1], at_a_time):
        part = slice(first, first + at_a_time)
        planes = spectra.contraction.to_host(spectra.planes[:, part])
        half_planes = planes.reshape(cols // 2 + 1, rows, -1).transpose(2, 1, 0)
        images = fft.irfft2(half_planes, s=(rows, cols))[:, : shape[0], : shape[1]]
        level = (images * window).sum(axis=(1, 2), keepdims=True) / window.sum()
        out[:, part] = fft.fft2((images - level) * window)[:, classes[:, 0], classes[:, 1]].T
    return out


def _signal_to_noise(spectra: Spectra, q_scan: DoubleArray, images: ComplexArray, which: IndexArray) -> DoubleArray:
    """Return it, up to a factor, of the phase at frequencies (n, 2), 1/Å, if ``images`` (m, N) [which (n,)] show them.

    0 where hardly anything is transferred.
    """
    conditions = spectra.conditions
    per_noise = conditions.basis.per_noise(spectra.mean)
    q = q_scan @ rotation_matrix(conditions.rotation_deg).T
    power, information = np.zeros(len(q)), np.zeros(len(q))
    for first in range(0, len(q), AT_A_TIME):
        part = slice(first, first + AT_A_TIME)
        transfer = conditions.transfer(q[part])
        matched = per_noise(transfer).conj()
        power[part] = power_of(np.einsum("nq,qn->q", matched, images[which[part]]))
        information[part] = (matched * transfer).real.sum(axis=0)
    used = information > WEAKEST * information.max(initial=0.0)
    return np.where(used, power / np.where(used, information, 1.0), 0.0)
