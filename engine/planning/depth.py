"""Depth: resolution along the beam by the aperture and by the detector, and the number of slices of a refinement."""

from __future__ import annotations

import math

from ptylive.engine.planning.detector_window import PIXEL
from ptylive.engine.planning.experiment import Experiment
from ptylive.engine.planning.figure import Rating, Row, Verdict, graded
from ptylive.engine.planning.probe_and_step import OPTICS
from ptylive.engine.refine.tuning.depth.depth_choice import slices_of_thickness
from ptylive.engine.refine.tuning.depth.depth_trials import THICKEST_A
from ptylive.schema.advice.words import length_text
from ptylive.schema.preset.object import MOST_SLICES
from ptylive.schema.units import depth_of_focus_A

FULL_WIDTH = 1.772
"""In units of wavelength / semi-angle^2: full width at half maximum of the on-axis intensity of an unaberrated probe,
sinc^2(z alpha^2 / (2 lambda)), which falls to half at 0.443 of the first zero (docs/planning.md)."""


def depth_of_field_A(wavelength_A: float, semiangle_mrad: float) -> float:
    """Return the full width at half maximum of the probe along the beam, Å: 1.77 lambda / alpha^2."""
    return FULL_WIDTH * depth_of_focus_A(wavelength_A, semiangle_mrad)


def ptychographic_depth_A(wavelength_A: float, edge_mrad: float) -> float:
    """Return wavelength / theta^2 of the detector's edge, Å; infinite without a detector around the beam.

    The Ewald sphere deviates by theta^2 / (2 lambda) from its tangent plane at the scattering angle theta. Spatial
    frequencies along the beam end there, and this is half of their period.
    """
    return depth_of_focus_A(wavelength_A, edge_mrad) if edge_mrad > 0 else math.inf


def slices_for_plan(experiment: Experiment) -> int:
    """Return the number of slices that a refinement uses for the thickness; one if that is not known."""
    if experiment.thickness_A is None:
        return 1
    return slices_of_thickness(
        experiment.thickness_A / depth_of_focus_A(experiment.wavelength_A, experiment.semiangle_mrad)
    )


def _of_aperture(experiment: Experiment) -> Rating:
    depth_A = depth_of_field_A(experiment.wavelength_A, experiment.semiangle_mrad)
    return Rating(depth_A, length_text(depth_A))


def _of_detector(experiment: Experiment) -> Rating:
    depth_A = ptychographic_depth_A(experiment.wavelength_A, experiment.half_angle_mrad)
    return Rating(depth_A, f"{length_text(depth_A)} at best" if math.isfinite(depth_A) else "none")


def _slices(experiment: Experiment) -> Rating:
    thickness_A, slices = experiment.thickness_A or 0.0, slices_for_plan(experiment)
    text = f"{slices} of {length_text(thickness_A / slices)}"
    if slices > MOST_SLICES:
        remedy = f"at most {MOST_SLICES}: give slice_distances_A to the refinement, or use a smaller semi-angle"
        return Rating(slices, text, Verdict.BAD, remedy)
    verdict = graded(good=thickness_A <= THICKEST_A)
    remedy = f"beyond {length_text(THICKEST_A)} no thickness is searched for: few electrons pass without energy loss"
    return Rating(slices, text, verdict, remedy)


ROWS = (
    Row("depth_of_field_A", "depth of field of the aperture", "Å", OPTICS, _of_aperture),
    Row("depth_resolution_A", "depth resolution by the detector", "Å", (*PIXEL, "detector_shape"), _of_detector),
    Row("slices", "slices", "", (*OPTICS, "thickness_A"), _slices),
)
