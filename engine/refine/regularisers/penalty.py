"""Penalties on object and probe as one term of the loss.

A penalty acts on complex arrays and returns its value R and its gradient dR/dRe + i dR/dIm (twice the Wirtinger
derivative dR/dx*). The layout knows the parameters (phase only, damped, complex; probe phase or amplitude), and its
chain rule converts the gradients to those of the vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ptylive.engine.backend.multislice.problem import Corrections, LossGradient
from ptylive.engine.plugins import at_work
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout


class Penalised(NamedTuple):
    """Value of a penalty and its gradient, in the shape of the penalised array."""

    value: Any
    """A scalar in double precision."""
    gradient: Any


class Penalty(Protocol):
    """A penalty on an object (modes, slices, Y, X) or a probe (modes, P, P), complex."""

    def of(self, wave: Any, xp: Any) -> Penalised:
        """Return value and gradient at ``wave``; the value is summed over the whole array."""


@dataclass(frozen=True)
class Penalties:
    """All penalties on object and probe, evaluated with one pass through the layout's chain rule."""

    of_object: tuple[Penalty, ...] = ()
    """On the transmission (object modes, slices, Y, X)."""
    of_probe: tuple[Penalty, ...] = ()
    """On the probe in Fourier space (modes, P, P), zero frequency at [0, 0]."""

    def add(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> Any:
        """See :class:`ptylive.engine.refine.parameters.terms.Term`."""
        layout = layout.sharp  # penalties apply to the sharp probe, not to the modes of its blur
        physical = layout.physical(vector, xp)
        shape = (layout.object_modes, *layout.object_shape)
        object_value, of_object = _sum(self.of_object, physical.object, shape, xp)
        probe_value, of_probe = _sum(self.of_probe, physical.probe, physical.probe.shape[1:], xp)
        no_corrections = Corrections(
            **{name: None if at is None else xp.zeros_like(at) for name, at in vars(physical.corrections).items()}
        )
        penalty = LossGradient(object_value + probe_value, of_object, of_probe, no_corrections)
        gradient += layout.chain(vector, physical, penalty, xp)
        return penalty.loss


def _sum(penalties: tuple[Penalty, ...], planes: Any, shape: tuple[int, ...], xp: Any) -> tuple[Any, Any]:
    """Value and gradient planes (2, …) of all penalties on one array given as planes (2, …)."""
    total, gradients = 0.0, xp.zeros_like(planes)
    if not penalties:
        return total, gradients
    wave = (planes[0] + 1j * planes[1]).reshape(shape)
    for penalty in penalties:
        with at_work(penalty):
            value, gradient = penalty.of(wave, xp)
            total = total + value
            gradients[0] += gradient.real.reshape(planes.shape[1:])
            gradients[1] += gradient.imag.reshape(planes.shape[1:])
    return total, gradients
