"""Settings that change from epoch to epoch: weights, what is refined, hard constraints, constants of the line search.

The solvers are unaware of schedules: at the start of an epoch they are replaced by copies with its settings. A hard
constraint that changes the parameters between epochs, or a change of what is refined, regularised or held, clears the
L-BFGS history. A constraint that remains in force keeps the history, as does a weight that changes only in size, at the
cost of one more evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.refine.engines.epochs import BatchEngine
from ptylive.engine.refine.parameters.amplitude_phase_constraint import AmplitudePhaseConstraint
from ptylive.engine.refine.parameters.constraint import Constraint, Constraints
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.regularisers.projections import changes_in, due, lasting, projected
from ptylive.engine.refine.regularisers.registry import registered, switched_on
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
        "update_thickness": BlockName.THICKNESS,
        "update_aberrations": BlockName.ABERRATIONS,
        "update_tilts": BlockName.TILTS,
        "update_detector_psf": BlockName.SPREAD,
    }
)
"""Settings that hold a parameter block fixed for some epochs."""
HOLDING = frozenset({"phase_only_obj", "probe_part"})
"""Settings that hold part of the object or of the probe fixed for some epochs."""
CHECKED_EPOCHS = 1000
"""Most epochs whose scheduled settings are validated before the run."""
SolverState = SweepState | LbfgsState


class EpochState(NamedTuple):
    """Solvers and state with the settings of an epoch."""

    sweeps: Sweeps | BatchEngine
    lbfgs: Lbfgs
    state: SolverState


@dataclass(frozen=True)
class EpochSchedule:
    """The settings of every epoch of one run."""

    preset: Preset
    problem: Problem

    @cached_property
    def empty(self) -> bool:
        """Whether all epochs have the same settings and there are no constraints; evaluated before every batch."""
        return (
            not self.preset.schedules
            and not due(self.preset.regularisers)
            and not self._held_constraints(self.preset)
            and not self.preset.regularisers.reset_history_flag
        )

    def check(self, epochs: int) -> None:
        """Raise MetadataError if a schedule has no value, or an impossible one, in a coming epoch.

        Each constraint is constructed once where it is on, so that one that cannot work is reported before the run.
        """
        checked: set[str] = set()
        for epoch in range(min(epochs, CHECKED_EPOCHS) if self.preset.schedules else 1):
            current = self.preset.at(epoch)
            self._chosen(current, self.problem.multislice.count)
            used = {entry.name for entry in registered() if entry.kind != "penalty" and entry.on(current.regularisers)}
            if not used <= checked:
                self.problem.regularisation.made(current.regularisers, self.problem.layout, "projection")
                self._held_constraints(current)
            checked |= used

    def begin(
        self, epoch: int, solvers: tuple[Sweeps | BatchEngine, Lbfgs], state: SolverState, *, again: bool = False
    ) -> EpochState:
        """Solvers and state for an epoch. ``again``: begun before, so its hard constraints have been applied."""
        sweeps, lbfgs = solvers
        if self.empty or (isinstance(state, SweepState) and state.batch > 0 and again):
            return EpochState(sweeps, lbfgs, state)
        current = self.preset.at(epoch)
        if not isinstance(sweeps.objective, Objective):
            raise TypeError(f"schedules change an Objective, not a {type(sweeps.objective).__name__}")
        objective = self._objective(sweeps.objective, current, state.vector)
        sweeps = replace(sweeps, objective=objective)
        lbfgs = replace(
            lbfgs,
            objective=objective,
            history=current.solver.hist_length,
            descent=Descent.of(current.solver),
        )
        if again or (isinstance(state, SweepState) and state.batch > 0):
            return EpochState(sweeps, lbfgs, state)
        previous = self.preset.at(epoch - 1) if epoch > 0 else current
        vector = self._constrained(epoch, previous, current, state.vector, objective.xp)
        constrained = vector is not state.vector
        if constrained:
            objective = self._objective(objective, current, vector)
            sweeps, lbfgs = replace(sweeps, objective=objective), replace(lbfgs, objective=objective)
        if isinstance(state, SweepState):
            # a sweep is judged against the previous one, which is invalid if their losses differ
            if previous != current or constrained:
                state = replace(state, vector=vector, losses=(), lowest=None)
            return EpochState(sweeps, lbfgs, state)
        return EpochState(
            sweeps, lbfgs, _lbfgs_state(lbfgs, state, vector, (previous, current), constrained=constrained)
        )

    def at_end(self, epoch: int, vector: Any) -> Any:
        """Parameters (numpy) at the end of the last epoch, ``epoch``, after the projections that a result obeys."""
        if self.empty:
            return vector
        settings = self.preset.at(epoch).regularisers
        return lasting(vector, settings, self.problem.layout, self.problem.regularisation, np)

    def fixes_modulus(self, epoch: int) -> bool:
        """Whether a constraint of an epoch determines the object's modulus, leaving no free factor."""
        settings = self.preset.at(epoch).regularisers
        return any(entry.on(settings) for entry in registered() if getattr(entry.made_by, "fixes_modulus", False))

    def _constrained(self, epoch: int, before: Preset, now: Preset, vector: Any, xp: Any) -> Any:
        """Apply hard constraints at the start of an epoch; return the same vector if they change nothing."""
        layout, regularisation = self.problem.layout, self.problem.regularisation
        start = vector
        if changes_in(now.regularisers, layout, regularisation):
            vector = projected(vector, now.regularisers, layout, regularisation, xp)
        for entry, constraint in regularisation.made(now.regularisers, layout, "held"):
            continues = (
                epoch > 0 and entry.on(before.regularisers) and entry.same(before.regularisers, now.regularisers)
            )
            if not continues or vector is not start:
                vector = vector.copy() if vector is start else vector
                with entry.at_work():
                    getattr(constraint, "begin", constraint.restore_fixed)(layout, vector, xp)
        return vector

    def _held_constraints(self, current: Preset) -> tuple[Constraint, ...]:
        return self.problem.regularisation.held(current.regularisers, self.problem.layout)

    def _objective(self, objective: Objective, current: Preset, vector: Any) -> Objective:
        layout, scheduled = self.problem.layout, self.preset.schedules
        other_terms = tuple(term for term in objective.terms if not self.problem.regularisation.owns(term))
        present = {block.name for block in layout.blocks}
        fixed = {block for name, block in SWITCHES.items() if block in present and not getattr(current.refined, name)}
        return replace(
            objective,
            terms=(
                *other_terms,
                *on_device(self.problem.regularisation.terms(current.regularisers, layout), objective.xp),
            ),
            move_object=current.refined.update_obj,
            move_probe=current.refined.update_probe,
            fixed=frozenset(fixed),
            constraint=Constraints.of(
                *on_device(self._held_constraints(current), objective.xp),
                AmplitudePhaseConstraint.of(current.object, current.probe, layout, vector, objective.xp)
                if scheduled.keys() & HOLDING
                else None,
            ),
            chosen=self._chosen(current, objective.patterns) if "sequence" in scheduled else objective.chosen,
        )

    def _chosen(self, current: Preset, count: int) -> IndexArray | None:
        """Patterns that count in an epoch; None if all do in every epoch. Raises MetadataError if none do."""
        scheduled = "sequence" in self.preset.schedules
        return chosen_patterns(current.patterns.sequence or EVERYTHING, count) if scheduled else None


def _lbfgs_state(
    lbfgs: Lbfgs, state: LbfgsState, vector: Any, settings: tuple[Preset, Preset], *, constrained: bool
) -> LbfgsState:
    """State between two epochs, re-evaluated if the loss has changed."""
    previous, current = settings
    if constrained:
        return replace(lbfgs.init(vector), losses=state.losses, evaluations=state.evaluations + 1)
    changed = previous != current and bool(state.losses)  # a state without any step was evaluated in this epoch
    if current.regularisers.reset_history_flag or (changed and _active(previous) != _active(current)):
        state = replace(state, pairs=())
    return lbfgs.reevaluated(state) if changed else state


def _active(preset: Preset) -> frozenset[str]:
    """What is refined, from which patterns, and which regularisers are on."""
    words = {str(preset.object.phase_only_obj), preset.probe.probe_part, preset.patterns.sequence or EVERYTHING}
    return switched_on(preset.regularisers) | preset.refined.moving | words
