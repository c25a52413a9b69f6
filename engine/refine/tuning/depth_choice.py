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
from collections.abc import Callable
from dataclasses import replace

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.columns_of_depth import columns_of_depth
from ptylive.engine.refine.tuning.depth.depth_trials import (
    COARSE_SLICES,
    FIRST,
    LESS,
    NOTHING,
    THICKEST_A,
    DepthTrials,
    slices_for,
    thickened,
)
from ptylive.engine.refine.tuning.depth.refined_thickness import AT_REST, settled_thickness_A, with_refined_thickness
from ptylive.engine.refine.tuning.depth.worth_of_slices import are_worth_it, compared
from ptylive.engine.refine.tuning.half_turn import FOUND, half_turned, is_open, start_half_turned
from ptylive.engine.refine.tuning.half_turn_choice import SETTLED_SWEEPS, is_worth, with_half_turn
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_PATTERNS, may_be_tried, modes_for_several
from ptylive.engine.refine.tuning.optics.freed_optics import may_be_freed, with_optics_moved
from ptylive.engine.refine.tuning.parameter_search import Tuned, depth_of_focus_A, present_value, varied
from ptylive.engine.refine.tuning.start.columns import with_columns
from ptylive.schema import MetadataError
from ptylive.schema.advice.depth import FoundDepth
from ptylive.schema.preset import Preset
from ptylive.schema.preset.kinds import Auto
from ptylive.schema.preset.object import MOST_SLICES

CLEAR = 0.02
"""Gain by more depth above which no blur of the probe explains it: particles, in one mode, reach 0.005."""
FAR = 0.5
"""Depths of focus by which single-slice trials correct the focus; a larger shift is due to depth: 0.6 to 0.8 in
crystals of 60 Å, 0.2 in one of 100."""
THINNEST = 0.25
"""A given thickness below this many depths of focus is one slice."""
BY_COLUMNS = "several slices predict held-out patterns better from columns than from an empty object"
GATE_PATTERNS, FINE_PATTERNS = 512, 800
"""Patterns in comparisons of differences of a few per cent, and maximum for the last thicknesses, which are tried with
the slices and modes of the run; a scan with fewer than twice as many uses half of its patterns, so that these trials
cost less than the run."""


def with_given_depth(dataset: Dataset, preset: Preset) -> Preset:
    """Set the number of slices if the preset leaves it open but gives a thickness or several distances between slices.

    Raises MetadataError for an impossible number of slices.
    """
    form, depth_A = preset.object, depth_of_focus_A(dataset)
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
    thin, depth_A = replace(tuned, preset=_with_slices(preset, 1)), depth_of_focus_A(dataset)
    if depth_A is None or not may_be_tried(dataset, preset):
        return thin
    if FIRST * depth_A > THICKEST_A:
        return _because(thin, f"depths below {FIRST * depth_A:.3g} Å would not be visible")
    base, why = _depth_base(tuned, context, depth_A)
    if base is None:
        return _because(thin, why)
    found = _with_thickness(tuned, base, why, context, depth_A)
    if found.warm_start is not None:
        return found
    if found.preset.object.slices > 1:
        return _retried_from_columns(found, base, why, context, depth_A)
    columns = None if base.warm_start is not None else columns_of_depth(base, context, depth_A)
    return found if columns is None else _with_thickness(tuned, columns, BY_COLUMNS, context, depth_A)


def _retried_from_columns(found: Tuned, base: Tuned, why: str, context: TrialContext, depth_A: float) -> Tuned:
    """Return ``found``, or the thickness found from columns of that thickness if they lead to a better minimum."""
    turned = found.half_turn != base.half_turn
    columns = with_columns(found, replace(context, start=start_half_turned(context.start)) if turned else context)
    if columns.warm_start is None:
        return found
    start = columns.warm_start.half_turned() if turned else columns.warm_start
    retried = _with_thickness(base, replace(base, warm_start=start), why, context, depth_A)
    return columns if retried.warm_start is None else retried


