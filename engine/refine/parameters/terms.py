"""Terms of the loss that depend only on the parameters: quadratic priors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import BlockName, ParameterLayout
from ptylive.engine.refine.parameters.pieces import pieces
from ptylive.schema.model import FloatArray


class Term(Protocol):
    """A term of the loss."""

    def add(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> Any:
        """Return the term's value at ``vector``, a scalar in double precision, and add its gradient to ``gradient``."""


class Pull(NamedTuple):
    """A quadratic term, separate for each parameter; its value is half the sum of force times distance."""

    part: slice
    """Part of the vector that the term acts on."""
    force: Any
    """(n,) the term's gradient."""
    away: Any
    """(n,) distance of the parameters from the values to which they are pulled."""


class PullingTerm(Term, Protocol):
    """A term that is a pull, so that it can be evaluated for part of the object's rows, or for some patterns."""

    def pull(self, layout: ParameterLayout, vector: Any, xp: Any) -> Pull:
        """Return the pull at ``vector``."""
        ...


@dataclass(frozen=True)
class Anchor:
    """A quadratic pull of the object towards its start: curvature / 2 * sum (x - reference)^2 over the object's block.

    Weakly determined parameters stay, well-determined ones move. This keeps L-BFGS from fitting noise and errors of the
    model, which the early stop of the sweeps had kept out.
    """

    reference: Any
    """(object_size,)."""
    inverse_curvature: Any
    """(object_size,) inverse curvature of the loss."""
    share: float = 1.0
    """Curvature of the pull relative to that of the loss."""

    def add(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> Any:
        """See :class:`Term`. Evaluated in pieces: the object's block is the largest part of a run's memory."""
        block = layout.object_block(vector)
        return sum(_added(self._pull_on(block, piece), gradient, xp) for piece in pieces(layout.object_size, xp))

    def pull(self, layout: ParameterLayout, vector: Any, xp: Any) -> Pull:
        """See :class:`PullingTerm`."""
        del xp
        return self._pull_on(layout.object_block(vector), slice(0, layout.object_size))

    def _pull_on(self, block: Any, piece: slice) -> Pull:
        away = block[piece] - self.reference[piece]
        return Pull(piece, np.float32(self.share) / self.inverse_curvature[piece] * away, away)


@dataclass(frozen=True)
class Damping:
    """A pull of a weakly damped object's absorption towards 0: curvature / 2 * sum a^2."""

    curvature: FloatArray
    """(object modes * slices * Y * X,)."""

    def add(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> Any:
        """See :class:`Term`."""
        return _added(self.pull(layout, vector, xp), gradient, xp)

    def pull(self, layout: ParameterLayout, vector: Any, xp: Any) -> Pull:
        """See :class:`PullingTerm`."""
        absorption = layout.absorption_block(vector)
        part = slice(layout.object_size // 2, layout.object_size)
        return Pull(part, xp.asarray(self.curvature) * absorption, absorption)


def _added(pull: Pull, gradient: Any, xp: Any) -> Any:
    """Return the value of a pull and add its force to ``gradient``."""
    gradient[pull.part] += pull.force
    return 0.5 * (pull.force * pull.away).sum(dtype=np.float64)


@dataclass(frozen=True)
class PositionPrior:
    """A pull of the positions towards the nominal ones: curvature / 2 * sum |d|^2, d in object pixels."""

    nominal: FloatArray
    """(N, 2) shifts before refinement."""
    curvature: float

    def add(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> Any:
        """See :class:`Term`."""
        return _added(self.pull(layout, vector, xp), gradient, xp)

    def pull(self, layout: ParameterLayout, vector: Any, xp: Any) -> Pull:
        """See :class:`PullingTerm`."""
        names = [block.name for block in layout.blocks]
        part, _ = layout.quantities()[2 + names.index(BlockName.SHIFTS)]
        away = vector[part] - xp.asarray(self.nominal).ravel()
        return Pull(part, self.curvature * away, away)
