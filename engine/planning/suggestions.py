"""Steps and defoci that give the overlap required by ptychography, at the same field and the same dose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ptylive.engine.planning.detector_window import GOOD_SHARE, window_of
from ptylive.engine.planning.experiment import Experiment
from ptylive.engine.planning.figure import number_text, percent, time_text
from ptylive.engine.planning.probe_and_step import OPTICS, defocus_for_diameter_A, diameter_of
from ptylive.schema.advice.words import length_text

OVERLAPS = (0.8, 0.7)
"""Linear overlaps. A smaller step costs time and data, a larger one convergence (docs/planning.md)."""
NEEDS = (*OPTICS, "scan_step_A")


@dataclass(frozen=True)
class Suggestion:
    """Step and defocus for an overlap; one of them is the experiment's. None for values that do not follow from it."""

    overlap: float
    scan_step_A: float
    """The longer of both; the other one changes in proportion."""
    defocus_A: float
    changes: str
    """Name of the value that changes."""
    scan_shape: tuple[int, int] | None = None
    """Number of points for the same field."""
    electrons_per_pattern: float | None = None
    """At the same dose."""
    dwell_time_us: float | None = None
    """At the same dose and current."""
    fits: bool | None = None
    """Whether the probe fills little enough of the real-space window."""

    @property
    def words(self) -> str:
        """`80 % overlap: step 1.76 Å, 59 x 59 points, 1.94 ms a pattern at the same dose`."""
        if self.changes == "defocus_A":
            parts = [f"defocus {length_text(self.defocus_A)}"]
        else:
            parts = [f"step {length_text(self.scan_step_A)}"]
            parts += [] if self.scan_shape is None else [f"{self.scan_shape[0]} x {self.scan_shape[1]} points"]
            if self.dwell_time_us is not None:
                parts.append(f"{time_text(1e-6 * self.dwell_time_us)} per pattern at the same dose")
            elif self.electrons_per_pattern is not None:
                parts.append(f"{number_text(self.electrons_per_pattern)} electrons per pattern at the same dose")
        parts += ["but the probe does not fit into the window"] if self.fits is False else []
        return f"{percent(self.overlap)} overlap: {', '.join(parts)}"

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        shape = None if self.scan_shape is None else list(self.scan_shape)
        return {**vars(self), "scan_shape": shape, "words": self.words}


def suggestions(experiment: Experiment) -> tuple[Suggestion, ...]:
    """Return for each overlap another step, and another defocus unless the probe is already wider in focus.

    Empty if optics or step are not known. The defocus keeps its sign; other aberrations are not included in it.
    """
    if experiment.lacking(NEEDS):
        return ()
    by_step = [_with_step(experiment, overlap) for overlap in OVERLAPS]
    defoci = [_with_defocus(experiment, overlap) for overlap in OVERLAPS]
    return (*by_step, *(suggestion for suggestion in defoci if suggestion is not None))


def _with_step(experiment: Experiment, overlap: float) -> Suggestion:
    diameter_A = diameter_of(experiment)
    step_A = (1 - overlap) * diameter_A
    factor = step_A / experiment.longer_step_A
    shape = electrons = dwell_us = None
    if not experiment.lacking(("scan_shape",)):
        rows, cols = (math.ceil(n / factor) for n in experiment.scan_shape)
        shape = rows, cols
    if not experiment.lacking(("beam_current_pA",)):
        electrons = experiment.electrons_per_pattern * factor**2
        dwell_us = None if experiment.beam_current_pA is None else experiment.frame_time_us * factor**2
    fits = _fits(experiment, diameter_A)
    return Suggestion(overlap, step_A, experiment.defocus_A, "scan_step_A", shape, electrons, dwell_us, fits)


def _with_defocus(experiment: Experiment, overlap: float) -> Suggestion | None:
    step_A = experiment.longer_step_A
    diameter_A = step_A / (1 - overlap)
    defocus_A = defocus_for_diameter_A(experiment.wavelength_A, experiment.semiangle_mrad, diameter_A)
    if defocus_A is None:
        return None
    signed_A = math.copysign(defocus_A, experiment.defocus_A)
    return Suggestion(overlap, step_A, signed_A, "defocus_A", fits=_fits(experiment, diameter_A))


def _fits(experiment: Experiment, diameter_A: float) -> bool | None:
    """Return whether a probe fits the window of the detector; None if that is unknown."""
    if experiment.lacking(("detector_pixel_mrad",)):
        return None
    return diameter_A < GOOD_SHARE * window_of(experiment)