def _with_thickness(tuned: Tuned, base: Tuned, why: str, context: TrialContext, depth_A: float) -> Tuned:
    """Use slices of the best-predicting thickness, or one slice if several are not worth it (then without a start).

    Depth was seen from ``base``; ``why`` says how.
    """
    dataset, preset = tuned.dataset, tuned.preset
    thin = replace(tuned, preset=_with_slices(preset, 1))
    context, modes = replace(context, warm_start=base.warm_start), preset.probe.probe_modes
    halves = _half_turn_trials(base, context, depth_A, GATE_PATTERNS, 1)
    either = not (base.atoms_at_random or base.half_turn_settled)
    per_half = [trials.coarse() for trials in (halves if either else halves[:1])]
    slices = min(COARSE_SLICES, max(slices_for(2.0**coarse.power) for coarse in per_half))
    tuned, turned = with_half_turn(
        base,
        [coarse.loss for coarse in per_half],
        _settling(base, context, depth_A, [(2.0**coarse.power, slices) for coarse in per_half]),
    )
    most = min(FINE_PATTERNS, max(GATE_PATTERNS, len(dataset.patterns) // 2))
    coarse = per_half[turned]
    freed = may_be_freed(base.dataset, preset)
    if freed:
        base, modes = _in_focus(base), modes_for_several(preset)
        tuned = replace(tuned, dataset=half_turned(base.dataset) if turned else base.dataset)
    trials = _half_turn_trials(base, context, depth_A, most, modes, freed=freed)[turned]
    best = trials.fine(coarse.nearest, largest=coarse.largest)
    vertex_A = best.depths * depth_A
    if _slices_of(preset, vertex_A, best.depths) == 1:
        return _because(thin, f"trials of several slices find only {vertex_A:.3g} Å, although {why}")
    focused = with_optics_moved(tuned.dataset, best.moved_A)

    def thick_at(thickness_A: float) -> Tuned:
        slices = _slices_of(tuned.preset, thickness_A, thickness_A / depth_A)
        dataset, preset = thickened(focused, tuned.preset, thickness_A, slices)
        return replace(tuned, dataset=dataset, preset=preset)

    settled_A = settled_thickness_A(thick_at, vertex_A, trials.thickest_A, context)
    same = abs(math.log(settled_A / vertex_A)) < AT_REST
    for thickness_A in (settled_A,) if same else (settled_A, vertex_A):  # refined trials may have led too far
        thick = thick_at(thickness_A)
        gain, several = compared(thin, thick, context)
        if gain is None or are_worth_it(gain):
            break
    else:
        layout = f"{thick.preset.object.slices} slices, {thickness_A:.3g} Å in total,"
        no_better = f"would not predict held-out patterns much better than one (gain {gain})"
        return _because(thin, f"{layout} {no_better}, although {why}")
    depth = FoundDepth(thick.preset.object.slices, thickness_A, thickness_A / best.factor, thickness_A * best.factor)
    words = f"{depth}: {why}"
    if thick.dataset is not tuned.dataset:
        words += f"; defocus at the entrance surface {_focus_A(thick):.3g} Å"
    words += "; it may be even thicker: give total_thickness_A" if best.largest else ""
    return with_refined_thickness(replace(several, words=(*tuned.words, words, *several.words[len(tuned.words) :])))


def _depth_base(tuned: Tuned, context: TrialContext, depth_A: float) -> tuple[Tuned | None, str]:
    """Return the state from which depth is seen (None: from none), and in words why.

    A crystal refined into a wrong minimum shows no depth, so where no depth is seen its columns are tried. Their
    thickness is then determined in any case: two slices a whole depth of focus apart need not be better than half as
    far, and whether several slices are better than one is tested at the end. The crystal may also show depth under the
    wrong half turn, so columns are tried as well where the half turn is open.
    """
    base, why = _gate(tuned, context, depth_A)
    if base is not None and (tuned.atoms_at_random or not is_open(tuned.dataset, tuned.preset)):
        return base, why
    columns = columns_of_depth(base or tuned, context, depth_A)
    return (base, why) if columns is None else (columns, BY_COLUMNS)


def _because(thin: Tuned, why: str) -> Tuned:
    """One slice, and in words why."""
    return replace(thin, words=(*thin.words, f"one slice: {why}"))


def _gate(tuned: Tuned, context: TrialContext, depth_A: float) -> tuple[Tuned | None, str]:
    """Return the state from which depth is seen (None: from none), and in words why.

    Maps that were in focus found the middle of a crystal, and short single-slice trials move from there to a plane
    nearer to its entrance. If they moved far, the earlier focus is therefore tried first.
    """
    thin = _without_depth(tuned, context, depth_A, 1)
    why = ""
    refocused = _with_map_defocus(tuned)
    far = any(abs(_focus_A(candidate) - _focus_A(tuned)) > FAR * depth_A for candidate in refocused)
    for base in (*refocused, tuned) if far else (tuned, *refocused):
        shown, why = _shown(tuned, base, thin, context, depth_A)
        if shown:
            return base, why
    return _shown_when_settled(tuned, why, context, depth_A) if tuned.atoms_at_random else (None, why)


def _shown_when_settled(tuned: Tuned, why: str, context: TrialContext, depth_A: float) -> tuple[Tuned | None, str]:
    """The same test for atoms at random, of which short trials show nothing.

    Each slice of a film is a different image, so several slices converge slowly: after three sweeps two slices may
    predict worse than one plane, and after eight better by 1 to 20 %. A film thinner than three quarters of a depth of
    focus gains by slices too, so half a depth of focus need not be worse than a whole.
    """
    trials = _half_turn_trials(tuned, context, depth_A, GATE_PATTERNS, modes_for_several(tuned.preset))[0]
    plane, *separated = (trials.settled(depths, 2, SETTLED_SWEEPS, SETTLED_SWEEPS) for depths in (NOTHING, LESS, FIRST))
    gains = [Gain.over(plane.groups, item.groups) for item in separated]
    gain, depths = max(zip(gains, (LESS, FIRST), strict=True), key=lambda item: item[0].share)
    if not is_worth(gain):
        return None, why
    text = f"a depth of {depths * depth_A:.3g} Å already predicts held-out patterns better in longer trials"
    return tuned, f"{text}, by {gain}"


def _focus_A(tuned: Tuned) -> float:
    return present_value(tuned.dataset, tuned.preset, Scanned.DEFOCUS)


def _shown(tuned: Tuned, base: Tuned, thin: DepthTrials, context: TrialContext, depth_A: float) -> tuple[bool, str]:
    """Whether depth is seen from ``base``, and in words why.

    One mode mistakes the blur of a source for depth, and so shows depth first: if it shows none, there is no depth, at
    a quarter of the time. Depth that it shows and that no blur explains must persist with as many modes as the run
    starts with. From a focus other than that of the single slice (``thin``), a whole depth of focus is required, in
    trials to their end: one slice has converged further after one sweep, and half a depth of focus may not suffice.
    """
    depths = _required_depth(tuned.dataset) if base is tuned else FIRST
    least, whole = (f"a depth of {number * depth_A:.3g} Å" for number in (depths, FIRST))
    no_better = "would not predict held-out patterns better"
    modes = tuned.preset.probe.probe_modes
    halves = _half_turn_trials(base, context, depth_A, GATE_PATTERNS, 1)
    gains = [trials.gain(thin, depths, hurried=base is tuned) for trials in halves]
    if not any(is_worth(gain) for gain in gains):
        return False, f"{least} {no_better} (gain {gains[0]})"
    half = max(range(len(gains)), key=lambda k: gains[k].share)
    gain, trials = gains[half], halves[half]
    more = trials.gain_of_more()
    if modes != 1 and not (more.certain and more.share > CLEAR):
        thin = _without_depth(tuned, context, depth_A, modes)
        trials = _half_turn_trials(base, context, depth_A, GATE_PATTERNS, modes)[half]
        gain = trials.gain(thin, depths, hurried=base is tuned)
        if not is_worth(gain):
            return False, f"{least} {no_better} (gain {gain})"
        more = trials.gain_of_more()
    if not more.certain:
        return False, f"{whole} {no_better} than half of it (gain {more})"
    thin = thin if base is tuned else _without_depth(base, context, depth_A, trials.modes)
    half_gain = trials.gain_of_half(thin)
    if half_gain.share <= 0:
        return False, f"half of {whole} {no_better} (gain {half_gain}), although the whole depth does"
    return True, f"{least} already predicts held-out patterns better, by {gain}"


def _without_depth(tuned: Tuned, context: TrialContext, depth_A: float, modes: int | Auto) -> DepthTrials:
    """Trials to compare with: for two adjacent slices both half turns are the same."""
    return _half_turn_trials(tuned, context, depth_A, GATE_PATTERNS, modes)[0]


def _required_depth(dataset: Dataset) -> float:
    """Thickness, in depths of focus, that has to predict better than no depth."""
    return LESS if dataset.calibration.origin("C10") in FOUND else FIRST


def _with_map_defocus(tuned: Tuned) -> tuple[Tuned, ...]:
    """Return a copy with the defocus of the maps, if short single-slice trials changed it.

    In a thick crystal these prefer a plane nearer to the entrance, by up to a depth of focus, and depth is not visible
    from there.
    """
    moved = [curve for curve in tuned.curves if curve.quantity is Scanned.DEFOCUS and curve.applied]
    if not moved or tuned.dataset.calibration.origin("C10") not in FOUND:
        return ()
    dataset, _ = varied(tuned.dataset, tuned.preset, Scanned.DEFOCUS, moved[0].start)
    words = f"restarted from a defocus of {moved[0].start:.4g} Å, for a thick specimen"
    return (replace(tuned, dataset=dataset, words=(*tuned.words, words)),)


def _in_focus(tuned: Tuned) -> Tuned:
    """Return a copy with the defocus of the maps: that of the middle, within a fifth of a depth of focus or so.

    Single-slice scans move it towards the entrance, by half a depth of focus and more.
    """
    return next(iter(_with_map_defocus(tuned)), tuned)


def with_half_turn_by_depth(tuned: Tuned, context: TrialContext) -> Tuned:
    """Settle an open half turn by depth, if the preset says how thick the specimen is."""
    form, depth_A = tuned.preset.object, depth_of_focus_A(tuned.dataset)
    if (
        depth_A is None
        or form.slices == 1
        or tuned.half_turn_settled
        or tuned.atoms_at_random
        or not is_open(tuned.dataset, tuned.preset)
        or not may_be_tried(tuned.dataset, tuned.preset)
    ):
        return tuned
    depths = sum(form.slice_thickness_A) / depth_A
    halves = _half_turn_trials(tuned, context, depth_A, TRIAL_PATTERNS, tuned.preset.probe.probe_modes)
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
        halves.extend(() if halves else _half_turn_trials(tuned, context, depth_A, GATE_PATTERNS, modes))
        pairs = zip(halves, depths, strict=True)
        return [trials.settled(*depth, sweeps, SETTLED_SWEEPS) for trials, depth in pairs]

    return settled


def _half_turn_trials(
    tuned: Tuned, context: TrialContext, depth_A: float, patterns: int, modes: int | Auto, *, freed: bool = False
) -> list[DepthTrials]:
    """Trials on the middle of a scan as it is, and also under the other half turn if that is open."""
    part, preset = context.cache.central_part(tuned.dataset, patterns), tuned.preset
    preset = preset.model_copy(update={"probe_modes": modes})
    trials = [DepthTrials(part, preset, context, depth_A, freed=freed)]
    if is_open(part, preset):
        warm_start = None if context.warm_start is None else context.warm_start.half_turned()
        turned = replace(context, start=start_half_turned(context.start), warm_start=warm_start)
        under = "the other half turn, "
        trials.append(DepthTrials(half_turned(part), preset, turned, depth_A, under, freed=freed))
    return trials


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
