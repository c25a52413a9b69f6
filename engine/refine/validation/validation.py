"""Validation without a ground truth: correlation of two halves of the data, and of shuffled data as the null case.

The scan is split like a chessboard, each half is refined alone from an empty object, and the two phases are compared
ring by ring in Fourier space. The null test does the same with the patterns shuffled over the positions: no object is
left, so any remaining agreement is produced by the method (mostly at harmonics of the scan) and proves nothing.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.pattern_view import shuffled
from ptylive.engine.refine.data.selection import selected
from ptylive.engine.refine.problem.prepare import Problem, prepare
from ptylive.engine.refine.results.ring_correlation import LEVELS, Validation, faded
from ptylive.engine.refine.tuning.held_out import TrialContext, swept_parameters
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import Array, BoolArray, DoubleArray
from ptylive.schema.preset import Preset

LEAST_PATTERNS = 64
"""Fewest patterns that can be halved: two refinements of 32 patterns each."""
HARMONIC_WIDTH = 1.0
"""Ring widths from a harmonic of the chessboard lattice within which rings are not trusted."""


def validate(dataset: Dataset, preset: Preset, context: TrialContext | None = None) -> Validation:
    """Halves and null test of a data set under a preset's sweeps; takes as long as three to four runs of the sweeps.

    Both start from an empty object, whatever map the run itself starts from: a common start would agree with itself.
    With several stages, the settings of the last are used.
    """
    preset = preset.final
    dataset, preset = selected(dataset, preset.patterns), preset.model_copy(update={"sequence": None})
    if len(dataset.patterns) < LEAST_PATTERNS:
        raise RefinementError(
            f"{len(dataset.patterns)} patterns are too few to compare halves",
            f"this needs {LEAST_PATTERNS}: leave out --checks",
        )
    trial_context = replace(context or TrialContext(), start=None)
    frequencies, halves, correlation = half_data_rings(dataset, preset, trial_context)
    order = np.random.default_rng(0).permutation(len(dataset.patterns))
    frames = dataset.masks is None  # coefficients are few, and may be copied
    mixed = shuffled(dataset.patterns, order).as_array() if frames else dataset.patterns[order]
    offsets = None if dataset.offsets_px is None else dataset.offsets_px[order]
    current = None if dataset.current is None else dataset.current[order]
    null_data = replace(dataset, patterns=mixed, offsets_px=offsets, current=current)
    _, null, _ = half_data_rings(null_data, preset.model_copy(update={"refine_drift": False}), trial_context)
    suspect = _near_harmonics(dataset, frequencies)
    return Validation(frequencies, halves, null, suspect, correlation, _first_falls(frequencies, halves, suspect))


def half_data_rings(dataset: Dataset, preset: Preset, context: TrialContext) -> tuple[DoubleArray, DoubleArray, float]:
    """Ring frequencies (1/Å), ring correlation of the two halves of the chessboard, and their plain correlation."""
    problem = prepare(dataset, preset, context.start)
    rows, columns = np.divmod(dataset.point, dataset.scan_shape[1])
    sweeps = max(1, problem.strategy.sweeps)
    pictures = []
    with closing(open_backend(context.backend, problem.multislice, context.threads)) as backend:
        for parity in (0, 1):
            context.pause()
            half = np.flatnonzero((rows + columns) % 2 == parity)
            vector = backend.to_numpy(swept_parameters(problem, backend, preset, half, sweeps))
            pictures.append(scanned_phase(problem, dataset, vector))
    return ring_correlation(pictures[0], pictures[1], problem.grid.pixel_A)


def ring_correlation(first: Array, second: Array, pixel_A: float) -> tuple[DoubleArray, DoubleArray, float]:
    """Correlation of two images (Y, X) in rings one frequency step wide, without ramps and with borders faded out.

    Returns the frequencies of the rings (1/Å), their correlations, and the plain correlation, 0 if an image is empty.
    """
    first, second = (faded(picture) for picture in (first, second))
    plain = float((first * second).sum() / np.sqrt(max((first**2).sum() * (second**2).sum(), 1e-30)))
    spectra = np.fft.fft2(first), np.fft.fft2(second)
    q = np.hypot(np.fft.fftfreq(first.shape[0], pixel_A)[:, None], np.fft.fftfreq(first.shape[1], pixel_A)[None, :])
    width = 1 / (min(first.shape) * pixel_A)
    ring = (q / width).astype(int)
    rings = int(0.5 / pixel_A / width)
    cross = np.bincount(ring.ravel(), (spectra[0] * spectra[1].conj()).real.ravel())[:rings]
    power = [np.bincount(ring.ravel(), (np.abs(spectrum) ** 2).ravel())[:rings] for spectrum in spectra]
    correlation = cross / np.sqrt(np.maximum(power[0] * power[1], 1e-30))
    return (np.arange(1, rings) + 0.5) * width, correlation[1:], plain


def scanned_phase(problem: Problem, dataset: Dataset, vector: Array) -> DoubleArray:
    """Phase (Y, X) of all slices together, rad, over the scanned area and resampled onto the axes of the scan."""
    from scipy.ndimage import map_coordinates

    transmission, _ = problem.layout.to_complex(vector)
    phase = np.angle(transmission.mean(axis=0)).sum(axis=0).astype(float)
    lattice = Lattice.of(dataset)
    pixel = problem.grid.pixel_A
    if lattice is None:
        low, high = problem.positions_A.min(axis=0), problem.positions_A.max(axis=0)
        first, axes, lengths = low, np.eye(2), high - low
    else:
        row, column = divmod(int(dataset.point[0]), dataset.scan_shape[1])
        first = dataset.positions_A[0] - row * lattice.slow - column * lattice.fast
        axes, lengths = lattice.axes, np.asarray(lattice.lengths_A)
    counts = np.maximum((lengths / pixel).astype(int), 8)
    y, x = np.meshgrid(np.arange(counts[0]) * pixel, np.arange(counts[1]) * pixel, indexing="ij")
    pixels = (np.stack([y, x], -1) @ axes.T + first - problem.grid.origin_A) / pixel
    return np.asarray(map_coordinates(phase, np.moveaxis(pixels, -1, 0), order=3, mode="nearest"))


def _near_harmonics(dataset: Dataset, frequencies_invA: DoubleArray) -> BoolArray:
    """Rings near a lattice point of the chessboard: orders (h, k) / 2 with h + k even, in cycles per step."""
    lattice = Lattice.of(dataset)
    suspect = np.zeros(len(frequencies_invA), dtype=bool)
    if lattice is None or len(frequencies_invA) < 2:
        return suspect
    width = HARMONIC_WIDTH * (frequencies_invA[1] - frequencies_invA[0])
    most = 2 * int(np.ceil(frequencies_invA[-1] * max(np.hypot(*lattice.slow), np.hypot(*lattice.fast)))) + 2
    h, k = np.meshgrid(np.arange(-most, most + 1), np.arange(-most, most + 1), indexing="ij")
    chosen = ((h + k) % 2 == 0) & ((h != 0) | (k != 0))
    orders = np.stack([h[chosen], k[chosen]], 1) / 2 * np.asarray(lattice.shape)
    harmonics = np.unique(np.hypot(*lattice.frequencies(orders).T))
    for harmonic in harmonics[harmonics < 2 * frequencies_invA[-1]]:
        suspect |= np.abs(frequencies_invA - harmonic) <= width
    return suspect


def _first_falls(
    frequencies_invA: DoubleArray, correlation: DoubleArray, suspect: BoolArray
) -> tuple[float | None, float | None]:
    periods: list[float | None] = []
    for level in LEVELS:
        below = np.flatnonzero((correlation < level) & ~suspect)
        periods.append(float(1 / frequencies_invA[below[0]]) if len(below) else None)
    return periods[0], periods[1]
