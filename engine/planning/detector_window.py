"""Detector and sampling: real-space meaning of a pixel and of the detector's edge, and whether the probe fits.

A detector of N pixels of angle p samples real space by dx = lambda / (N p) over a window of lambda / p: the discrete
Fourier transform by which the refinement models patterns.
"""

from __future__ import annotations

import math

from ptylive.engine.backend.multislice.fast_sizes import padded_size
from ptylive.engine.live.plan import LEAST_BINS
from ptylive.engine.planning.experiment import Experiment
from ptylive.engine.planning.figure import Rating, Row, graded, number_text, percent
from ptylive.engine.planning.probe_and_step import OPTICS, defocus_for_diameter_A, diameter_of
from ptylive.schema.advice.words import length_text, plain_number

PIXEL = ("energy_eV", "detector_pixel_mrad")
GOOD_SHARE = 0.7
"""Share of the window that the probe may fill: its tails, and what the specimen scatters out of it, need the rest."""
GOOD_SAMPLING, LEAST_SAMPLING = 2.0, math.sqrt(2.0)
"""Limits on S = lambda / (p step): from 2 on the step may replace the width of the window in Nyquist's condition for
intensities, pixel <= lambda / (2 step) (Edo et al., Phys. Rev. A 87 (2013) 053850; Batey et al., Phys. Rev. A 89 (2014)
043812). There are S^2 / 2 intensities for each real number of the object: below sqrt 2 fewer than unknowns."""
LIVE_REACH = 2.0
"""In semi-angles: at 2 alpha / lambda the transfer of every live map ends."""
SAME = 1e-6
"""Relative difference below which angles are equal."""
NO_DISC_PX = 1.0
"""Radius below which a bright field is not a disc."""


def window_of(experiment: Experiment) -> float:
    """Return the width, Å, of the real-space window of a pattern."""
    return experiment.wavelength_A / (1e-3 * experiment.pixel_mrad)


def window_pixels(experiment: Experiment) -> int:
    """Return the number of pixels along a side of the model's window."""
    return padded_size(max(experiment.detector_shape))


def sampling(window_A: float, step_A: float) -> float:
    """Return S = window / step = lambda / (pixel step)."""
    return window_A / step_A


def widest_probe_A(experiment: Experiment) -> float:
    """Return the largest diameter of the probe inside the specimen, Å: at its entrance or at its exit."""
    return max(diameter_of(experiment), diameter_of(experiment, experiment.thickness_A or 0.0))


def _pixel(experiment: Experiment) -> Rating:
    size_A = window_of(experiment) / max(experiment.detector_shape)
    return Rating(size_A, length_text(size_A))


def _window(experiment: Experiment) -> Rating:
    return Rating(window_of(experiment), length_text(window_of(experiment)))


def _fits(experiment: Experiment) -> Rating:
    window_A, widest_A = window_of(experiment), widest_probe_A(experiment)
    share = widest_A / window_A
    verdict = graded(good=share < GOOD_SHARE, bad=share >= 1)
    finer_mrad = experiment.pixel_mrad * GOOD_SHARE / share
    fitting_A = _fitting_defocus_A(experiment)
    too_much = fitting_A is not None and abs(experiment.defocus_A) > fitting_A
    alternative = f"a defocus of at most {length_text(fitting_A)}, or " if too_much and fitting_A is not None else ""
    return Rating(share, percent(share), verdict, f"{alternative}detector pixels of {number_text(finer_mrad)} mrad")


def _fitting_defocus_A(experiment: Experiment) -> float | None:
    """Return the largest defocus, Å, at which a probe without other aberrations fits; None if not even in focus."""
    wide_A = GOOD_SHARE * window_of(experiment)
    return defocus_for_diameter_A(experiment.wavelength_A, experiment.semiangle_mrad, wide_A)


def _most_defocus(experiment: Experiment) -> Rating:
    fitting_A = _fitting_defocus_A(experiment)
    if fitting_A is None:
        remedy = "smaller detector pixels, or a larger semi-angle"
        return Rating(math.nan, "none: too wide in focus", graded(good=False, bad=True), remedy)
    return Rating(fitting_A, length_text(fitting_A))


