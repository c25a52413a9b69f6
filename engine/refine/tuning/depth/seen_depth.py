"""Whether a specimen has depth: two slices a depth of focus apart are compared with adjacent ones, and half as far.

Crystals of more than a depth of focus may show it in many slices only, and atoms at random only in longer trials.
"""

from __future__ import annotations

from dataclasses import replace

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.depth_trials import (
    COARSE_SLICES,
    FIRST,
    GATE_PATTERNS,
    LESS,
    NOTHING,
    THICKEST_A,
    DepthTrials,
    half_turn_trials,
)
from ptylive.engine.refine.tuning.half_turn_choice import SETTLED_SWEEPS, is_worth
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import modes_for_several
from ptylive.engine.refine.tuning.parameter_search import present_value, varied
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.words import significant
from ptylive.schema.calibration import FOUND
from ptylive.schema.preset.kinds import Auto

CLEAR = 0.02
"""Gain by more depth above which no blur of the probe explains it: particles, in one mode, reach 0.005."""
DEEP, DEEP_GAIN = (2.0, 4.0), 0.05
"""Thicknesses, in depths of focus, one of which has to show in many slices if two show none, and the least gain: 9 to
22 % in crystals of more than a depth of focus (12 % from four on in one that had 4 % from two), while sheets and
particles lose from one depth of focus to two, or gain 1.5 % at most."""
FAR = 0.5
"""Depths of focus by which single-slice trials correct the focus; a larger shift is due to depth: 0.6 to 0.8 in
crystals of 60 Å, 0.2 in one of 100."""


def depth_seen(tuned: Tuned, context: TrialContext, depth_A: float) -> tuple[Tuned | None, str]:
    """Return the state from which depth is seen (None: from none), and in words why.

    Maps that were in focus found the middle of a crystal, and short single-slice trials move from there to a plane
    nearer to its entrance. If they moved far, the earlier focus is therefore tried first.
    """
    thin = _without_depth(tuned, context, depth_A, 1)
    why = ""
    refocused = with_map_defocus(tuned)
    far = any(abs(focus_A(candidate) - focus_A(tuned)) > FAR * depth_A for candidate in refocused)
    for base in (*refocused, tuned) if far else (tuned, *refocused):
        shown, why = _shown(tuned, base, thin, context, depth_A)
        if shown:
            return base, why
    if tuned.atoms_at_random:
        return _shown_when_settled(tuned, why, context, depth_A)
    return _shown_below_given(tuned, why, thin, depth_A)


def _shown_below_given(tuned: Tuned, why: str, thin: DepthTrials, depth_A: float) -> tuple[Tuned | None, str]:
    """Whether half a depth of focus shows below a given focus, though a whole one does not, or not better.

    The middle of a crystal of half a depth of focus lies a quarter of one below its entrance surface, to which a given
    focus refers; a single slice there is far worse than two.
    """
    if _required_depth(tuned.dataset) < FIRST:
        return None, why
    gain = thin.gain_of_half(thin)
    if not gain.certain or gain.share <= CLEAR:
        return None, why
    depth = f"a depth of {significant(LESS * depth_A, 3)} Å below the given focus"
    text = f"{depth} already predicts held-out patterns better"
    return tuned, f"{text}, by {gain}"


def _shown(tuned: Tuned, base: Tuned, thin: DepthTrials, context: TrialContext, depth_A: float) -> tuple[bool, str]:
    """Whether depth is seen from ``base``, and in words why.

    One mode mistakes the blur of a source for depth, and so shows depth first: if it shows none, there is no depth, at
    a quarter of the time. Depth that it shows and that no blur explains must persist with as many modes as the run
    starts with. From a focus other than that of the single slice (``thin``), a whole depth of focus is required, in
    trials to their end: one slice has converged further after one sweep, and half a depth of focus may not suffice.
    """
    depths = _required_depth(tuned.dataset) if base is tuned else FIRST
    least, whole = (f"a depth of {significant(number * depth_A, 3)} Å" for number in (depths, FIRST))
    no_better = "would not predict held-out patterns better"
    modes = tuned.preset.probe.probe_modes
    halves = half_turn_trials(base, context, depth_A, GATE_PATTERNS, 1)
    gains = [trials.gain(thin, depths, hurried=base is tuned) for trials in halves]
    if not any(is_worth(gain) for gain in gains):
        return False, f"{least} {no_better} (gain {gains[0]})"
    half = max(range(len(gains)), key=lambda k: gains[k].share)
    gain, trials = gains[half], halves[half]
    more = trials.gain_of_more()
    if modes != 1 and not (more.certain and more.share > CLEAR):
        thin = _without_depth(tuned, context, depth_A, modes)
        trials = half_turn_trials(base, context, depth_A, GATE_PATTERNS, modes)[half]
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


