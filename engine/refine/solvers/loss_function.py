"""What the optimisers ask of a loss: its value and gradient at a vector, sums over vectors, bounds and curvatures.

Everything that a solver adds up over a vector it asks for here, so that a vector may lie in parts on several machines
(:mod:`ptylive.engine.refine.tiles`): every one of them then sees the same numbers and takes the same step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ptylive.engine.backend.repeated import Recorder
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout
from ptylive.schema.model import IndexArray


@dataclass(frozen=True)
class Evaluation:
    """Loss, summed over the patterns asked for, and its gradient (a vector)."""

    loss: Any
    """A float, or a 0-d array of a device, for whose value one would have to wait."""
    gradient: Any


class VectorLayout(Protocol):
    """Where things lie in a vector."""

    def object_block(self, vector: Any) -> Any:
        """A view of the object's parameters, flat."""
        ...

    def quantities(self) -> list[tuple[slice, bool]]:
        """Where every quantity lies, the object first, and whether it is complex."""
        ...

    def lower_bounds(self) -> list[tuple[slice, float]]:
        """Parts of the vector that are bounded below, with the bound."""
        ...


class LossFunction(Protocol):
    """A loss over one flat vector of real parameters: what L-BFGS asks for."""

    @property
    def xp(self) -> Any:
        """Array module of the vectors."""
        ...

    @property
    def layout(self) -> VectorLayout:
        """Of the vectors; where they lie in parts, of this part."""
        ...

    @property
    def count(self) -> int:
        """Patterns that count for now, by which a loss is divided when it is told."""
        ...

    def evaluate(self, vector: Any, indices: IndexArray | None = None) -> Evaluation:
        """Loss and gradient of the patterns ``indices`` (None: all that count)."""
        ...

    def dot(self, a: Any, b: Any) -> Any:
        """Sum of products over all parameters, each counted once, of vectors that may be packed (:mod:`.pairs`)."""
        ...

    def is_finite(self, vector: Any) -> bool:
        """Whether every parameter is a number."""
        ...

    def inverse_curvature(self, vector: Any, probe_step: float) -> Any:
        """Diagonal scaling of L-BFGS (a vector); that of the probe times ``probe_step``."""
        ...

    def project(self, vector: Any) -> Any:
        """The nearest allowed vector. Changes ``vector``."""
        ...

    def at_bound(self, vector: Any, gradient: Any) -> Any:
        """Parameters that rest on their bound and would be pushed through it by a step against the gradient."""
        ...

    def anchored(self, reference: Any, inverse_curvature: Any, share: float) -> LossFunction:
        """The same with a pull of the object towards ``reference`` (:class:`Anchor`). ValueError where it has none."""
        ...


class PatternLoss(LossFunction, Protocol):
    """A loss that is a sum over patterns: what sweeps over mini-batches ask for."""

    @property
    def layout(self) -> ParameterLayout:
        """Of the vectors; where they lie in parts, of this part."""
        ...

    @property
    def patterns(self) -> int:
        """All there are."""
        ...

    @property
    def chosen(self) -> IndexArray | None:
        """The patterns that count for now (None: all)."""
        ...

    @property
    def move_object(self) -> bool:
        """Whether the object moves for now."""
        ...

    @property
    def move_probe(self) -> bool:
        """Whether the probe does."""
        ...

    @property
    def move_others(self) -> bool:
        """Whether the other quantities do."""
        ...

    def moving(self, *, move_object: bool, move_others: bool) -> PatternLoss:
        """The same with object and other quantities fixed or free."""
        ...

    def of_patterns(self, chosen: IndexArray) -> PatternLoss:
        """The same of some patterns."""
        ...

    def recorder(self, patterns: int) -> Recorder | None:
        """What records steps of which each evaluates some patterns; None where none can be.

        Nor with terms of plug-ins or constraints, which may be theirs: such code may do something else each time.
        """
        ...

    def peak_curvature(self, vector: Any, indices: IndexArray) -> Any:
        """Largest curvature of the loss of the patterns ``indices`` along a parameter of the object, a scalar."""
        ...

    def probe_curvature(self, patterns: int) -> Any:
        """Curvature of the loss of n patterns along the parameters of the probe: a number or (modes, P, P)."""
        ...
