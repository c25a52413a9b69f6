"""Blur of the illumination as probe modes: by a source of finite width, or a beam that moves during an exposure.

An incoherently blurred probe has the density matrix P(k) P(k')* w(k - k'), with w the transform of the blur. Blurs
here are even, so w is real, and w(k - k') = sum_j f_j(k) f_j(k') with real functions f_j: the modes of the blurred
probe are f_j(k) P(k), for any P. They are exact for the refined probe, and linear in it.

The blur is integrated on Gauss-Hermite and Gauss-Legendre nodes, whose phases give w by cosines and sines. The leading
eigenvectors over the aperture are kept; f is scaled to sum_j f_j(k)^2 = 1, so that no electron is lost.
"""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray, FloatArray

NEGLECTED = 5e-3
"""Share of the light in the modes that are left out."""
MOST_MODES = 32
"""Largest number of modes of a blur: time and memory of a run grow with it."""
SOURCE_NODES = 7
"""Nodes along each axis: they integrate polynomials of up to the 13th order."""
LOOKED_PIXELS = 4096
"""Number of aperture pixels used for the eigenvectors."""


def blur_modes(
    k_row: DoubleArray, k_col: DoubleArray, power: DoubleArray, source_A: float, path_A: DoubleArray
) -> FloatArray:
    """Factors f (modes, P, P) on the probe in Fourier space, brightest first.

    k_row, k_col: (P, P) frequencies, 1/Å; power: (P, P) of the probe there; source_A: standard deviation of a Gaussian;
    path_A: (2,) path of the beam at uniform speed, its middle on the nominal position. Raises MetadataError if more
    than ``MOST_MODES`` are needed.
    """
    nodes, weights = _nodes(source_A, path_A, float(np.hypot(k_row, k_col)[power > 0].max(initial=0.0)))
    bright = np.flatnonzero(power > 0)
    sampled = bright[:: max(1, len(bright) // LOOKED_PIXELS)]
    amplitude = np.sqrt(power.ravel()[sampled] / power.ravel()[sampled].sum())
    waves = _waves(nodes, weights, k_row.ravel()[sampled], k_col.ravel()[sampled]) * amplitude
    shares, vectors = np.linalg.eigh(waves @ waves.T)
    shares, vectors = shares[::-1], vectors[:, ::-1]
    count = int(np.searchsorted(np.cumsum(shares), (1 - NEGLECTED) * shares.sum())) + 1
    if count > MOST_MODES:
        raise MetadataError(
            f"the blur of source_blur_A and fly_scan_share needs {count} modes for each of the probe's",
            f"at most {MOST_MODES} are modelled: lower them, or bin the scan less",
        )
    factors = np.empty((count, *k_row.shape))
    for row in range(len(k_row)):  # row by row: waves of all pixels are much larger than the result
        factors[:, row] = vectors[:, :count].T @ _waves(nodes, weights, k_row[row], k_col[row])
    return np.asarray(factors / np.sqrt((factors**2).sum(axis=0)), dtype=np.float32)


def fast_step_A(dataset: Dataset, setting: str) -> DoubleArray:
    """(2,) vector from one scan point to the next along the fast axis, detector frame.

    Raises MetadataError, which names the ``setting``, if the points form no rows.
    """
    row, column = np.divmod(dataset.point, dataset.scan_shape[1])
    counted = (row, column) if np.ptp(row) else (column,)  # a single row has no slow axis
    scan = np.zeros(len(row), dtype=int) if dataset.scan_of is None else dataset.scan_of
    starts = np.unique(scan)[:, None] == scan  # every scan begins where it likes
    design = np.column_stack([*starts.astype(float), *counted])
    solution, _, rank, _ = np.linalg.lstsq(design, dataset.positions_A, rcond=None)
    distances = np.hypot(*(design @ solution - dataset.positions_A).T)
    step = np.asarray(solution[-1])
    if rank < design.shape[1] or not np.median(distances) < 0.5 * math.hypot(*step):
        raise MetadataError(f"{setting} needs a scan in rows", "leave it out: these points have no fast axis")
    return step


def _nodes(source_A: float, path_A: DoubleArray, k_most: float) -> tuple[DoubleArray, DoubleArray]:
    """Positions (n, 2) of the beam, symmetric about 0, and their weights (n,)."""
    length = float(np.hypot(*path_A))
    cycles = 2 * k_most * length  # of the fastest beat along the path
    line, line_weights = np.polynomial.legendre.leggauss(5 + math.ceil(2 * min(cycles, 1e3)) if length else 1)
    node, weight = np.polynomial.hermite_e.hermegauss(SOURCE_NODES if source_A else 1)
    y, x, t = (axis.ravel() for axis in np.meshgrid(node, node, line, indexing="ij"))
    shares = weight[:, None, None] * weight[None, :, None] * line_weights
    places = source_A * np.stack([y, x], axis=1) + 0.5 * t[:, None] * path_A
    return places, shares.ravel() / shares.sum()


def _waves(nodes: DoubleArray, weights: DoubleArray, k_row: DoubleArray, k_col: DoubleArray) -> DoubleArray:
    """(2 n, pixels): cosines and sines whose products sum to w(k - k')."""
    phase = 2 * np.pi * (nodes[:, :1] * k_row + nodes[:, 1:] * k_col)
    root = np.sqrt(weights)[:, None]
    return np.concatenate([root * np.cos(phase), root * np.sin(phase)])
