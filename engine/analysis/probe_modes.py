"""Composition of a probe: powers and sizes of its modes, and its coherence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import ComplexArray, DoubleArray


@dataclass(frozen=True)
class ProbeModes:
    """The modes of a probe made orthogonal, strongest first: their powers do not depend on how they were stored."""

    modes: ComplexArray
    """(modes, P, P) real space."""
    powers: DoubleArray
    """(modes,) shares of the total."""
    rms_radii_A: DoubleArray
    """(modes,) root of the mean squared distance from the mode's own centre."""
    purity: float
    """Sum of squared powers: 1 for a coherent probe, 1 / modes for a wholly incoherent one."""
    half_width_A: float
    """Diameter of the disc that holds half of all intensity."""
    counts: float
    """Sum of |probe|^2: mean counts of a pattern."""

    @classmethod
    def of(cls, probe: ComplexArray, pixel_A: float) -> ProbeModes:
        """Analyse a probe (modes, P, P) in real space."""
        flat = probe.reshape(len(probe), -1).astype(np.complex128)
        _, eigenvectors = np.linalg.eigh(flat @ flat.conj().T)  # ascending
        modes = (eigenvectors[:, ::-1].conj().T @ flat).reshape(probe.shape)
        intensity = np.abs(modes) ** 2
        powers = intensity.sum(axis=(1, 2))
        shares = powers / powers.sum()
        return cls(
            modes=modes.astype(np.complex64),
            powers=shares,
            rms_radii_A=np.array([_rms_radius(each) for each in intensity]) * pixel_A,
            purity=float((shares**2).sum()),
            half_width_A=_half_width(intensity.sum(axis=0)) * pixel_A,
            counts=float(powers.sum()),
        )


def _centre(intensity: DoubleArray) -> tuple[float, float]:
    rows, cols = np.indices(intensity.shape)
    total = max(float(intensity.sum()), 1e-300)
    return float((rows * intensity).sum() / total), float((cols * intensity).sum() / total)


def _rms_radius(intensity: DoubleArray) -> float:
    rows, cols = np.indices(intensity.shape)
    row, col = _centre(intensity)
    squared = ((rows - row) ** 2 + (cols - col) ** 2) * intensity
    return float(np.sqrt(squared.sum() / max(float(intensity.sum()), 1e-300)))


def _half_width(intensity: DoubleArray) -> float:
    """Return the diameter in pixels of the disc around the centre that holds half of the intensity."""
    rows, cols = np.indices(intensity.shape)
    row, col = _centre(intensity)
    radius = np.hypot(rows - row, cols - col).ravel()
    order = np.argsort(radius)
    inside = np.cumsum(intensity.ravel()[order])
    return float(2 * radius[order][np.searchsorted(inside, inside[-1] / 2)])
