"""The decisions of a refinement before its first epoch: from a data set and open settings to the problem of a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import without_drift
from ptylive.engine.refine.data.scan_window import check_room
from ptylive.engine.refine.data.selection import selected
from ptylive.engine.refine.problem.forward_options import tilt_from_columns
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.negative_counts import negative_words
from ptylive.engine.refine.problem.prepare import Problem, decide, lay_out, prepare
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run.again.second_run import RunPlan
from ptylive.engine.refine.run.refinement import Observers, Refinement
from ptylive.engine.refine.run.stages import with_given_counts
from ptylive.engine.refine.tuning.depth.absorption import with_absorption
from ptylive.engine.refine.tuning.depth.anchor_choice import with_chosen_anchor
from ptylive.engine.refine.tuning.depth.depth_choice import with_found_depth, with_given_depth, with_half_turn_by_depth
from ptylive.engine.refine.tuning.depth.doubted_astigmatism import with_confirmed_astigmatism
from ptylive.engine.refine.tuning.depth.given_thickness import with_slices_worth_it
from ptylive.engine.refine.tuning.depth.rival_orientations import with_likelier_rival
from ptylive.engine.refine.tuning.drift_check import drift_is_open, with_checked_drift
from ptylive.engine.refine.tuning.form_choice import with_chosen_form
from ptylive.engine.refine.tuning.half_turn import start_half_turned
from ptylive.engine.refine.tuning.held_out import TrialContext, central_part
from ptylive.engine.refine.tuning.mode_choice import with_chosen_modes
from ptylive.engine.refine.tuning.optics.confirmed_calibration import with_confirmed_calibration
from ptylive.engine.refine.tuning.optics.focal_spread_choice import with_chosen_focal_spread
from ptylive.engine.refine.tuning.optics.freed_optics import with_freed_optics
from ptylive.engine.refine.tuning.optics.settled_modes import with_settled_modes
from ptylive.engine.refine.tuning.optics.skewed_phase import with_atoms_as_peaks
from ptylive.engine.refine.tuning.optics.source_choice import with_chosen_source
from ptylive.engine.refine.tuning.orientation import AS_IT_IS, start_turned
from ptylive.engine.refine.tuning.orientation_search import with_found_orientation
from ptylive.engine.refine.tuning.parameter_search import tune
from ptylive.engine.refine.tuning.regime_choice import with_chosen_regime
from ptylive.engine.refine.tuning.scans_apart import without_drifts
from ptylive.engine.refine.tuning.start.columns import with_columns
from ptylive.engine.refine.tuning.start.start_object import with_start
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tilt_search import SEARCH_PATTERNS, expected_patterns, find_tilt, tilted
from ptylive.engine.refine.tuning.tilt_sign import with_doubted_tilts
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.engine.refine.validation.engine_settings import check_engine
from ptylive.engine.refine.validation.prior_settings import check_possible
from ptylive.engine.refine.validation.scan_settings import check_scans
from ptylive.engine.refine.validation.unused_settings import KnownProblem, unused_settings
from ptylive.schema.preset import Preset
from ptylive.schema.preset.start import StartSettings


class Decided(NamedTuple):
    """What trials decided before a run."""

    problem: Problem
    preset: Preset
    """Settings that apply to it, as they were given."""
    tuned: Tuned
    context: TrialContext
    begin: Callable[[Problem], Problem]
    """Give a problem on other positions the start that this one has."""


def decided(
    context: TrialContext, warm: WarmStart | None, plan: RunPlan, observers: Observers, *, alone: bool
) -> Decided:
    """The problem of a run, with everything decided that trials decide; ``alone``: without other workers."""
    dataset, preset = checked(plan.dataset, plan.preset)
    if alone:
        check_room(dataset, preset.patterns)
    tuned = settled(replace(plan, dataset=dataset, preset=preset), context, warm, observers)
    context = _context_of(tuned, context)
    warm = warm.half_turned() if warm is not None and tuned.half_turn else warm
    tuned = without_drifts(tuned, context)
    tuned = with_doubted_tilts(tuned, context) if warm is None else tuned
    tuned, context, measured = _drift_checked(tuned, context, may_turn=warm is None)
    if warm is None:
        tuned, context, measured = _with_optics(tuned, context, measured)
        tuned = with_confirmed_calibration(tuned, replace(context, warm_start=None))
    context.forget()
    strategy = decide(measured, tuned.preset, has_start=context.start is not None)
    problem = lay_out(measured, strategy, tuned.preset, context.start)
    known = KnownProblem.of(tuned.preset, problem, continues=warm is not None)
    words = (*tuned.words, *negative_words(dataset), *unused_settings(preset, known))
    begin = partial(_started, preset.start, warm or tuned.warm_start, tuned.dataset.calibration.rotation_deg)
    problem = begin(problem.with_findings(tuned.curves, words, tilt_found=tuned.tilt_found))
    return Decided(problem, preset, tuned, context, begin)


def _started(settings: StartSettings, start: WarmStart | None, rotation_deg: float, problem: Problem) -> Problem:
    """The problem with a start that was decided under this rotation, and follows a scan that has been turned since."""
    turn_deg = problem.measured.dataset.calibration.rotation_deg - rotation_deg
    return with_start(problem, settings, start if start is None else start.following(turn_deg))


def settled(plan: RunPlan, context: TrialContext, warm: WarmStart | None, observers: Observers) -> Tuned:
    """Data set and preset with the decisions of short trials, each made under those before it.

    Orientation and half turn, defocus, thickness and start, regime, form of the object, modes, anchor, tilt inside the
    specimen. Drift and refined optics follow in :func:`decided`.
    """
    tuned = Tuned(plan.dataset, with_given_depth(plan.dataset, plan.preset), words=plan.words)
    tuned = _with_orientation(tuned, plan, context, warm)
    tuned = _with_depth(tuned, plan.preset, context, warm)
    context = _context_of(tuned, context)
    tuned = with_chosen_regime(tuned, context)
    tuned = with_chosen_form(tuned, context)
    tuned = _with_modes(tuned, context, warm)
    tuned = with_chosen_anchor(tuned, context)
    return _with_tilt(tuned, context, warm, observers)


def _with_orientation(tuned: Tuned, plan: RunPlan, context: TrialContext, warm: WarmStart | None) -> Tuned:
    """Settle rotation, handedness and half turn, as far as depth is not needed for it; a given start implies them."""
    if plan.decided:
        return replace(tuned, half_turn_settled=True, warm_start=plan.columns)
    if warm is None:
        tuned = with_found_orientation(with_likelier_rival(tuned, context), context)
        tuned = with_confirmed_astigmatism(tuned, context)
        if not plan.turned_by_depth:
            tuned = with_atoms_as_peaks(tuned, _context_of(tuned, context))
    return tuned


def _with_depth(tuned: Tuned, given: Preset, context: TrialContext, warm: WarmStart | None) -> Tuned:
    """Decide defocus, thickness and slices, and the object to start from; ``given``: the preset before any trial."""
    before = with_half_turn_by_depth(tuned, _context_of(tuned, context))
    tuned = tune(before, _context_of(before, context))
    tuned = with_slices_worth_it(tuned, before, given, _context_of(tuned, context))
    if tuned.preset.object.num_slices == "auto":
        return with_found_depth(tuned, _context_of(tuned, context))
    if before.preset.object.slices == 1:
        return with_absorption(tuned, _context_of(tuned, context))
    if warm is None and tuned.warm_start is None:
        return with_columns(tuned, _context_of(tuned, context))
    return tuned


def _with_modes(tuned: Tuned, context: TrialContext, warm: WarmStart | None) -> Tuned:
    """Decide the number of probe modes, and the source and focal spread that they start with."""
    modes = None if warm is None else warm.modes
    preset, choice = with_chosen_modes(tuned.dataset, tuned.preset, context, modes)
    tuned = replace(tuned, preset=preset, words=tuned.words if choice is None else (*tuned.words, choice.reason))
    if warm is None:
        tuned = with_settled_modes(tuned, choice, context)
        tuned = with_chosen_source(tuned, context)
        tuned = tuned if choice is None else with_chosen_focal_spread(tuned, context)
    return tuned


def _with_tilt(tuned: Tuned, context: TrialContext, warm: WarmStart | None, observers: Observers) -> Tuned:
    """Find the tilt inside a specimen of several slices by preliminary runs, if it is to be read from columns."""
    preset, several = tuned.preset, tuned.preset.object.slices > 1
    if not several or warm is not None or not tilt_from_columns(preset.propagation, preset.refined):
        return tuned
    context.tell("the tilt of columns")
    middle = central_part(tuned.dataset, SEARCH_PATTERNS)
    preliminary = partial(_preliminary_run, middle, context, observers.silent())
    return replace(tuned, preset=find_tilt(preset, preliminary), tilt_found=True)


def _context_of(tuned: Tuned, context: TrialContext) -> TrialContext:
    """Context with its start turned by the half turn found; under another orientation the start is dropped."""
    context = context if tuned.orientation is None else replace(context, start=None)
    context = replace(context, warm_start=tuned.warm_start)
    return replace(context, start=start_half_turned(context.start)) if tuned.half_turn else context


def _drift_checked(tuned: Tuned, context: TrialContext, *, may_turn: bool) -> tuple[Tuned, TrialContext, Measurement]:
    """Remove a drift that the trials agree on, and turn the scan if they find that the rotation was fitted to it."""
    measured = context.cache.measure(tuned.dataset, tuned.preset)
    corrected, measured = with_checked_drift(measured, tuned, context, may_turn=may_turn)
    before, after = (state.orientation or AS_IT_IS for state in (tuned, corrected))
    turn_deg = after.turn_deg - before.turn_deg
    if turn_deg:
        corrected = replace(corrected, warm_start=None)
    context = replace(context, start=start_turned(context.start, turn_deg), warm_start=corrected.warm_start)
    return corrected, context, measured


def _with_optics(tuned: Tuned, context: TrialContext, measured: Measurement) -> tuple[Tuned, TrialContext, Measurement]:
    """Add optics that nobody stated and that trials refine, on positions corrected for a drift found before.

    A shear of the scan looks like astigmatism, and vice versa. A drift that held-out patterns confirm therefore comes
    first; without one, drift is looked for once more under the optics that were found. If the lattice showed a drift
    that was left alone, the astigmatism may be due to it, and is determined once more together with it.
    """
    drift = measured.drift
    applied = drift if drift is not None and drift.applied else None
    placed = tuned if applied is None else replace(tuned, dataset=without_drift(tuned.dataset, applied))
    freed = with_freed_optics(placed, context)
    if freed.dataset is placed.dataset:
        return replace(tuned, words=freed.words), context, measured
    found = replace(freed, dataset=replace(tuned.dataset, calibration=freed.dataset.calibration))
    if applied is None:
        if drift is not None and drift_is_open(drift, tuned.preset):
            doubted = found.dataset.calibration.with_astigmatism_doubted()
            found = replace(found, dataset=replace(found.dataset, calibration=doubted))
        return _drift_checked(found, context, may_turn=True)
    plain = found.preset.model_copy(update={"refine_drift": False})
    remeasured = context.cache.measure(without_drift(found.dataset, applied), plain)
    return found, context, replace(remeasured, drift=applied)


def _preliminary_run(
    dataset: Dataset, context: TrialContext, observers: Observers, preset: Preset, like: RefineResult | None
) -> RefineResult | None:
    """A preliminary refinement of the patterns, or of patterns simulated from ``like`` (None if it cannot be)."""
    preset = preset.model_copy(update={"refine_drift": False})  # the middle alone cannot establish a drift
    problem = prepare(dataset, preset, context.start)
    if like is not None:
        expected = expected_patterns(prepare(dataset, tilted(preset, like), context.start), like)
        if expected is None:
            return None
        counted = np.random.default_rng(preset.solver.seed).poisson(expected).astype(np.float32)
        problem = replace(problem, multislice=replace(problem.multislice, patterns=counted))
    with closing(open_backend(context.backend, problem.multislice, context.threads)) as engine:
        return Refinement(problem, preset, engine, observers).run(None)


def checked(dataset: Dataset, preset: Preset) -> tuple[Dataset, Preset]:
    """Return the selected patterns and the settings that apply to them. Raises for incompatible settings."""
    dataset = selected(dataset, preset.patterns)
    preset = with_given_counts(preset).model_copy(update={"sequence": None})
    check_engine(preset)
    check_scans(dataset, preset)
    if preset.prior.method == "dgp":
        check_possible(preset)
    return dataset, preset
