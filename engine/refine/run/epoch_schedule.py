"""Settings that change from epoch to epoch: weights, what is refined, hard constraints, constants of the line search.

The solvers do not know of schedules: at the beginning of an epoch they are replaced by copies with its settings. A hard
constraint, or a change of what is refined or regularised, clears the history of L-BFGS; a weight that only changes its
size keeps the history and costs one more evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from ptylive.engine.refine.parameters.amplitude_phase_constraint import AmplitudePhaseConstraint
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.regularisers.projections import due, projected
from ptylive.engine.refine.regularisers.registry import switched_on
from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.lbfgs import Lbfgs, LbfgsState
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.sweeps import Sweeps, SweepState
from ptylive.schema.model import IndexArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.sequence import chosen_patterns
from ptylive.schema.word_schedule import EVERYTHING

SWITCHES: Mapping[str, BlockName] = MappingProxyType(
    {
        "update_probe_pos": BlockName.SHIFTS,
        "update_beam_current": BlockName.CURRENT,
        "update_static_background": BlockName.BACKGROUND,
        "update_slice_distances": BlockName.DISTANCES,
        "update_aberrations": BlockName.ABERRATIONS,
        "update_tilts": BlockName.TILTS,
    }
)
"""Settings that hold a block for some epochs."""
HOLDING = frozenset({"phase_only_obj", "probe_part"})
"""Settings that hold a part of the object or of the probe for some epochs."""
CHECKED_EPOCHS = 1000
SolverState = SweepState | LbfgsState


class EpochState(NamedTuple):
    """Solvers and state with the settings of an epoch."""

    sweeps: Sweeps
    lbfgs: Lbfgs
    state: SolverState


@dataclass(frozen=True)
class EpochSchedule:
    """The settings of every epoch of one run."""

    preset: Preset
    problem: Problem

    @property
    def empty(self) -> bool:
        """Whether all epochs have the same settings and there are no hard constraints."""
        return (
            not self.preset.schedules
            and not due(self.preset.regularisers)
            and not self.preset.regularisers.reset_history_flag
        )

    def check(self, epochs: int) -> None:
        """Raise MetadataError where a schedule has no value, or an impossible one, in an epoch to come."""
        for epoch in range(min(epochs, CHECKED_EPOCHS) if self.preset.schedules else 0):
            self._chosen(self.preset.at(epoch), self.problem.multislice.count)

    def begin(
        self, epoch: int, solvers: tuple[Sweeps, Lbfgs], state: SolverState, *, again: bool = False
    ) -> EpochState:
        """Solvers and state for an epoch. ``again``: begun before, so its hard constraints have been applied."""
        sweeps, lbfgs = solvers
        if self.empty or (isinstance(state, SweepState) and state.batch > 0 and again):
            return EpochState(sweeps, lbfgs, state)
        now = self.preset.at(epoch)
        objective = self._objective(sweeps.objective, now, state.vector)
        sweeps = replace(sweeps, objective=objective)
        lbfgs = replace(
            lbfgs,
            objective=objective,
            history=now.solver.hist_length,
            descent=Descent.of(now.solver),
        )
        if again or (isinstance(state, SweepState) and state.batch > 0):
            return EpochState(sweeps, lbfgs, state)
        by_hand = due(now.regularisers)
        vector = state.vector
        if by_hand:
            vector = projected(vector, now.regularisers, self.problem.layout, self.problem.regularisation, objective.xp)
            objective = self._objective(objective, now, vector)
            sweeps, lbfgs = replace(sweeps, objective=objective), replace(lbfgs, objective=objective)
        before = self.preset.at(epoch - 1) if epoch > 0 else now
        if isinstance(state, SweepState):
            # a sweep is judged by the one before: not where they lower different losses
            if before != now or by_hand:
                state = replace(state, vector=vector, losses=(), lowest=None)
            return EpochState(sweeps, lbfgs, state)
        return EpochState(sweeps, lbfgs, _lbfgs_state(lbfgs, state, vector, (before, now), by_hand=by_hand))

    def _objective(self, objective: Objective, now: Preset, vector: Any) -> Objective:
        layout, scheduled = self.problem.layout, self.preset.schedules
        kept = tuple(term for term in objective.terms if not self.problem.regularisation.owns(term))
        present = {block.name for block in layout.blocks}
        fixed = {block for name, block in SWITCHES.items() if block in present and not getattr(now.refined, name)}
        return replace(
            objective,
            terms=(*kept, *on_device(self.problem.regularisation.terms(now.regularisers, layout), objective.xp)),
            move_object=now.refined.update_obj,
            move_probe=now.refined.update_probe,
            fixed=frozenset(fixed),
            constraint=AmplitudePhaseConstraint.of(now.object, now.probe, layout, vector, objective.xp)
            if scheduled.keys() & HOLDING
            else None,
            chosen=self._chosen(now, objective.patterns),
        )

    def _chosen(self, now: Preset, count: int) -> IndexArray | None:
        """The patterns that count in an epoch; None where all do in every one. Raises MetadataError for none."""
        scheduled = "sequence" in self.preset.schedules
        return chosen_patterns(now.patterns.sequence or EVERYTHING, count) if scheduled else None


def _lbfgs_state(
    lbfgs: Lbfgs, state: LbfgsState, vector: Any, settings: tuple[Preset, Preset], *, by_hand: bool
) -> LbfgsState:
    """A state between two epochs, evaluated anew where the loss has become another one."""
    before, now = settings
    if by_hand:
        return replace(lbfgs.init(vector), losses=state.losses, evaluations=state.evaluations + 1)
    changed = before != now and bool(state.losses)  # a state that has made no step was evaluated in this epoch
    if now.regularisers.reset_history_flag or (changed and _active(before) != _active(now)):
        state = replace(state, pairs=())
    return lbfgs.reevaluated(state) if changed else state


def _active(preset: Preset) -> frozenset[str]:
    """What is refined, from which patterns, and which regularisers are on."""
    words = {str(preset.object.phase_only_obj), preset.probe.probe_part, preset.patterns.sequence or EVERYTHING}
    return switched_on(preset.regularisers) | preset.refined.moving | words
