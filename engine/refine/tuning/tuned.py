"""What the steps of tuning hand on to each other and to the run: data set and preset, with all that trials found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.results.curve import Curve
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema.preset import Preset


@dataclass(frozen=True)
class Tuned:
    """Data set and preset with the findings of short trials, and how they were found."""

    dataset: Dataset
    preset: Preset
    curves: tuple[Curve, ...] = ()
    words: tuple[str, ...] = ()
    """Further remarks on the findings."""
    tilt_found: bool = False
    """Whether the tilt inside a specimen of several slices was found."""
    half_turn: bool = False
    """Whether the data set is under the other half turn than the one it was given with."""
    half_turn_settled: bool = False
    """Whether the half turn is no longer in question."""
    atoms_at_random: bool = False
    """Whether the specimen is known not to be a lattice."""
    skewed_by: float | None = None
    """Standard deviations by which the phase of a trial is skewed; None if it was not measured."""
    orientation: Orientation | None = None
    """Orientation that was found, relative to the data set as given; the half turn is applied after it."""
    warm_start: WarmStart | None = None
    """Start of the run, if trials found something better than an empty object."""
    scan_drifts: tuple[Drift | None, ...] = ()
    """Drift of each of several scans; None where it cannot be looked for."""

    def with_settings(self, words: str, **settings: Any) -> Tuned:
        """Return a copy with these settings stated, so that later steps do not try them again, and why in words."""
        return replace(self, preset=self.preset.model_copy(update=settings), words=(*self.words, words))
