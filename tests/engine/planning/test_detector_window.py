"""Sampling: relations of the discrete Fourier transform itself, and the limits of the verdicts."""

import math

import numpy as np
import pytest
from planning import LAMBDA_A, experiment

from ptylive.engine.planning.detector_window import (
    GOOD_SAMPLING,
    LEAST_SAMPLING,
    bright_field_pixels,
    finest_period_A,
    window_of,
    window_pixels,
)
from ptylive.engine.planning.figure import Verdict
from ptylive.engine.planning.plan import Plan


def test_window_and_pixel_are_those_of_the_fourier_transform():
    figures = Plan.of(experiment())
    k = np.fft.fftshift(np.fft.fftfreq(256, figures["object_pixel_A"].value))
    assert np.diff(k)[0] * LAMBDA_A * 1e3 == pytest.approx(0.8)
    assert figures["window_A"].value == pytest.approx(256 * figures["object_pixel_A"].value)
    assert -k[0] * LAMBDA_A * 1e3 == pytest.approx(figures["detector_edge_mrad"].value)


def test_a_pixel_in_reciprocal_angstrom_is_the_same():
    frequency = 0.8e-3 / LAMBDA_A
    same = experiment(detector_pixel_mrad=None, detector_pixel_invA=frequency)
    assert window_of(same) == pytest.approx(window_of(experiment()))
    assert "detector_pixel_mrad" in experiment(energy_eV=None).known
    assert (
        "detector_pixel_mrad" not in experiment(energy_eV=None, detector_pixel_mrad=None, detector_pixel_invA=1).known
    )


def test_the_model_takes_a_fast_window():
    assert [window_pixels(experiment(pixels)) for pixels in ((256, 256), (50, 60), (515, 500))] == [256, 64, 516]


@pytest.mark.parametrize(
    ("defocus_A", "verdict"), [(790.0, Verdict.GOOD), (805.0, Verdict.QUESTIONED), (1180.0, Verdict.BAD)]
)
def test_the_window_holds_the_probe(defocus_A, verdict):
    """The probe fills 0.7 of 52.2 Å at 798 Å of defocus, and all of it at 1164 Å."""
    figure = Plan.of(experiment(defocus_A=defocus_A, thickness_A=None))["window_share"]
    assert figure.verdict is verdict
    assert verdict is Verdict.GOOD or figure.remedy.startswith("a defocus of at most 79.8 nm, or detector pixels of 0.")


def test_the_most_defocus_is_the_one_that_just_fits():
    most = Plan.of(experiment())["most_defocus_A"].value
    assert Plan.of(experiment(defocus_A=most, thickness_A=None))["window_share"].value == pytest.approx(0.7)
    none = Plan.of(experiment(detector_pixel_mrad=20.0))["most_defocus_A"]
    assert (none.verdict, none.text) == (Verdict.BAD, "none: too wide in focus")


def test_the_exit_of_a_thick_specimen_counts_too():
    """Underfocus converges inside the specimen; overfocus, or a specimen thicker than twice that, only widens it."""
    share = lambda **values: Plan.of(experiment(**values))["window_share"].value  # noqa: E731
    assert share(thickness_A=200.0) == share(thickness_A=None)
    assert share(thickness_A=450.0) == pytest.approx(share(defocus_A=300.0, thickness_A=None))
    assert share(defocus_A=-150.0, thickness_A=200.0) == pytest.approx(share(defocus_A=-350.0, thickness_A=None))


def test_the_remedy_does_not_blame_a_defocus_that_fits():
    figure = Plan.of(experiment(thickness_A=1200.0))["window_share"]
    assert figure.verdict is Verdict.QUESTIONED
    assert figure.remedy.startswith("detector pixels of 0.")


def test_sampling_counts_intensities_and_unknowns():
    """Each scan point has N² intensities and step² / dx² pixels of two real numbers; the ratio is S² / 2."""
    figures = Plan.of(experiment(scan_step_A=7.0))
    unknowns = 2 * (7.0 / figures["object_pixel_A"].value) ** 2
    assert figures["sampling"].value ** 2 / 2 == pytest.approx(256**2 / unknowns)
    assert LEAST_SAMPLING**2 / 2 == pytest.approx(1.0)
    assert GOOD_SAMPLING == 2.0


@pytest.mark.parametrize(("step_A", "verdict"), [(26, Verdict.GOOD), (26.2, Verdict.QUESTIONED), (37, Verdict.BAD)])
def test_verdicts_on_the_sampling(step_A, verdict):
    """The limits are the window of 52.2 Å divided by 2 and by the root of 2."""
    assert Plan.of(experiment(scan_step_A=step_A))["sampling"].verdict is verdict


@pytest.mark.parametrize(("pixel_mrad", "verdict"), [(4.7, Verdict.GOOD), (4.8, Verdict.QUESTIONED), (22, Verdict.BAD)])
def test_the_disc_has_pixels(pixel_mrad, verdict):
    """The limit of 64 pixels is at 4.74 mrad; a radius below one pixel is no disc."""
    assert Plan.of(experiment(detector_pixel_mrad=pixel_mrad))["bright_field_pixels"].verdict is verdict


def test_pixels_of_the_disc_are_those_that_are_counted():
    row, col = np.indices((256, 256)) - 127.5
    counted = np.count_nonzero(np.hypot(row, col) * 0.8 < 21.4)
    rim = 2 * math.pi * 21.4 / 0.8
    assert bright_field_pixels(experiment()) == pytest.approx(counted, abs=rim)


@pytest.mark.parametrize(("pixels", "verdict"), [(107, Verdict.GOOD), (106, Verdict.QUESTIONED), (53, Verdict.BAD)])
def test_the_edge_of_the_detector(pixels, verdict):
    """107 pixels of 0.8 mrad reach two semi-angles of 21.4 mrad, 53.5 pixels one."""
    figure = Plan.of(experiment((pixels, 256)))["detector_edge_mrad"]
    assert figure.verdict is verdict
    assert ("cuts the bright field" in figure.text) is (verdict is Verdict.BAD)


def test_a_central_beam_on_a_pixel_reaches_the_edge():
    """Regression: the default scan of `simulate` was questioned, with 49.2 mrad where 50.0 were required."""
    shape, alpha = (64, 64), 25.0
    on_pixel = experiment(shape, beam_center_px=(32, 32), convergence_semiangle_mrad=alpha, detector_pixel_mrad=1.5625)
    assert Plan.of(on_pixel)["detector_edge_mrad"].verdict is Verdict.GOOD
    beside = experiment(shape, beam_center_px=(33, 32), convergence_semiangle_mrad=alpha, detector_pixel_mrad=1.5625)
    assert Plan.of(beside)["detector_edge_mrad"].verdict is Verdict.QUESTIONED


def test_a_beam_off_the_middle_is_nearer_to_an_edge():
    assert experiment(beam_center_px=(127.5, 99.5)).half_angle_mrad == pytest.approx(100 * 0.8)
    beside = experiment(beam_center_px=(127.5, 400.0))
    assert (beside.half_angle_mrad, finest_period_A(beside)) == (0.0, math.inf)
    assert Plan.of(beside)["finest_period_A"].text.startswith("none")


def test_the_finest_period_is_two_pixels():
    figures = Plan.of(experiment())
    assert figures["finest_period_A"].value == pytest.approx(2 * figures["object_pixel_A"].value)


def test_live_maps_end_at_abbe_s_limit():
    """0.98 Å at 80 keV and 21.4 mrad, as in Jiang et al., Nature 559 (2018) 343."""
    assert Plan.of(experiment())["live_period_A"].value == pytest.approx(0.98, abs=0.005)