def _sampling(experiment: Experiment) -> Rating:
    step_A = experiment.longer_step_A
    samples = sampling(window_of(experiment), step_A)
    verdict = graded(good=samples >= GOOD_SAMPLING, bad=samples < LEAST_SAMPLING)
    remedy = f"a step below {length_text(window_of(experiment) / GOOD_SAMPLING)}, or smaller detector pixels"
    return Rating(samples, number_text(samples), verdict, remedy)


def bright_field_pixels(experiment: Experiment) -> float:
    """Return the number of pixels covered by the disc on a large enough detector: pi (alpha / p)^2."""
    return math.pi * (experiment.semiangle_mrad / experiment.pixel_mrad) ** 2


def _bright(experiment: Experiment) -> Rating:
    pixels = bright_field_pixels(experiment)
    radius_px = experiment.semiangle_mrad / experiment.pixel_mrad
    verdict = graded(good=pixels >= LEAST_BINS, bad=radius_px < NO_DISC_PX)
    remedy = f"a longer camera length: live maps need {LEAST_BINS} bins in the disc"
    return Rating(pixels, f"{number_text(pixels)}, radius {number_text(radius_px)} px", verdict, remedy)


def _edge(experiment: Experiment) -> Rating:
    edge_mrad, alpha_mrad = experiment.half_angle_mrad, experiment.semiangle_mrad
    share = edge_mrad / alpha_mrad
    half_px = 0.5 * min(experiment.detector_shape)  # a central beam on a pixel is half a pixel nearer to one edge
    reached_mrad = min(edge_mrad + 0.5 * experiment.pixel_mrad, half_px * experiment.pixel_mrad)
    enough = reached_mrad > LIVE_REACH * alpha_mrad * (1 - SAME)
    verdict = graded(good=enough, bad=share < 1)
    cut = "cuts the bright field" if share < 1 else f"{plain_number(share, 0.1)} semi-angles"
    remedy = f"a shorter camera length, with the edge at {plain_number(LIVE_REACH * alpha_mrad, 0.1)} mrad or more"
    if share >= 1:
        remedy = f"live maps resolve finer detail than the refinement's grid; {remedy}"
    return Rating(edge_mrad, f"{plain_number(edge_mrad, 0.1)} mrad, {cut}", verdict, remedy)


def _finest(experiment: Experiment) -> Rating:
    period_A = finest_period_A(experiment)
    return Rating(period_A, length_text(period_A) if math.isfinite(period_A) else "none: no detector around the beam")


def _live_finest(experiment: Experiment) -> Rating:
    period_A = experiment.wavelength_A / (LIVE_REACH * 1e-3 * experiment.semiangle_mrad)
    return Rating(period_A, length_text(period_A))


def finest_period_A(experiment: Experiment) -> float:
    """Return the period, Å, of the finest detail that reaches the detector's edge: lambda / edge."""
    edge_mrad = experiment.half_angle_mrad
    return experiment.wavelength_A / (1e-3 * edge_mrad) if edge_mrad > 0 else math.inf


_ANGLES = (*OPTICS, "detector_pixel_mrad")
_EDGE = (*PIXEL, "detector_shape")
ROWS = (
    Row("object_pixel_A", "real-space pixel", "Å", _EDGE, _pixel),
    Row("window_A", "real-space window", "Å", PIXEL, _window),
    Row("window_share", "window filled by the probe", "", _ANGLES, _fits),
    Row("most_defocus_A", "largest defocus that fits", "Å", _ANGLES, _most_defocus),
    Row("sampling", "ptychographic sampling S", "", (*PIXEL, "scan_step_A"), _sampling),
    Row("bright_field_pixels", "bright-field pixels", "px", _ANGLES, _bright),
    Row("detector_edge_mrad", "extent of the detector", "mrad", (*_ANGLES, "detector_shape"), _edge),
    Row("finest_period_A", "finest period at the detector's edge", "Å", _EDGE, _finest),
    Row("live_period_A", "finest period of live maps", "Å", OPTICS, _live_finest),
)
