"""The probe on the specimen, and the overlap of neighbouring probes.

Diameter: the geometric disc of the aberrations plus the diffraction limit, d = 2 max |grad chi| / 2 pi + 1.22 lambda /
alpha; with defocus alone 2 |defocus| alpha + 1.22 lambda / alpha (1.22: first zero of the Airy disc, its diameter).
"""

from __future__ import annotations

import math

from ptylive.engine.planning.experiment import Experiment
from ptylive.engine.planning.figure import Rating, Row, graded, number_text, percent
from ptylive.schema.advice.words import length_text

OPTICS = ("energy_eV", "convergence_semiangle_mrad")
AIRY_DIAMETER = 1.22
GOOD_OVERLAP, LEAST_OVERLAP = 0.5, 0.3
"""Linear overlap; checks of a recorded scan (the page, ``refine --checks``) also object below the first value."""
ADVISED_OVERLAP = 0.7
"""Overlap that a remedy achieves: a convergence test of iterative ptychography found 60 % best (Bunk et al.,
Ultramicroscopy 108 (2008) 481), and step and defocus are never exactly as set."""


def diffraction_limit_A(wavelength_A: float, semiangle_mrad: float) -> float:
    """Return the diameter of the first dark ring of an unaberrated probe, Å."""
    return AIRY_DIAMETER * wavelength_A / (1e-3 * semiangle_mrad)


def probe_diameter_A(wavelength_A: float, semiangle_mrad: float, rim_shift_A: float) -> float:
    """Return the probe diameter, Å; ``rim_shift_A``: geometric disc radius, |defocus| alpha for defocus alone."""
    return 2 * rim_shift_A + diffraction_limit_A(wavelength_A, semiangle_mrad)


def linear_overlap(step_A: float, diameter_A: float) -> float:
    """Return 1 - step / diameter; below 0 neighbours do not touch."""
    return 1 - step_A / diameter_A


def areal_overlap(step_A: float, diameter_A: float) -> float:
    """Return the share of a disc covered by a disc one step away: 2 / pi (acos s - s sqrt(1 - s^2)), s = step / d."""
    ratio = min(1.0, step_A / diameter_A)
    return 2 / math.pi * (math.acos(ratio) - ratio * math.sqrt(1 - ratio * ratio))


def defocus_for_diameter_A(wavelength_A: float, semiangle_mrad: float, diameter_A: float) -> float | None:
    """Return the defocus, Å, at which an otherwise unaberrated probe has that diameter; None if wider in focus."""
    left_A = diameter_A - diffraction_limit_A(wavelength_A, semiangle_mrad)
    return left_A / (2e-3 * semiangle_mrad) if left_A >= 0 else None


def diameter_of(experiment: Experiment, below_A: float = 0.0) -> float:
    """Return the diameter of an experiment's probe, Å, at the specimen's entrance or below it."""
    shift_A = experiment.probe(below_A).rim_shift_A
    return probe_diameter_A(experiment.wavelength_A, experiment.semiangle_mrad, shift_A)


def _wavelength(experiment: Experiment) -> Rating:
    return Rating(experiment.wavelength_A, f"{experiment.wavelength_A:.5f} Å")


def _diameter(experiment: Experiment) -> Rating:
    diameter_A = diameter_of(experiment)
    return Rating(diameter_A, f"{length_text(diameter_A)} at a defocus of {length_text(experiment.defocus_A)}")


def _overlap(experiment: Experiment) -> Rating:
    diameter_A, step_A = diameter_of(experiment), experiment.longer_step_A
    share = linear_overlap(step_A, diameter_A)
    verdict = graded(good=share >= GOOD_OVERLAP, bad=share < LEAST_OVERLAP)
    return Rating(share, percent(share) if share >= 0 else "none", verdict, _more_overlap(experiment))


def _more_overlap(experiment: Experiment) -> str:
    """Return which step, or which defocus, gives the advised overlap."""
    diameter_A, step_A = diameter_of(experiment), experiment.longer_step_A
    text = f"{percent(ADVISED_OVERLAP)} with a step of {length_text((1 - ADVISED_OVERLAP) * diameter_A)}"
    wide_A = step_A / (1 - ADVISED_OVERLAP)
    defocus_A = defocus_for_diameter_A(experiment.wavelength_A, experiment.semiangle_mrad, wide_A)
    return text if defocus_A is None else f"{text}, or a defocus of {length_text(defocus_A)}"


def _areal(experiment: Experiment) -> Rating:
    share = areal_overlap(experiment.longer_step_A, diameter_of(experiment))
    return Rating(share, percent(share))


def _field(experiment: Experiment) -> Rating:
    rows, cols = (n * step for n, step in zip(experiment.scan_shape, experiment.steps_A, strict=True))
    return Rating(cols, f"{length_text(rows)} x {length_text(cols)}")


def _points(experiment: Experiment) -> Rating:
    """Count the scan points under one probe: how often each part of the specimen is seen."""
    points = math.pi / 4 * diameter_of(experiment) ** 2 / experiment.cell_area_A2
    return Rating(points, number_text(points))


ROWS = (
    Row("wavelength_A", "electron wavelength", "Å", ("energy_eV",), _wavelength),
    Row("probe_diameter_A", "probe diameter", "Å", OPTICS, _diameter),
    Row("overlap", "overlap of neighbouring probes", "", (*OPTICS, "scan_step_A"), _overlap),
    Row("areal_overlap", "overlap of their areas", "", (*OPTICS, "scan_step_A"), _areal),
    Row("points_per_probe", "points under one probe", "", (*OPTICS, "scan_step_A"), _points),
    Row("field_of_view_A", "field of view", "Å", ("scan_shape", "scan_step_A"), _field),
)
