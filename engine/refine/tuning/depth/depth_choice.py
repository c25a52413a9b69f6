"""Thickness of the specimen and number of its slices, chosen by the loss on held-out patterns.

A specimen is taken as thin until the patterns say otherwise. Several slices add more than depth: another form of the
object, other steps, twice the parameters. Nothing is therefore compared with one slice: two slices a depth of focus
apart are compared with two adjacent slices, and with two half as far apart, which are better for a specimen below three
quarters of a depth of focus. If depth predicts patterns better, the thickness is doubled for as long as that helps, and
read from the parabola through the best one and its neighbours, half such a step away. Finally, several slices have to
predict better than one, each refined as in the run (:mod:`~ptylive.engine.refine.tuning.depth.worth_of_slices`).

The scale is the depth of focus, wavelength / semi-angle^2: a much thinner specimen looks the same from top to bottom.
An estimated defocus refers to the middle of the specimen, a given one to its entrance surface.

If rotation and defocus were both estimated, everything is tried under both half turns (:mod:`half_turn`). If atoms have
shown which one is right (:mod:`~ptylive.engine.refine.tuning.optics.skewed_phase`) or lie at random, the half turn is
kept: depth may still show under the other one first, but thicknesses are compared under the kept one only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.absorption import with_absorption
from ptylive.engine.refine.tuning.depth.columns_of_depth import columns_of_depth
from ptylive.engine.refine.tuning.depth.depth_trials import (
    COARSE_SLICES,
    FIRST,
    GATE_PATTERNS,
    THICKEST_A,
    Coarse,
    DepthTrials,
    half_turn_trials,
    slices_for,
    thickened,
)
from ptylive.engine.refine.tuning.depth.like_one_slice import likeliest_like_one
from ptylive.engine.refine.tuning.depth.many_slices import MANY_SLICES, hopeless_gain
from ptylive.engine.refine.tuning.depth.refined_thickness import AT_REST, settled_thickness_A, with_refined_thickness
from ptylive.engine.refine.tuning.depth.seen_depth import depth_in_many_slices, depth_seen, focus_A, with_map_defocus
from ptylive.engine.refine.tuning.depth.unexplained import OneSlice
from ptylive.engine.refine.tuning.depth.worth_of_slices import are_worth_it, compared
from ptylive.engine.refine.tuning.half_turn import half_turn_is_open, half_turned, start_half_turned
from ptylive.engine.refine.tuning.half_turn_choice import SETTLED_SWEEPS, with_half_turn
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_PATTERNS, may_be_tried, modes_for_several
from ptylive.engine.refine.tuning.optics.freed_optics import may_be_freed, with_optics_moved
from ptylive.engine.refine.tuning.optics.plane_of_one_slice import in_its_own_plane
from ptylive.engine.refine.tuning.start.columns import with_columns
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import MetadataError
from ptylive.schema.advice.depth import FoundDepth
from ptylive.schema.advice.words import significant
from ptylive.schema.preset import Preset
from ptylive.schema.preset.object import MOST_SLICES

THINNEST = 0.25
"""A given thickness below this many depths of focus is one slice."""
LEAST = 0.3
"""Thickness, in depths of focus, that is tried where trials find less, but one slice leaves too much."""
BY_COLUMNS = "several slices predict held-out patterns better from columns than from an empty object"
FINE_PATTERNS = 800
"""Maximum number of patterns for the last thicknesses, which are tried with the slices and modes of the run; a scan
with fewer than twice as many uses half of its patterns, so that these trials cost less than the run."""


def with_given_depth(dataset: Dataset, preset: Preset) -> Preset:
    """Set the number of slices if the preset leaves it open but gives a thickness or several distances between slices.

    Raises MetadataError for an impossible number of slices.
    """
    form, depth_A = preset.object, dataset.calibration.depth_of_focus_A
    if form.num_slices != "auto":
        return preset
    if form.slices > 1:  # several distances
        return _with_slices(preset, form.slices)
    if form.total_thickness_A is None:
        return preset
    depths = 0.0 if depth_A is None else form.total_thickness_A / depth_A
    return _with_slices(preset, _slices_of(preset, form.total_thickness_A, depths))


def with_found_depth(tuned: Tuned, context: TrialContext) -> Tuned:
    """Find open slices and thickness by trials; an estimated defocus is converted to that of the entrance surface."""
    dataset, preset = tuned.dataset, tuned.preset
    if preset.object.num_slices != "auto":
        return tuned
    thin, depth_A = replace(tuned, preset=_with_slices(preset, 1)), dataset.calibration.depth_of_focus_A
    if depth_A is None or not may_be_tried(dataset, preset):
        return thin
    if FIRST * depth_A > THICKEST_A:
        return _because(thin, f"depths below {significant(FIRST * depth_A, 3)} Å would not be visible")
    thin = in_its_own_plane(thin, context)
    single = OneSlice(thin, context)
    base, why = _depth_base(tuned, single, context, depth_A)
    seen = base is not None
    if base is None:
        if tuned.atoms_at_random or not single.is_too_little:
            return _because(thin, why)
        base, why = tuned, str(single.left)
    thin = with_absorption(thin, context, single)
    found = _with_thickness(thin, base, why, context, depth_A)
    if found.warm_start is not None:
        return found
    if found.preset.object.slices > 1:
        return _retried_from_columns(found, thin, base, why, context, depth_A)
    columns = columns_of_depth(base, context, depth_A) if seen and base.warm_start is None else None
    return found if columns is None else _with_thickness(thin, columns, BY_COLUMNS, context, depth_A)


def _retried_from_columns(
    found: Tuned, thin: Tuned, base: Tuned, why: str, context: TrialContext, depth_A: float
) -> Tuned:
    """Return ``found``, or the thickness found from columns of that thickness if they lead to a better minimum."""
    turned = found.half_turn != base.half_turn
    columns = with_columns(found, replace(context, start=start_half_turned(context.start)) if turned else context)
    if columns.warm_start is None:
        return found
    start = columns.warm_start.half_turned() if turned else columns.warm_start
    retried = _with_thickness(thin, replace(base, warm_start=start), why, context, depth_A)
    return columns if retried.warm_start is None else retried


def _with_thickness(thin: Tuned, base: Tuned, why: str, context: TrialContext, depth_A: float) -> Tuned:
    """Use slices of the best-predicting thickness, or one slice if several are not worth it (then without a start).

    Depth was seen from ``base``; ``why`` says how. ``thin``: as one slice would be refined.
    """
    context = replace(context, warm_start=base.warm_start)
    half = _coarsely_thick(base, context, depth_A)
    hopeless = _hopeless_words(thin, half, context, depth_A)
    if hopeless is not None:
        return _because(thin, f"{hopeless}, although {why}")
    tuned, trials = _fine_trials(base, half, context, depth_A)
    best = trials.fine(half.coarse.nearest, largest=half.coarse.largest)
    vertex_A = best.depths * depth_A
    if _slices_of(base.preset, vertex_A, best.depths) == 1:
        least_A = LEAST * depth_A
        if _slices_of(base.preset, least_A, LEAST) == 1 or not OneSlice(thin, context).is_too_little:
            return _because(thin, f"trials of several slices find only {significant(vertex_A, 3)} Å, although {why}")
        vertex_A = least_A
    focused = with_optics_moved(tuned.dataset, best.moved_A)

    def thick_at(thickness_A: float) -> Tuned:
        slices = _slices_of(tuned.preset, thickness_A, thickness_A / depth_A)
        dataset, preset = thickened(focused, tuned.preset, thickness_A, slices)
        return replace(tuned, dataset=dataset, preset=preset)

    settled_A = settled_thickness_A(thick_at, vertex_A, trials.thickest_A, context)
    same = abs(math.log(settled_A / vertex_A)) < AT_REST
    possible = [thick_at(thickness_A) for thickness_A in (settled_A, vertex_A)]  # refined trials may have led too far
    possible = [thick for thick in possible if thick.preset.object.slices > 1][: 1 if same else 2]
    gain, several = _worth_it(thin, possible, context)
    form = several.preset.object
    thickness_A = sum(form.slice_thickness_A)
    if gain is not None and not are_worth_it(gain):
        layout = f"{form.slices} slices, {significant(thickness_A, 3)} Å in total,"
        no_better = f"would not predict held-out patterns much better than one (gain {gain})"
        return _because(thin, f"{layout} {no_better}, although {why}")
    depth = FoundDepth(form.slices, thickness_A, thickness_A / best.factor, thickness_A * best.factor)
    words = f"{depth}: {why}"
    if several.dataset is not tuned.dataset:
        words += f"; defocus at the entrance surface {significant(focus_A(several), 3)} Å"
    words += "; it may be even thicker: give total_thickness_A" if best.largest else ""
    return with_refined_thickness(replace(several, words=(*tuned.words, words, *several.words[len(tuned.words) :])))


@dataclass(frozen=True)
class _Half:
    """The half turn under which thicknesses are compared further, and the best of the coarse ones."""

    tuned: Tuned
    """Data set and preset under this half turn."""
    turned: bool
    """Whether it is the other one than before."""
    coarse: Coarse


def _coarsely_thick(base: Tuned, context: TrialContext, depth_A: float) -> _Half:
    """Find the best thickness in powers of 2, under both half turns where depth may tell which one is right."""
    halves = half_turn_trials(base, context, depth_A, GATE_PATTERNS, 1)
    either = not (base.atoms_at_random or base.half_turn_settled)
    per_half = [trials.coarse() for trials in (halves if either else halves[:1])]
    slices = min(COARSE_SLICES, max(slices_for(2.0**coarse.power) for coarse in per_half))
    tuned, turned = with_half_turn(
        base,
        [coarse.loss for coarse in per_half],
        _settling(base, context, depth_A, [(2.0**coarse.power, slices) for coarse in per_half]),
    )
    return _Half(tuned, turned, per_half[turned])


def _hopeless_words(thin: Tuned, half: _Half, context: TrialContext, depth_A: float) -> str | None:
    """Why the best coarse thickness needs no further trials, in words; None if it does, as any in a few slices."""
    if slices_for(2.0**half.coarse.nearest) <= MANY_SLICES:
        return None
    coarse_A = 2.0**half.coarse.power * depth_A
    worse = hopeless_gain(thin, half.tuned, coarse_A, context)
    if worse is None:
        return None
    slices = f"{COARSE_SLICES} slices, {significant(coarse_A, 3)} Å in total,"
    return f"{slices} predict held-out patterns worse than one (gain {worse})"


def _fine_trials(base: Tuned, half: _Half, context: TrialContext, depth_A: float) -> tuple[Tuned, DepthTrials]:
    """Trials of the last thicknesses, with the slices and modes of the run, and the state that they start from.

    A defocus that nobody stated is refined in them, from that of the maps.
    """
    tuned, preset = half.tuned, base.preset
    most = min(FINE_PATTERNS, max(GATE_PATTERNS, len(base.dataset.patterns) // 2))
    modes = preset.probe.probe_modes
    freed = may_be_freed(base.dataset, preset)
    if freed:
        base, modes = _in_focus(base), modes_for_several(preset)
        tuned = replace(tuned, dataset=half_turned(base.dataset) if half.turned else base.dataset)
    return tuned, half_turn_trials(base, context, depth_A, most, modes, freed=freed)[half.turned]


def _worth_it(thin: Tuned, possible: Sequence[Tuned], context: TrialContext) -> tuple[Gain | None, Tuned]:
    """Return the first slices that are worth it, as they are refined, and their gain; the last ones if none are."""
    for thick in possible:
        gain, several = compared(thin, thick, context)
        if gain is None or are_worth_it(gain):
            return gain, several
    return likeliest_like_one(thin, possible, context) or (gain, several)


def _depth_base(tuned: Tuned, single: OneSlice, context: TrialContext, depth_A: float) -> tuple[Tuned | None, str]:
    """Return the state from which depth is seen (None: from none), and in words why.

    If two slices show none, and one (``single``) leaves next to nothing, none is to be seen. A crystal refined into a
    wrong minimum shows no depth, so otherwise its columns are tried. Their thickness is then determined in any case:
    two slices a whole depth of focus apart need not be better than half as far, and whether several slices are better
    than one is tested at the end. The crystal may also show depth under the wrong half turn, so columns are tried as
    well where the half turn is open. If there are none, many slices may show the depth that two do not.
    """
    base, why = depth_seen(tuned, context, depth_A)
    if base is not None and (tuned.atoms_at_random or not half_turn_is_open(tuned.dataset, tuned.preset)):
        return base, why
    if base is None and not tuned.atoms_at_random and single.explains_all:
        return None, f"{why}, and {single.left}"
    columns = columns_of_depth(base or tuned, context, depth_A)
    if columns is not None:
        return columns, BY_COLUMNS
    if base is not None or tuned.atoms_at_random:
        return base, why
    return depth_in_many_slices(tuned, why, context, depth_A)


def _because(thin: Tuned, why: str) -> Tuned:
    """One slice, and in words why."""
    return replace(thin, words=(*thin.words, f"one slice: {why}"))


def _in_focus(tuned: Tuned) -> Tuned:
    """Return a copy with the defocus of the maps: that of the middle, within a fifth of a depth of focus or so.

    Single-slice scans move it towards the entrance, by half a depth of focus and more.
    """
    return next(iter(with_map_defocus(tuned)), tuned)


def with_half_turn_by_depth(tuned: Tuned, context: TrialContext) -> Tuned:
    """Settle an open half turn by depth, if the preset says how thick the specimen is."""
    form, depth_A = tuned.preset.object, tuned.dataset.calibration.depth_of_focus_A
    if (
        depth_A is None
        or form.slices == 1
        or tuned.half_turn_settled
        or tuned.atoms_at_random
        or not half_turn_is_open(tuned.dataset, tuned.preset)
        or not may_be_tried(tuned.dataset, tuned.preset)
    ):
        return tuned
    depths = sum(form.slice_thickness_A) / depth_A
    halves = half_turn_trials(tuned, context, depth_A, TRIAL_PATTERNS, tuned.preset.probe.probe_modes)
    losses = [trials.loss(depths, form.slices) for trials in halves]
    settled = _settling(tuned, context, depth_A, [(depths, form.slices)] * len(halves))
    return with_half_turn(tuned, losses, settled)[0]


def _settling(
    tuned: Tuned, context: TrialContext, depth_A: float, depths: list[tuple[float, int]]
) -> Callable[[int], list[HeldOutLoss]]:
    """Longer trials of a thickness and number of slices under each half turn; returns a function of the sweeps.

    They use the number of modes that stands for several: a source blurs in two, and four would take as long as the run.
    """
    modes = modes_for_several(tuned.preset)
    halves: list[DepthTrials] = []

    def settled(sweeps: int) -> list[HeldOutLoss]:
        halves.extend(() if halves else half_turn_trials(tuned, context, depth_A, GATE_PATTERNS, modes))
        pairs = zip(halves, depths, strict=True)
        return [trials.settled(*depth, sweeps, SETTLED_SWEEPS) for trials, depth in pairs]

    return settled


def with_depth_of(dataset: Dataset, preset: Preset, slices: int, thickness_A: float) -> tuple[Dataset, Preset]:
    """Data set and preset with the slices and thickness that an earlier run found, if the preset leaves them open.

    The calibration is the one that the earlier run started with.
    """
    if slices == 1 and preset.object.num_slices == "auto":  # regardless of a given thickness
        return dataset, _with_slices(preset, 1)
    preset = with_given_depth(dataset, preset)
    if preset.object.num_slices != "auto":
        return dataset, preset
    return thickened(dataset, preset, thickness_A, slices)


def slices_of_thickness(depths: float) -> int:
    """Number of slices for a thickness, and one slice below a fraction of a depth of focus."""
    return slices_for(depths) if depths > THINNEST else 1


def _slices_of(preset: Preset, thickness_A: float, depths: float) -> int:
    """Number of slices for a thickness, also given in depths of focus: at the given distance, or as depth requires.

    Raises MetadataError for more slices than a preset may have.
    """
    distances_A = preset.object.slice_distances_A
    slices = slices_of_thickness(depths)
    if distances_A is not None:
        slices = max(1, round(thickness_A / distances_A[0]))
    if slices > MOST_SLICES:
        text = f"a thickness of {thickness_A:g} Å would be cut into {slices} slices, at most {MOST_SLICES} are possible"
        raise MetadataError(text, "check total_thickness_A and slice_distances_A (Å), or give num_slices")
    return slices


def _with_slices(preset: Preset, slices: int) -> Preset:
    return preset.model_copy(update={"num_slices": slices})
