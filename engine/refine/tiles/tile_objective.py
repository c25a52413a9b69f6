"""The loss of all patterns as one tile sees it: its own objective, combined with those of the other tiles.

A vector consists of the tile's rows of the object, the parameters common to all patterns, and those of its own patterns
(:mod:`ptylive.engine.refine.tiles.tile_vector`). Loss and gradient are those of the whole: rows at the seams include
the contributions of the neighbours' patterns, common parameters those of all patterns. A solver that gets this object
instead of :class:`~ptylive.engine.refine.solvers.objective.Objective` therefore takes, on every tile, the step that it
would take on one machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout
from ptylive.engine.refine.parameters.terms import Anchor, Pull, PullingTerm
from ptylive.engine.refine.solvers.loss_function import Evaluation
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.pairs import whole
from ptylive.engine.refine.tiles.cutting import Tile
from ptylive.engine.refine.tiles.exchange import Exchange, largest_of
from ptylive.engine.refine.tiles.tile_vector import parts_of
from ptylive.schema.model import Array, IndexArray


@dataclass
class _Peak:
    """Largest illumination of a batch, exchanged together with its loss to save a round of messages."""

    vector: Any = None
    indices: Any = None
    light: float = 0.0


@dataclass(frozen=True)
class TileObjective:
    """See :class:`~ptylive.engine.refine.solvers.loss_function.PatternLoss`; pattern numbers are among all patterns.

    Every method that is not a mere property must be called by all tiles at the same point.
    """

    own: Objective
    """Objective of the local patterns, by their local numbers; without terms."""
    tile: Tile
    exchange: Exchange
    patterns: int
    chosen: IndexArray | None = None
    terms: tuple[PullingTerm, ...] = ()
    """Terms for the rows held, and for the local patterns."""
    _peak: _Peak = field(default_factory=_Peak)

    @property
    def xp(self) -> Any:
        """Array module of the vectors."""
        return self.own.xp

    @property
    def layout(self) -> ParameterLayout:
        """Layout of the rows held."""
        return self.own.layout

    @property
    def count(self) -> int:
        """Number of patterns of all tiles that currently count."""
        return self.patterns if self.chosen is None else len(self.chosen)

    @property
    def move_object(self) -> bool:
        """Whether the object currently moves."""
        return self.own.move_object

    @property
    def move_probe(self) -> bool:
        """Whether the probe currently moves."""
        return self.own.move_probe

    @property
    def move_others(self) -> bool:
        """Whether other quantities currently move."""
        return self.own.move_others

    def moving(self, *, move_object: bool, move_others: bool) -> TileObjective:
        """Return the loss with the object and the other quantities fixed or free."""
        return replace(self, own=self.own.moving(move_object=move_object, move_others=move_others))

    def recorder(self, patterns: int) -> None:
        """None: tiles communicate within each evaluation."""

    def of_patterns(self, chosen: IndexArray) -> TileObjective:
        """Return the loss of some of the patterns."""
        return replace(self, chosen=chosen)

    def anchored(self, reference: Any, inverse_curvature: Any, share: float) -> TileObjective:
        """Return the loss with a pull of the object."""
        return replace(self, terms=(*self.terms, Anchor(reference, inverse_curvature, share)))

    def evaluate(self, vector: Any, indices: IndexArray | None = None) -> Evaluation:
        """Loss and gradient of the patterns ``indices`` (None: all that count), on whichever tile they are."""
        layout, of_batch = self.layout, indices is not None and self.move_object
        evaluated = self.chosen if indices is None else indices
        share = 1.0 if evaluated is None else len(evaluated) / self.patterns
        loss, gradient = self._local_loss(vector, evaluated)
        pulls = [term.pull(layout, vector, self.xp) for term in self.terms]
        loss += share * sum(0.5 * self._pull_dot(pull) for pull in pulls)
        planes = [gradient[: layout.object_size].reshape(-1, *self._plane)] if self.move_object else []
        light = self._local_light(vector, evaluated) if of_batch else None
        shared = self._shared_parts()
        own_shared = np.concatenate([gradient[part] for part in shared]) if shared else None
        combined = self.exchange.add_seams_and_total(planes, light, [loss], own_shared)
        offset = 0
        for part in shared:
            size = part.stop - part.start
            gradient[part] = combined.array[offset : offset + size]
            offset += size
        if of_batch:
            self._peak.vector, self._peak.indices, self._peak.light = vector, indices, float(combined.peaks[0])
        result = self.xp.asarray(gradient)
        for pull in pulls:
            if self.move_object if pull.part.start < layout.object_size else self.move_others:
                result[pull.part] += result.dtype.type(share) * pull.force
        return Evaluation(float(combined.sums[0]), result)

    def losses(self, vector: Any, groups: Sequence[IndexArray]) -> tuple[float, ...]:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.PatternLoss`."""
        if self.terms:
            return tuple(float(self.evaluate(vector, group).loss) for group in groups)
        local = [self.tile.numbers(group) for group in groups]
        here = [group for group in local if len(group)]
        own = iter(self.own.losses(vector, here) if here else ())
        sums = self.exchange.total([next(own) if len(group) else 0.0 for group in local]).sums
        return tuple(float(loss) for loss in sums)

    def dot(self, a: Any, b: Any) -> float:
        """Dot product over all parameters: each row on the tile where it counts, common ones on the first tile."""
        a, b = whole(a, self.xp), whole(b, self.xp)
        size, parts = self.layout.object_size, parts_of(self.layout)
        local_sum = self._row_dot(a[:size], b[:size])
        for part in (*((parts.probe, *parts.shared) if self.tile.number == 0 else ()), *parts.of_patterns):
            local_sum += float(self.xp.dot(a[part], b[part]))
        return float(self.exchange.total([local_sum]).sums[0])

    def is_finite(self, vector: Any) -> bool:
        """Whether every parameter of every tile is finite."""
        return not self.exchange.total([float(not self.own.is_finite(vector))]).sums.any()

    def peak_curvature(self, vector: Any, indices: IndexArray) -> Any:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.PatternLoss`."""
        peak = self._peak
        if peak.vector is not vector or peak.indices is not indices:
            return self.own.peak_curvature_in(self.xp.asarray(self._light(vector, indices)[1]))
        return self.own.peak_curvature_in(self.xp.asarray(peak.light))

    def probe_curvature(self, patterns: int) -> Any:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.PatternLoss`."""
        return self.own.probe_curvature(patterns)

    def inverse_curvature(self, vector: Any, probe_step: float) -> Any:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.LossFunction`."""
        light, largest = self._light(vector, self.chosen)
        curvature = self.own.object_curvature_in(self.xp.asarray(light), np.float32(largest))
        return replace(self.own, patterns=self.count).inverse_of(curvature, vector, probe_step)

    def project(self, vector: Any) -> Any:
        """Return the nearest allowed vector. Changes ``vector``."""
        return self.own.project(vector)

    def at_bound(self, vector: Any, gradient: Any) -> Any:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.LossFunction`."""
        return self.own.at_bound(vector, gradient)

    @property
    def _plane(self) -> tuple[int, int]:
        return self.layout.object_shape[1], self.layout.object_shape[2]

    def _local_indices(self, indices: IndexArray | None) -> IndexArray | None:
        return None if indices is None else self.tile.numbers(indices)

    def _local_loss(self, vector: Any, indices: IndexArray | None) -> tuple[float, Array]:
        """Loss and gradient of the local patterns."""
        local = self._local_indices(indices)
        if local is not None and not len(local):
            return 0.0, np.zeros(self.layout.size, vector.dtype)
        result = self.own.evaluate(vector, local)
        return float(result.loss), self.own.backend.to_numpy(result.gradient)

    def _local_light(self, vector: Any, indices: IndexArray | None) -> Array:
        """Illumination (1, rows, columns) by the local patterns."""
        local = self._local_indices(indices)
        if local is not None and not len(local):
            return np.zeros((1, *self._plane), np.float32)
        return np.asarray(self.own.backend.to_numpy(self.own.light(vector, local)), np.float32)[None]

    def _light(self, vector: Any, indices: IndexArray | None) -> tuple[Array, float]:
        """Illumination (rows, columns) by all patterns, and its maximum over the whole object."""
        light = self._local_light(vector, indices)
        self.exchange.add_seams([light])
        return light[0], float(self.exchange.total([], [largest_of(light, self.tile.local(self.tile.own))]).peaks[0])

    def _shared_parts(self) -> tuple[slice, ...]:
        """Parts of the vector whose gradients are summed over all tiles, if they move."""
        parts = parts_of(self.layout)
        return (*((parts.probe,) if self.move_probe else ()), *(parts.shared if self.move_others else ()))

    def _pull_dot(self, pull: Pull) -> float:
        """Sum of force times distance over the parameters that count on this tile."""
        of_rows = pull.part.start < self.layout.object_size
        return self._row_dot(pull.force, pull.away) if of_rows else float(self.xp.dot(pull.force, pull.away))

    def _row_dot(self, a: Any, b: Any) -> float:
        """Dot product over the rows that count on this tile; a, b: (n,) of whole planes."""
        counted = self.tile.local(self.tile.own)
        rows, columns = self._plane
        pairs = zip(a.reshape(-1, rows, columns), b.reshape(-1, rows, columns), strict=True)
        return sum(float(self.xp.dot(x[counted].ravel(), y[counted].ravel())) for x, y in pairs)
