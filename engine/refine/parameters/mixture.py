"""A probe that is blurred, as modes: each mode of the probe times each of some real factors in Fourier space.

Part of what the parameters stand for, as the band limit is: backends see a probe of more modes and nothing else, so
that the compiled and the fused kernel compute it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.schema.model import FloatArray


@dataclass(frozen=True)
class Mixture:
    """The factors (``data.blur_modes``)."""

    factors: FloatArray
    """(factors, P, P), their squares summing to 1 everywhere."""

    def mixed(self, planes: Any, xp: Any) -> Any:
        """Planes (2, modes, P, P) as (2, modes * factors, P, P), all factors of a mode together."""
        factors = xp.asarray(self.factors, dtype=planes.dtype)
        return (planes[:, :, None] * factors).reshape(2, -1, *planes.shape[2:])

    def gathered(self, gradient: Any, xp: Any) -> Any:
        """The gradient by the planes, from that by the mixed ones: the adjoint."""
        factors = xp.asarray(self.factors, dtype=gradient.dtype)
        return (gradient.reshape(2, -1, *factors.shape) * factors).sum(axis=2)
