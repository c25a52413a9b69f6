"""A probe that varies over the scan (orthogonal probe relaxation; Odstrcil et al., Opt. Express 24 (2016) 8360).

The first mode of the probe of pattern n is P + sum_j c_nj V_j with real coefficients c and components V, both of which
are refined. Components start along the changes that aberrations make to the probe, orthogonal to it and to each other,
and have its power, so that a coefficient is an amplitude relative to the probe; coefficients start at 0.

During refinement components may mix. A result has them orthogonal and sorted by their power in the patterns, with their
mean included in the probe: they are the singular vectors of the probes' deviations from their mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ptylive.engine.probe import ComplexPlane
from ptylive.schema.model import Array, DoubleArray
from ptylive.schema.optics import ABERRATION_NAMES

STARTS = ABERRATION_NAMES[:8]
"""Aberrations whose derivatives the components start with, in this order."""
EXPECTED = 0.3
"""Expected size of a coefficient, which scales the steps of components: larger than usual, so that steps are short."""


class VaryingProbe(NamedTuple):
    """Mean, components and coefficients of a varying probe."""

    mean: ComplexPlane
    """(P, P) first mode, averaged over the patterns."""
    components: ComplexPlane
    """(n, P, P), each with the power of the mean."""
    coefficients: DoubleArray
    """(N, n), with mean 0."""


def start_components(wave: ComplexPlane, chi_per_A: DoubleArray) -> ComplexPlane:
    """Components (n, P, P) for a first mode (P, P), in Fourier space: -i chi P, orthogonalised one after the other.

    chi_per_A: (n, P, P) phase of each aberration at 1 Å.
    """
    components = [_normalised(wave)]
    for chi in chi_per_A:
        direction = _normalised(-1j * chi * wave)
        for component in components:
            direction = np.asarray(direction - _projection(component, direction) * component)
        components.append(_normalised(direction))
    return np.asarray(np.asarray(components[1:]) * np.sqrt((np.abs(wave) ** 2).sum()))


def orthogonal(wave: ComplexPlane, components: ComplexPlane, coefficients: Array) -> VaryingProbe:
    """Express the same probes by orthogonal components, strongest first, with their mean in the first mode.

    ``wave`` (P, P), ``components`` (n, P, P), ``coefficients`` (patterns, n).
    """
    mean_coefficients = coefficients.mean(axis=0, dtype=np.float64)
    mean = wave + np.tensordot(mean_coefficients, components, 1)
    deviations = coefficients - mean_coefficients
    number = len(components)
    flat = components.reshape(number, -1)
    real = np.concatenate([flat.real, flat.imag], axis=1)  # coefficients are real
    coefficient_qr, component_qr = np.linalg.qr(deviations), np.linalg.qr(real.T)
    turned, sizes, directions = np.linalg.svd(coefficient_qr[1] @ component_qr[1].T)
    size = np.sqrt((np.abs(mean) ** 2).sum())
    rotated = (component_qr[0] @ directions[: len(sizes)].T).T.reshape(len(sizes), 2, -1)
    orthogonal_components = (rotated[:, 0] + 1j * rotated[:, 1]).reshape(-1, *wave.shape)
    return VaryingProbe(
        mean, orthogonal_components * size, (coefficient_qr[0] @ turned[:, : len(sizes)]) * (sizes / size)
    )


def _projection(unit: ComplexPlane, direction: ComplexPlane) -> float:
    return float(np.vdot(unit, direction).real)


def _normalised(plane: ComplexPlane) -> ComplexPlane:
    return np.asarray(plane / max(float(np.sqrt((np.abs(plane) ** 2).sum())), 1e-300))
