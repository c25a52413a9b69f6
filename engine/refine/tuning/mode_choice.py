"""Number of probe modes, chosen by the loss on held-out patterns.

Modes of a source that is not there blur what a coherent probe resolves, and one mode cannot describe a source that is.
Both are trials of two sweeps; the held-out loss of a coherent scan rises by 1 % and more with four modes, that of scans
with a source of 0.25 to 0.35 Å falls, or rises by a fraction of that.
"""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.measurement import Observation
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, TrialContext, central_part, held_out_loss
from ptylive.schema.preset import Preset

TRIAL_PATTERNS, LEAST_PATTERNS = 1600, 256
TRIAL_SWEEPS = 2
CERTAIN = 0.005
"""Share by which several modes must predict worse before one is taken: several do less harm where they are too many."""


@dataclass(frozen=True)
class ModeChoice:
    """How well one mode and several predict held-out patterns."""

    several: int
    one_loss: HeldOutLoss
    several_loss: HeldOutLoss

    @property
    def modes(self) -> int:
        """The number of modes to use: both halves of the held-out patterns must speak for one."""
        pairs = zip(self.one_loss.halves, self.several_loss.halves, strict=True)
        coherent = all(several - one > CERTAIN * abs(one) for one, several in pairs)
        return 1 if coherent else self.several

    @property
    def reason(self) -> str:
        """The choice in words."""
        rise = 100 * (self.several_loss.mean / self.one_loss.mean - 1)
        return f"{self.modes} probe modes: held-out loss {rise:+.2g} % with {self.several} instead of 1"


def choose_modes(dataset: Dataset, preset: Preset, context: TrialContext) -> ModeChoice | None:
    """The modes of a preset that leaves them open, by short trials on the middle of the scan; None: as it is."""
    open_ = isinstance(preset.probe_modes, str) and preset.update_obj and preset.recon_type == "far_field"
    if not open_ or dataset.masks is not None or len(dataset.patterns) < LEAST_PATTERNS:
        return None
    part = central_part(dataset, TRIAL_PATTERNS)
    quick = preset.model_copy(update={"refine_drift": False, "update_probe_pos": False})
    seen = Observation.of(part, quick)
    several = seen.strategy(seen.statistics(), has_start=context.start is not None).coherence.modes
    if several == 1:
        return None
    losses = []
    for modes in (1, several):
        context.pause()
        settings = quick.model_copy(update={"probe_modes": modes})
        losses.append(held_out_loss(part, settings, TRIAL_SWEEPS, context, seen))
    return ModeChoice(several, losses[0], losses[1])


def with_chosen_modes(dataset: Dataset, preset: Preset, context: TrialContext, given: int | None) -> tuple[Preset, str]:
    """The preset with its probe modes decided, and why; ``given``: those of an earlier run that is gone on from."""
    if given is not None:
        return preset.model_copy(update={"probe_modes": given} if isinstance(preset.probe_modes, str) else {}), ""
    choice = choose_modes(dataset, preset, context)
    if choice is None:
        return preset, ""
    return preset.model_copy(update={"probe_modes": choice.modes}), choice.reason
