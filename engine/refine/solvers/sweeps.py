"""Mini-batch sweeps: the fast start. Every batch takes a Newton-like step scaled by the known curvature.

    object -= beta / (2 max_r sum_batch |probe(r - r_n)|^2) dL/dobject      probe -= beta_p / (2 |batch|) dL/dprobe

Other quantities follow from the second sweep of the object on, each scaled by its own curvature.

Steps of several slices are shortened where they would overshoot (``steepness``). A sweep is undone and the steps are
halved if it ends above the best start or end so far, if its mean is worse than that of the sweep before, or if a loss
is not finite. This applies to the first sweep, too.
The solver is a pure function from state to state, so stopping, saving and going back need no special treatment.
Batches are drawn at random, with equal shares of the scan. Patterns are sorted by the rows of the object that they
light; with n batches in a sweep, every n consecutive patterns go to n different batches. Each batch thus covers the
whole scan, and if the scan is cut by rows into tiles, every tile has its part of each batch, whatever the cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from ptylive.engine.backend.repeated import Repeated
from ptylive.engine.refine.solvers.loss_function import PatternLoss
from ptylive.engine.refine.solvers.steepness import steepness
from ptylive.schema.model import IndexArray

MEAN_RISE, END_RISE = 1e-3, 5e-3
"""A sweep's loss is summed while the parameters move, and the loss at its end is that of some patterns only: rises by
no more than these shares do not count as divergence."""
MOST_HALVINGS = 6
"""Number of times that steps are halved because the loss rose; after that the sweeps end."""
STEEPEST = 2.5
"""Largest eigenvalue of steps times second derivatives of one batch: errors along it grow above 2, but the next batches
contain other patterns and reverse them."""
MEASURED_SWEEPS = 3
"""Sweeps in which the steepness is measured: later ones change the object little."""
JUDGED_SHARE, LEAST_JUDGED, MOST_JUDGED = 1 / 32, 32, 256
"""Number of patterns on which the end of a sweep is compared with its start: a share, and its limits."""
FULL_SWEEPS, LATER_STEPS = 8, 0.6
"""Sweeps at full steps; in every further sweep the steps shrink by this factor: little is left to find then, and full
steps would fit noise."""
LEAST_SWEEPS, MOST_SWEEPS = 8, 16
"""Fewest and most sweeps if their end is decided by held-out patterns."""
FLAT = 5e-4
"""Relative fall of the held-out loss in a sweep below which further sweeps fit noise."""
HELD_OUT_SHARE = 0.05
"""Share of the patterns that decides it."""


@lru_cache(maxsize=2)
def _order(seed: int, sweep: int, halvings: int, count: int, stripe: int) -> IndexArray:
    """A permutation of ``count`` patterns, every ``stripe`` consecutive ones among themselves; read-only.

    Cached: for a large scan the permutation takes as long as a batch does.
    """
    random, order = np.random.default_rng([seed, sweep, halvings]), np.arange(count)
    striped = count - count % stripe
    order[:striped] = random.permuted(order[:striped].reshape(-1, stripe), axis=1).ravel()
    order[striped:] = random.permutation(order[striped:])
    order.flags.writeable = False
    return order


@dataclass(frozen=True)
class SweepState:
    """The state between two batches."""

    vector: Any
    sweep: int = 0
    """Sweeps finished."""
    batch: int = 0
    """Batches done in the current sweep."""
    running_loss: Any = 0.0
    """Sum over the batches done; may be on a device."""
    start: Any = None
    """Parameters at the start of the current sweep (None: ``vector``)."""
    halvings: int = 0
    losses: tuple[float, ...] = ()
    """Mean loss per pattern of each finished sweep."""
    held_losses: tuple[float, ...] = ()
    """Loss per held-out pattern after each finished sweep, if patterns are held out."""
    lowest: float | None = None
    """Loss of the patterns used for judging, at the best start or end of a sweep so far."""
    steepness: float = 0.0
    """Largest steepness measured so far, for unshortened steps."""
    memory: Any = None
    """(k, n) state that a named engine keeps between batches (:mod:`ptylive.engine.refine.engines`); None otherwise."""
    steps: int = 0
    """Total number of batches that a named engine has done."""
    striped: bool = False
    """Whether the sweep draws batches with equal shares of the scan. False in a state saved by an earlier version,
    whose batches may also have been smaller."""


@dataclass(frozen=True)
class Sweeps:
    """The solver; it holds settings only."""

    objective: PatternLoss
    sweeps: int
    probe_sweeps: int
    """Number of first sweeps that move only the probe."""
    batch_size: int
    """Number of patterns in a batch."""
    object_step: float
    """Step of the object and of all but the probe, as a share of the Newton step; ``probe_step`` likewise."""
    probe_step: float
    seed: int
    """Seed of the order in which patterns are drawn."""
    patterns: IndexArray | None = None
    """The patterns swept over (None: all); the others are left out to judge the result."""
    held_out: IndexArray | None = None
    """Patterns whose loss ends the sweeps once it falls by less than ``FLAT`` in a sweep, after ``LEAST_SWEEPS``."""
    full_sweeps: int = FULL_SWEEPS
    """Number of sweeps at full steps."""
    rows: IndexArray | None = None
    """(N,) first row of each pattern's window; None: patterns are in the order of their numbers."""

    @property
    def swept(self) -> IndexArray | None:
        """The patterns of a sweep: those that currently count, without the held-out ones (None: all)."""
        if self.patterns is None or self.objective.chosen is None:
            return self.objective.chosen if self.patterns is None else self.patterns
        common = np.intersect1d(self.patterns, self.objective.chosen)
        return common if len(common) else self.objective.chosen

    @property
    def count(self) -> int:
        """Number of patterns in a sweep."""
        swept = self.swept
        return self.objective.patterns if swept is None else len(swept)

    @property
    def batches(self) -> int:
        """Number of batches in a sweep."""
        return math.ceil(self.count / self.batch_size)

    def init(self, vector: Any) -> SweepState:
        """The state before the first batch."""
        return SweepState(vector, striped=True)

    def finished(self, state: SweepState) -> bool:
        """Whether all sweeps are done, or halving the steps has not helped."""
        return state.sweep >= self.sweeps or state.halvings > MOST_HALVINGS or self._flat(state)

    def _flat(self, state: SweepState) -> bool:
        """Whether the held-out loss has almost stopped falling; waiting for its minimum would take too long."""
        if self.held_out is None or state.batch > 0 or state.sweep < LEAST_SWEEPS:
            return False
        earlier, latest = state.held_losses[-2:]
        return earlier - latest < FLAT * abs(latest)

    def step(self, state: SweepState) -> SweepState:
        """Process one batch."""
        state = self._with_stripes(state)
        if state.batch == 0:
            state = self._prepared(state)
        start = state.vector if state.batch == 0 else state.start
        indices, objective, factor = self._batch(state), self._moving(state.sweep), self._factor(state)
        key = (objective.move_object, objective.move_others, factor, len(indices))
        vector, loss = self._repeated(key, partial(self._stepped, objective, factor), state.vector, indices)
        if isinstance(loss, float) and not math.isfinite(loss):
            return self._restarted(state, start)  # on a device this would wait for the batch: checked at the end
        state = replace(
            state, vector=vector, start=start, batch=state.batch + 1, running_loss=state.running_loss + loss
        )
        return state if state.batch < self.batches else self._end_sweep(state)

    @cached_property
    def _repeated(self) -> Repeated:
        return Repeated(self.objective.recorder(self.batch_size))

    def _stepped(self, objective: PatternLoss, factor: float, vector: Any, indices: IndexArray) -> tuple[Any, Any]:
        """Return the vector after the step of a batch, and the batch's loss before the step."""
        result = objective.evaluate(vector, indices)
        if isinstance(result.loss, float) and not math.isfinite(result.loss):
            return vector, result.loss
        step = self._scaled(objective, vector, indices, factor, result.gradient)
        return objective.project(vector - step), result.loss

    @staticmethod
    def _with_stripes(state: SweepState) -> SweepState:
        """Restart a sweep whose batches an earlier version drew: no pattern may occur twice in one sweep."""
        if state.striped:
            return state
        vector = state.start if state.batch else state.vector
        return replace(state, vector=vector, start=None, batch=0, running_loss=0.0, striped=True)

    def _moving(self, sweep: int) -> PatternLoss:
        """The objective of a sweep, with the parameters fixed that do not move yet."""
        return self.objective.moving(
            move_object=self.objective.move_object and sweep >= self.probe_sweeps,
            move_others=sweep > self.probe_sweeps,  # only once there is an object to compare with
        )

    def _prepared(self, state: SweepState) -> SweepState:
        """Prepare a sweep's first batch: the reference loss, and the measured steepness of its steps."""
        if state.lowest is None:
            state = replace(state, lowest=self._judged(state.vector))
        multislice = self.objective.layout.object_shape[0] > 1
        if multislice and state.halvings == 0 and state.sweep < self.probe_sweeps + MEASURED_SWEEPS:
            indices, objective = self._batch(state), self._moving(state.sweep)
            scaled = partial(self._scaled, objective, state.vector, indices, 1.0)
            measured = steepness(objective, state.vector, indices, scaled)
            state = replace(state, steepness=max(state.steepness, measured))
        return state

    def _judged(self, vector: Any) -> float:
        """Loss of a few patterns, the same ones in every sweep."""
        judged_count = max(LEAST_JUDGED, min(MOST_JUDGED, int(JUDGED_SHARE * self.count)))
        order = np.random.default_rng(self.seed).permutation(self.count)[:judged_count]
        swept = self.swept
        (loss,) = self.objective.losses(vector, [np.sort(order if swept is None else swept[order])])
        return loss

    def _batch(self, state: SweepState) -> IndexArray:
        """Patterns of the next batch: the order within a sweep depends only on seed, sweep and halvings."""
        order = _order(self.seed, state.sweep, state.halvings, self.count, self.batches)[state.batch :: self.batches]
        return order if self._by_row is None else self._by_row[order]

    @cached_property
    def _by_row(self) -> IndexArray | None:
        """The patterns of a sweep sorted by the rows of their windows, then by number (None: all, in their order)."""
        swept = self.swept
        if self.rows is None:
            return swept
        order = np.argsort(self.rows if swept is None else self.rows[swept], kind="stable")
        return order if swept is None else swept[order]

    def _factor(self, state: SweepState) -> float:
        """Factor applied to the configured steps."""
        factor = 0.5**state.halvings * LATER_STEPS ** max(0, state.sweep + 1 - self.full_sweeps)
        return factor * min(1.0, STEEPEST / max(state.steepness, STEEPEST))

    def _scaled(self, objective: PatternLoss, vector: Any, indices: IndexArray, factor: float, gradient: Any) -> Any:
        """Turn a gradient of the patterns ``indices`` into the step against it, times a factor, in place."""
        layout = objective.layout
        if objective.move_object:
            curvature = objective.peak_curvature(vector, indices)
            layout.object_block(gradient)[...] *= (factor * self.object_step / curvature).astype(np.float32)
        if objective.move_probe:
            curvature = objective.probe_curvature(len(indices))
            layout.probe_block(gradient)[...] *= np.float32(factor * self.probe_step) / curvature
        if objective.move_others:
            blocks = layout.other_blocks(gradient)
            for block in layout.blocks:
                # a batch has all the data on its own patterns, but only its share of the data on common quantities
                share = 1.0 if block.per_pattern else len(indices) / self.count
                curvature = objective.xp.asarray(block.curvature) * np.float32(share)
                blocks[block.name][...] *= np.float32(factor * self.object_step) / curvature
        return gradient

    def _end_sweep(self, state: SweepState) -> SweepState:
        loss = float(state.running_loss) / self.count
        finite = math.isfinite(loss) and self.objective.is_finite(state.vector)
        if not finite or (state.losses and _risen(state.losses[-1], loss, MEAN_RISE)):
            return self._restarted(state, state.start)
        judged = self._judged(state.vector)
        if state.lowest is not None and _risen(state.lowest, judged, END_RISE):
            return self._restarted(state, state.start)
        held = state.held_losses
        if self.held_out is not None:
            (loss_held,) = self.objective.losses(state.vector, [self.held_out])
            held = (*held, loss_held / len(self.held_out))
        return replace(
            state,
            sweep=state.sweep + 1,
            batch=0,
            running_loss=0.0,
            start=None,
            losses=(*state.losses, loss),
            held_losses=held,
            lowest=judged if state.lowest is None else min(judged, state.lowest),
        )

    def _restarted(self, state: SweepState, start: Any) -> SweepState:
        return replace(state, vector=start, start=None, batch=0, running_loss=0.0, halvings=state.halvings + 1)


def _risen(earlier: float, later: float, tolerated: float) -> bool:
    """Whether a loss has risen by more than a share, or is not a number."""
    return not later <= earlier + tolerated * abs(earlier)
