"""Choice of the half turn that held-out patterns prefer for a thick specimen, in trials that have settled.

After three sweeps in one mode, which are used to compare thicknesses, the blur of a source or incomplete convergence
may favour the other half turn: 61 Å of silicon then preferred the wrong one by 4 %, and after eight sweeps in four
modes the right one by 9 %. A half turn preferred by those trials is therefore tested in longer trials, in several
modes, which stop half way if they no longer prefer it; without a clear result the half turn is left.

Only electrons scattered more than once distinguish the two: with single scattering, a specimen looks like its complex
conjugate with the slices in reversed order. A crystal scatters into its columns again and again. For a film of light
atoms the two differ by less than the errors of the model, so it is not tested
(:mod:`~ptylive.engine.refine.tuning.optics.skewed_phase`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.half_turn import half_turned
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin
from ptylive.schema.advice.half_turn import half_turn_words

WORTH = 0.005
"""Share by which patterns must be predicted better: the sheets of a single layer of MoS2 gain 0.001."""
WORTH_OVER_MAPS = 0.05
"""The same share for a half turn that the maps settled, rightly in 84 of 87 scans (docs/theory/calibration.md): 49 Å of
gold preferred the wrong one by 0.037."""
SETTLED_SWEEPS = 8
"""Number of sweeps in trials that choose a half turn."""


def is_worth(gain: Gain, worth: float = WORTH) -> bool:
    """Whether a gain is beyond doubt, and too large to be an accident of the model."""
    return gain.certain and gain.share > worth


def with_half_turn(
    tuned: Tuned, losses: list[HeldOutLoss], settled: Callable[[int], list[HeldOutLoss]]
) -> tuple[Tuned, bool]:
    """Choose the other half turn if it predicts patterns better; return whether it does. Either result settles it.

    losses: as it is, and under the other half turn (absent if that is not open); settled: the same losses in longer
    trials after a number of sweeps, called only if the first prefer the other half turn.
    """
    if len(losses) == 1:
        return tuned, False
    by_maps = tuned.dataset.calibration.origin("rotation_deg") is Origin.ESTIMATED
    gain, worth = Gain.over(losses[0].groups, losses[1].groups), WORTH_OVER_MAPS if by_maps else WORTH
    if not is_worth(gain, worth):
        return replace(tuned, half_turn_settled=tuned.half_turn_settled or is_worth(gain.opposite)), False
    for sweeps in (SETTLED_SWEEPS // 2, SETTLED_SWEEPS):
        unturned, turned = settled(sweeps)
        gain = Gain.over(unturned.groups, turned.groups)
        if gain.opposite.certain:
            break
    if not is_worth(gain, worth):
        words = f"no half turn: longer trials do not prefer it (gain {gain})"
        decided = tuned.half_turn_settled or is_worth(gain.opposite)
        return replace(tuned, half_turn_settled=decided, words=(*tuned.words, words)), False
    dataset = half_turned(tuned.dataset)
    rotation_deg, c10_A = dataset.calibration.rotation_deg, dataset.calibration.aberrations["C10"]
    words = f"{half_turn_words(rotation_deg, c10_A)}: for a thick specimen it predicts held-out patterns"
    words += f" better, by {gain}"
    tuned = replace(tuned, half_turn=not tuned.half_turn, half_turn_settled=True, words=(*tuned.words, words))
    warm_start = None if tuned.warm_start is None else tuned.warm_start.half_turned()
    return replace(tuned, dataset=dataset, warm_start=warm_start), True
