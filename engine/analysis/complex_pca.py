"""Principal components of waves: few that stand for many probes, slices or modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import ComplexArray, DoubleArray


@dataclass(frozen=True)
class PrincipalComponents:
    """What waves have in common, and by what they differ."""

    mean: ComplexArray
    """(Y, X) of all waves."""
    components: ComplexArray
    """(components, Y, X) orthonormal, the one that explains most first."""
    scores: ComplexArray
    """(waves, components): a wave is the mean plus its scores times the components."""
    shares: DoubleArray
    """(components,) of the squared distance from the mean, all waves together; 0 where they are alike."""


def principal_components(waves: ComplexArray, most: int | None = None) -> PrincipalComponents:
    """Of complex pictures (waves, Y, X); ``most``: how many components are kept, none: as many as tell anything.

    The eigenvectors of the covariance of the waves with their mean taken off (Jolliffe, Principal Component Analysis,
    2002), by a singular value decomposition in double precision. Raises ValueError for no wave.
    """
    if waves.ndim != 3 or not waves.size:
        raise ValueError(f"waves have the shape {waves.shape}: give (waves, rows, columns)")
    flat = waves.reshape(len(waves), -1).astype(np.complex128)
    mean = flat.mean(axis=0)
    left, values, right = np.linalg.svd(flat - mean, full_matrices=False)
    kept = max(1, min(len(waves) - 1, most or len(waves)))
    total = float((values**2).sum())
    return PrincipalComponents(
        mean.reshape(waves.shape[1:]).astype(np.complex64),
        right[:kept].reshape(-1, *waves.shape[1:]).astype(np.complex64),
        (left * values)[:, :kept].astype(np.complex64),
        np.asarray(values[:kept] ** 2 / total if total > 0 else np.zeros(kept)),
    )
