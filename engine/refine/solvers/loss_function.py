"""What the optimisers need from a loss: its value and gradient at a vector, sums over vectors, bounds and curvatures.

Solvers take every sum over a vector from this interface, so that the vector may be distributed over several machines
(:mod:`ptylive.engine.refine.tiles`): all of them then get the same numbers and take the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ptylive.engine.backend.repeated import Recorder
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout
from ptylive.schema.model import IndexArray


@dataclass(frozen=True)
class Evaluation:
    """Loss, summed over the requested patterns, and its gradient (a vector)."""

    loss: Any
    """A float, or a 0-d array on a device, whose value is not available until the device has finished."""
    gradient: Any


class VectorLayout(Protocol):
    """Where the quantities are stored in a parameter vector."""

    def object_block(self, vector: Any) -> Any:
        """A view of the object's parameters, flat."""
        ...

    def quantities(self) -> list[tuple[slice, bool]]:
        """The slice of every quantity, the object first, and whether the quantity is complex."""
        ...

    def lower_bounds(self) -> list[tuple[slice, float]]:
        """Parts of the vector that are bounded below, with the bound."""
        ...


class LossFunction(Protocol):
    """A loss over one flat vector of real parameters, as L-BFGS uses it."""

    @property
    def xp(self) -> Any:
        """Array module of the vectors."""
        ...

    @property
    def layout(self) -> VectorLayout:
        """Layout of the vectors; where they are distributed, layout of this part."""
        ...

    @property
    def count(self) -> int:
        """Number of patterns that currently count; a loss is divided by it when it is reported."""
        ...

    def evaluate(self, vector: Any, indices: IndexArray | None = None) -> Evaluation:
        """Return loss and gradient of the patterns numbered ``indices`` (n,); None: all that count."""
        ...

    def dot(self, a: Any, b: Any) -> Any:
        """Return the dot product of two vectors, which may be packed (:mod:`.pairs`); every parameter counts once."""
        ...

    def is_finite(self, vector: Any) -> bool:
        """Whether every parameter is finite."""
        ...

    def inverse_curvature(self, vector: Any, probe_step: float) -> Any:
        """Return the diagonal scaling of L-BFGS (a vector); the probe's part is multiplied by ``probe_step``."""
        ...

    def project(self, vector: Any) -> Any:
        """Return the nearest allowed vector. Changes ``vector``."""
        ...

    def at_bound(self, vector: Any, gradient: Any) -> Any:
        """Return a mask of the parameters at their bound that a step against the gradient would push through it."""
        ...

    def anchored(self, reference: Any, inverse_curvature: Any, share: float) -> LossFunction:
        """Return this loss with a pull of the object towards ``reference`` (:class:`Anchor`).

        Raises ValueError if the loss does not support an anchor.
        """
        ...


class PatternLoss(LossFunction, Protocol):
    """A loss that is a sum over patterns, as sweeps over mini-batches use it."""

    @property
    def layout(self) -> ParameterLayout:
        """Layout of the vectors; where they are distributed, layout of this part."""
        ...

    @property
    def patterns(self) -> int:
        """Total number of patterns."""
        ...

    @property
    def chosen(self) -> IndexArray | None:
        """Numbers (n,) of the patterns that currently count (None: all)."""
        ...

    @property
    def move_object(self) -> bool:
        """Whether the object currently moves."""
        ...

    @property
    def move_probe(self) -> bool:
        """Whether the probe currently moves."""
        ...

    @property
    def move_others(self) -> bool:
        """Whether the other quantities currently move."""
        ...

    def moving(self, *, move_object: bool, move_others: bool) -> PatternLoss:
        """Return this loss with the object and the other quantities fixed or free."""
        ...

    def of_patterns(self, chosen: IndexArray) -> PatternLoss:
        """Return the loss of the patterns numbered ``chosen`` (n,)."""
        ...

    def losses(self, vector: Any, groups: Sequence[IndexArray]) -> tuple[float, ...]:
        """Return the loss of each of these groups (n,) of patterns, as :meth:`evaluate` does, but no gradient.

        One pass over all of them, without gradients, takes a third to a half of the time where a backend offers it.
        """
        ...

    def recorder(self, patterns: int) -> Recorder | None:
        """Return an object that records steps of ``patterns`` patterns each; None if steps cannot be recorded.

        None also where there are terms or constraints that may belong to plug-ins: their code may act differently at
        every call.
        """
        ...

    def peak_curvature(self, vector: Any, indices: IndexArray) -> Any:
        """Largest curvature of the loss of the patterns ``indices`` (n,) along an object parameter, a scalar."""
        ...

    def probe_curvature(self, patterns: int) -> Any:
        """Curvature of the loss of n patterns along the probe's parameters: a number or (modes, P, P)."""
        ...
