"""Principal components of waves: a few that represent many probes, slices or modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import ComplexArray, DoubleArray


@dataclass(frozen=True)
class PrincipalComponents:
    """Mean of waves, and the components by which they differ from it."""

    mean: ComplexArray
    """(Y, X) mean of all waves."""
    components: ComplexArray
    """(components, Y, X) orthonormal, sorted by explained variance, largest first."""
    scores: ComplexArray
    """(waves, components): a wave is the mean plus its scores times the components."""
    shares: DoubleArray
    """(components,) shares of the squared distance from the mean, summed over waves; 0 if all waves are equal."""


def principal_components(waves: ComplexArray, most: int | None = None) -> PrincipalComponents:
    """Return the components of complex pictures (waves, Y, X); ``most``: number kept, by default all that can exist.

    They are eigenvectors of the covariance of the mean-free waves (Jolliffe, Principal Component Analysis, 2002),
    computed by a singular value decomposition in double precision. Raises ValueError without waves.
    """
    if waves.ndim != 3 or not waves.size:
        raise ValueError(f"waves have the shape {waves.shape}: give (waves, rows, columns)")
    flat = waves.reshape(len(waves), -1).astype(np.complex128)
    mean = flat.mean(axis=0)
    left, values, right = np.linalg.svd(flat - mean, full_matrices=False)
    count = max(1, min(len(waves) - 1, most or len(waves)))
    total = float((values**2).sum())
    return PrincipalComponents(
        mean.reshape(waves.shape[1:]).astype(np.complex64),
        right[:count].reshape(-1, *waves.shape[1:]).astype(np.complex64),
        (left * values)[:, :count].astype(np.complex64),
        np.asarray(values[:count] ** 2 / total if total > 0 else np.zeros(count)),
    )
