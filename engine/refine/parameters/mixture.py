"""A blurred probe as modes: each mode of the probe times each of several real factors in Fourier space.

Like the band limit, this is part of the mapping from parameters to the probe: backends see only a probe with more
modes, so that the compiled and the fused kernel can compute it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.schema.model import FloatArray


@dataclass(frozen=True)
class Mixture:
    """The factors (``data.blur_modes``)."""

    factors: FloatArray
    """(factors, P, P), with squares that sum to 1 everywhere."""

    def mixed(self, planes: Any, xp: Any) -> Any:
        """Turn planes (2, modes, P, P) into (2, modes * factors, P, P), with all factors of a mode together."""
        factors = xp.asarray(self.factors, dtype=planes.dtype)
        return (planes[:, :, None] * factors).reshape(2, -1, *planes.shape[2:])

    def gathered(self, gradient: Any, xp: Any) -> Any:
        """Gradient by the planes from that by the mixed planes: the adjoint of :meth:`mixed`."""
        factors = xp.asarray(self.factors, dtype=gradient.dtype)
        return (gradient.reshape(2, -1, *factors.shape) * factors).sum(axis=2)