def depth_in_many_slices(tuned: Tuned, why: str, context: TrialContext, depth_A: float) -> tuple[Tuned | None, str]:
    """Likewise for specimens so thick that two slices are too few for them; ``why``: what those two have shown.

    The gain has to be more than blur can explain, and to grow beyond one depth of focus.
    """
    halves = half_turn_trials(tuned, context, depth_A, GATE_PATTERNS, 1)
    for depths in (multiple for multiple in DEEP if multiple * depth_A <= THICKEST_A):
        for trials in halves:
            plane, less, whole = (trials.loss(tried, COARSE_SLICES) for tried in (NOTHING, depths / 2, depths))
            gain, more = Gain.over(plane.groups, whole.groups), Gain.over(less.groups, whole.groups)
            if gain.certain and gain.share > DEEP_GAIN and more.certain and more.share > CLEAR:
                text = f"a depth of {significant(depths * depth_A, 3)} Å already predicts held-out patterns better"
                return tuned, f"{text} in {COARSE_SLICES} slices, by {gain}"
    return None, why


def _shown_when_settled(tuned: Tuned, why: str, context: TrialContext, depth_A: float) -> tuple[Tuned | None, str]:
    """The same test for atoms at random, of which short trials show nothing.

    Each slice of a film is a different image, so several slices converge slowly: after three sweeps two slices may
    predict worse than one plane, and after eight better by 1 to 20 %. A film thinner than three quarters of a depth of
    focus gains by slices too, so half a depth of focus need not be worse than a whole.
    """
    trials = half_turn_trials(tuned, context, depth_A, GATE_PATTERNS, modes_for_several(tuned.preset))[0]
    plane, *separated = (trials.settled(depths, 2, SETTLED_SWEEPS, SETTLED_SWEEPS) for depths in (NOTHING, LESS, FIRST))
    gains = [Gain.over(plane.groups, item.groups) for item in separated]
    gain, depths = max(zip(gains, (LESS, FIRST), strict=True), key=lambda item: item[0].share)
    if not is_worth(gain):
        return None, why
    text = f"a depth of {significant(depths * depth_A, 3)} Å already predicts held-out patterns better in longer trials"
    return tuned, f"{text}, by {gain}"


def _without_depth(tuned: Tuned, context: TrialContext, depth_A: float, modes: int | Auto) -> DepthTrials:
    """Trials to compare with: for two adjacent slices both half turns are the same."""
    return half_turn_trials(tuned, context, depth_A, GATE_PATTERNS, modes)[0]


def _required_depth(dataset: Dataset) -> float:
    """Thickness, in depths of focus, that has to predict better than no depth."""
    return LESS if dataset.calibration.origin("C10") in FOUND else FIRST


def with_map_defocus(tuned: Tuned) -> tuple[Tuned, ...]:
    """Return a copy with the defocus of the maps, if short single-slice trials changed it.

    In a thick crystal these prefer a plane nearer to the entrance, by up to a depth of focus, and depth is not visible
    from there.
    """
    moved = [curve for curve in tuned.curves if curve.quantity is Scanned.DEFOCUS and curve.applied]
    if not moved or tuned.dataset.calibration.origin("C10") not in FOUND:
        return ()
    dataset, _ = varied(tuned.dataset, tuned.preset, Scanned.DEFOCUS, moved[0].start)
    words = f"restarted from a defocus of {significant(moved[0].start, 4)} Å, for a thick specimen"
    return (replace(tuned, dataset=dataset, words=(*tuned.words, words)),)


def focus_A(tuned: Tuned) -> float:
    """Defocus in Å that trials start from."""
    return present_value(tuned.dataset, tuned.preset, Scanned.DEFOCUS)
