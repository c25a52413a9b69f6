"""The loss as a function of one flat parameter vector (see ``layout``), as the optimisers see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.problem import LossGradient, MultisliceBackend
from ptylive.engine.backend.repeated import Recorder
from ptylive.engine.plugins import at_work, is_own
from ptylive.engine.refine.parameters.constraint import Constraint
from ptylive.engine.refine.parameters.parameter_vector import BlockName, ParameterLayout, Physical
from ptylive.engine.refine.parameters.terms import Anchor, Term
from ptylive.engine.refine.solvers.loss_function import Evaluation
from ptylive.engine.refine.solvers.pairs import product
from ptylive.schema.model import IndexArray

MIXED_CURVATURE = 0.1
"""Share of the largest illumination in the object's curvature; it keeps steps bounded where there was little light."""

PORTION = 1 << 26
"""Pixels, including slices and modes, evaluated between two pauses: some tenths of a second on one core."""


def _no_pause() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Objective:
    """A backend's loss over a layout, with the curvatures by which steps are scaled.

    Near a fit the amplitude loss has curvature 2 in every far-field value, hence 2 sum_n |probe(r - r_n)|^2 in object
    pixel r and 2 N in every Fourier coefficient of the probe. For other data terms the curvature is this one times
    ``curvature_scale``.
    """

    backend: MultisliceBackend
    layout: ParameterLayout
    """Keep its arrays on the backend's device (``device.on_device``); otherwise every evaluation copies them there."""
    patterns: int
    move_object: bool = True
    move_probe: bool = True
    move_others: bool = True
    fixed: frozenset[BlockName] = frozenset()
    """Other quantities currently held fixed."""
    constraint: Constraint | None = None
    """Constraint currently in force, in addition to the fixed quantities."""
    chosen: IndexArray | None = None
    """The patterns that currently count (None: all)."""
    curvature_scale: float = 1.0
    terms: tuple[Term, ...] = ()
    pause: Callable[[], None] = _no_pause
    """Called between portions of a long evaluation; raise to abandon it."""

    @property
    def xp(self) -> Any:
        """Array module of the vectors."""
        return self.backend.xp

    @property
    def count(self) -> int:
        """Number of patterns that currently count."""
        return self.patterns if self.chosen is None else len(self.chosen)

    def moving(self, *, move_object: bool, move_others: bool) -> Objective:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.PatternLoss`."""
        return replace(self, move_object=move_object, move_others=move_others)

    def of_patterns(self, chosen: IndexArray) -> Objective:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.PatternLoss`."""
        return replace(self, chosen=chosen)

    def anchored(self, reference: Any, inverse_curvature: Any, share: float) -> Objective:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.LossFunction`."""
        return replace(self, terms=(*self.terms, Anchor(reference, inverse_curvature, share)))

    def dot(self, a: Any, b: Any) -> Any:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.LossFunction`."""
        return product(a, b, self.xp)

    def is_finite(self, vector: Any) -> bool:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.LossFunction`."""
        return bool(self.xp.isfinite(vector).all())

    def evaluate(self, vector: Any, indices: IndexArray | None = None) -> Evaluation:
        """Loss and gradient of the patterns ``indices`` (None: all that count); fixed parameters have gradient 0.

        Terms that do not depend on patterns are weighted by the share of the patterns that is evaluated.
        """
        indices = self.chosen if indices is None else indices
        physical = self.layout.physical(vector, self.xp)
        result = self._evaluate_in_portions(physical, indices)
        gradient = self.layout.chain(vector, physical, result, self.xp)
        loss = result.loss
        del result, physical  # as large as the vector: the memory is needed below
        share = 1.0 if indices is None else len(indices) / self.patterns
        if share == 1:
            loss = loss + sum(self._added(term, vector, gradient) for term in self.terms)
        elif self.terms:
            of_terms = self.xp.zeros_like(gradient)
            loss = loss + share * sum(self._added(term, vector, of_terms) for term in self.terms)
            of_terms *= of_terms.dtype.type(share)
            gradient += of_terms
        gradient = self._moving_gradient(gradient)
        if self.constraint is not None:
            self.constraint.project_gradient(self.layout, vector, gradient, self.xp)
        return Evaluation(loss, gradient)

    @property
    def has_pattern_losses(self) -> bool:
        """Whether the losses of single patterns are computed without gradients, so that many groups cost no more."""
        return hasattr(self.backend, "losses") and not self.terms

    def losses(self, vector: Any, groups: Sequence[IndexArray]) -> tuple[float, ...]:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.PatternLoss`."""
        of_each = getattr(self.backend, "losses", None)
        if of_each is None or not self.has_pattern_losses:
            return tuple(float(self.evaluate(vector, group).loss) for group in groups)
        chosen, size = np.concatenate([np.zeros(0, np.int64), *groups]), self._portion
        physical = self.layout.physical(vector, self.xp)
        parts = [np.zeros(0)]
        for start in range(0, len(chosen), size):
            if start:
                self.pause()
            part = chosen[start : start + size]
            parts.append(of_each(physical.object, physical.probe, part, corrections=physical.corrections))
        each, ends = np.concatenate(parts), np.cumsum([len(group) for group in groups])
        return tuple(float(each[end - len(group) : end].sum()) for group, end in zip(groups, ends, strict=True))

    def recorder(self, patterns: int) -> Recorder | None:
        """See :class:`~ptylive.engine.refine.solvers.loss_function.PatternLoss`."""
        plain = self.constraint is None and all(is_own(term) for term in self.terms)
        return getattr(self.backend, "record", None) if patterns <= self._portion and plain else None

    def _added(self, term: Term, vector: Any, gradient: Any) -> Any:
        """See :class:`Term`. RefinementError for whatever a plug-in's term raises."""
        with at_work(term):
            return term.add(self.layout, vector, gradient, self.xp)

    def _moving_gradient(self, gradient: Any) -> Any:
        layout = self.layout
        if not self.move_object:
            layout.object_block(gradient)[...] = 0
        if not self.move_probe:
            layout.probe_block(gradient)[...] = 0
        if not self.move_others:
            gradient[layout.object_size + layout.probe_size :] = 0
        for name in self.fixed:
            layout.other_blocks(gradient)[name][...] = 0
        return gradient

    @property
    def _portion(self) -> int:
        """Number of patterns that are evaluated without a pause."""
        layout = self.layout
        return max(1, PORTION // (layout.planes * layout.modes * layout.window**2))

    def _evaluate_in_portions(self, physical: Physical, indices: IndexArray | None) -> LossGradient:
        """The backend's loss and gradient, evaluated in portions with a pause after each."""
        layout = self.layout
        chosen = np.arange(self.patterns) if indices is None else indices
        size = self._portion
        to_probe = self.move_probe or layout.probe.phase_per_A is not None
        total: LossGradient | None = None
        for start in range(0, len(chosen), size):
            part = self.backend.loss_and_gradient(
                physical.object,
                physical.probe,
                chosen[start : start + size],
                probe_gradient=to_probe,
                corrections=physical.corrections,
            )
            if total is not None:
                self.pause()
                total += part
            else:
                total = part
        assert total is not None  # noqa: S101  (there is at least one pattern)
        return total

    def peak_curvature(self, vector: Any, indices: IndexArray) -> Any:
        """Largest curvature of the loss of the patterns ``indices`` along an object parameter, a scalar."""
        return self.peak_curvature_in(self.light(vector, indices).max())

    def peak_curvature_in(self, light: Any) -> Any:
        """Largest curvature along an object parameter where the largest illumination is ``light``, a scalar."""
        return 2 * self.curvature_scale * self.xp.maximum(light.astype(np.float64), 1e-30) / self.layout.object_modes

    def light(self, vector: Any, indices: IndexArray | None) -> Any:
        """Illumination (Y, X) by the patterns ``indices``; None: by all patterns."""
        return self.backend.illumination(self.layout.probe_planes(vector, self.xp), indices)

    def probe_curvature(self, patterns: int) -> Any:
        """Curvature of the loss of n patterns along the probe's parameters: a number or (modes, P, P)."""
        return np.float32(2 * self.curvature_scale * patterns) * self.layout.probe_curvature(self.xp)

    def object_curvature(self, vector: Any) -> Any:
        """Curvature of the loss along the object's parameters (object_size,), bounded away from 0."""
        light = self.light(vector, self.chosen)
        return self.object_curvature_in(light, light.max())

    def object_curvature_in(self, light: Any, largest: Any) -> Any:
        """Object curvature for the illumination ``light`` (Y, X); ``largest``: its maximum over the whole object."""
        layout = self.layout
        mixed = (1 - MIXED_CURVATURE) * light + MIXED_CURVATURE * largest
        curvature = 2 * self.curvature_scale / layout.object_modes * mixed
        return self.xp.tile(curvature.ravel(), layout.object_size // light.size)

    def inverse_curvature(self, vector: Any, probe_step: float) -> Any:
        """Diagonal scaling of L-BFGS (a vector): inverse of the known curvatures, for the probe times a step."""
        return self.inverse_of(self.object_curvature(vector), vector, probe_step)

    def inverse_of(self, object_curvature: Any, vector: Any, probe_step: float) -> Any:
        """Diagonal scaling of L-BFGS for a given curvature of the object (object_size,)."""
        xp, layout = self.xp, self.layout
        probe = xp.full(layout.probe_size, probe_step, np.float32).reshape(layout.probe_block(vector).shape)
        parts = [1 / object_curvature, (probe / self.probe_curvature(self.count)).ravel()]
        parts += [1 / xp.asarray(block.curvature).ravel() for block in layout.blocks]
        return xp.concatenate(parts).astype(np.float32)

    def project(self, vector: Any) -> Any:
        """Return the nearest allowed vector: lower bounds applied, fixed parts restored. Changes ``vector``."""
        for part, lowest in self.layout.lower_bounds():
            self.xp.maximum(vector[part], lowest, out=vector[part])
        if self.constraint is not None:
            self.constraint.restore_fixed(self.layout, vector, self.xp)
        return vector

    def at_bound(self, vector: Any, gradient: Any) -> Any:
        """Return a mask of the parameters at their bound that a step against the gradient would push through it."""
        mask = self.xp.zeros(vector.shape, bool)
        for part, lowest in self.layout.lower_bounds():
            mask[part] = (vector[part] <= lowest) & (gradient[part] > 0)
        return mask
