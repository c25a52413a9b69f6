"""The history of a refinement, with one entry per epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ptylive.engine.refine.results.refinement_result import Phase


@dataclass(frozen=True)
class Log:
    """Loss per pattern, phase and seconds of each finished epoch; evaluations counts passes over all the data."""

    losses: tuple[float, ...] = ()
    phases: tuple[Phase, ...] = ()
    seconds: tuple[float, ...] = ()
    evaluations: float = 0.0
    held: tuple[tuple[float, ...], ...] = ()
    """Loss per pattern of each group of held-out patterns, after every epoch; empty if none are held out."""
    spared: int = 0
    """Number of epochs left out at the start because an earlier refinement made them."""

    def with_epoch(self, loss: float, phase: Phase, seconds: float, held: tuple[float, ...] = ()) -> Log:
        """Return a copy with one more finished epoch."""
        return replace(
            self,
            losses=(*self.losses, loss),
            phases=(*self.phases, phase),
            seconds=(*self.seconds, seconds),
            held=(*self.held, held) if held else self.held,
        )

    def with_evaluations(self, more: float) -> Log:
        """Return a copy with ``more`` passes over the data added."""
        return replace(self, evaluations=self.evaluations + more)

    @property
    def total_seconds(self) -> float:
        """Time spent in finished epochs."""
        return sum(self.seconds)
