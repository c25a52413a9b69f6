"""Electrons: how many each pattern has, and how many each Å² of specimen receives."""

from __future__ import annotations

import math

from ptylive.engine.planning.detector_window import bright_field_pixels
from ptylive.engine.planning.experiment import Experiment
from ptylive.engine.planning.figure import Rating, Row, graded, number_text
from ptylive.engine.planning.probe_and_step import OPTICS
from ptylive.engine.refine.problem.strategy import LOW_DOSE_E_PER_A2, MAP_DOSE_E_PER_A2
from ptylive.schema.advice.words import dose_text

CURRENT = ("beam_current_pA",)
CLIPPING_SIGMAS = 5.0
"""Standard deviations above the mean that a pixel must be able to count: exceeded once in 3 million Poisson numbers."""


def dose_of(experiment: Experiment) -> float:
    """Return the electrons per Å² of specimen, summed over all patterns of a point."""
    return experiment.electrons_per_pattern * experiment.header.scan.repeats / experiment.cell_area_A2


def counts_per_pixel(experiment: Experiment) -> float:
    """Return the mean electrons per pixel of the bright field, assuming that all electrons are in it."""
    return experiment.electrons_per_pattern / bright_field_pixels(experiment)


def _electrons(experiment: Experiment) -> Rating:
    return Rating(experiment.electrons_per_pattern, number_text(experiment.electrons_per_pattern))


def _dose(experiment: Experiment) -> Rating:
    dose = dose_of(experiment)
    good = dose >= MAP_DOSE_E_PER_A2
    refined = "the bright field only" if dose < LOW_DOSE_E_PER_A2 else "little beyond the live maps"
    limit = LOW_DOSE_E_PER_A2 if dose < LOW_DOSE_E_PER_A2 else MAP_DOSE_E_PER_A2
    remedy = f"as much as the specimen tolerates: the refinement may use {refined} below {dose_text(limit)}"
    return Rating(dose, dose_text(dose), graded(good=good), remedy)


def _per_pixel(experiment: Experiment) -> Rating:
    mean = counts_per_pixel(experiment)
    detector = experiment.header.detector
    text = f"{number_text(mean)} in the bright field"
    if detector.saturation_value is None:
        return Rating(mean, text)
    gain = detector.counts_per_electron or 1.0
    most = gain * (mean + CLIPPING_SIGMAS * math.sqrt(mean))
    verdict = graded(good=most <= detector.saturation_value, bad=gain * mean >= detector.saturation_value)
    remedy = f"pixels saturate at {detector.saturation_value:g} counts: less current, shorter dwell or a longer camera"
    return Rating(mean, text, verdict, f"{remedy} length")


ROWS = (
    Row("electrons_per_pattern", "electrons per pattern", "", CURRENT, _electrons),
    Row("dose_e_per_A2", "dose", "e/Å²", (*CURRENT, "scan_step_A"), _dose),
    Row("electrons_per_pixel", "electrons per pixel", "", (*CURRENT, *OPTICS, "detector_pixel_mrad"), _per_pixel),
)
