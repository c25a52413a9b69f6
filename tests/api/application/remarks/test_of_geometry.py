"""Remarks on sizes given twice, and on patterns in the order of Fourier transforms."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.application.remarks.of_geometry import quartered_remarks
from ptylive.application.remarks.of_scan import remarks
from ptylive.schema import Calibration, Detector, Optics, Scan, ScanHeader


def header(**scan):
    made = Scan(shape=(4, 5), **scan)
    return ScanHeader("uid", "series", made.frames, made, Optics(energy_eV=80e3), Detector(shape=(8, 8)))


@pytest.mark.parametrize(("pixel_mrad", "told"), [(1.67, False), (3.34, True)])
def test_two_sizes_of_a_detector_pixel_that_contradict_each_other_are_told(pixel_mrad, told):
    sized = replace(header(), detector=Detector(shape=(8, 8), pixel_mrad=pixel_mrad, pixel_invA=0.04))
    said = remarks(sized, sized, Calibration())
    assert [line[:48] for line in said] == ["detector_pixel_mrad 3.34 is 0.07999 1/Å at 80 keV"[:48]] * told


@pytest.mark.parametrize(("view_A", "told"), [(2.5, False), (2.52, False), (2.0, False), (100.0, True)])
def test_a_field_of_view_that_contradicts_the_step_is_told(view_A, told):
    """Regression: the field of view of a file was ignored without a word where it also had a step."""
    sized = header(step_A=0.5, field_of_view_A=view_A)
    said = remarks(sized, sized, Calibration())
    text = (
        "field_of_view_A 100 over 5 columns is a step of 20 Å, but scan_step_A is 0.5, which is used: phases are "
        "wrong if it is; give scan_step_A"
    )
    assert said == [text] * told


def test_a_step_that_a_user_gave_is_meant():
    stated = header(step_A=0.5, field_of_view_A=100.0)
    assert remarks(stated, header(step_A=20.0, field_of_view_A=100.0), Calibration()) == []
    assert remarks(header(field_of_view_A=100.0), header(step_A=0.5, field_of_view_A=100.0), Calibration()) == []
    assert remarks(header(step_A=0.5), header(step_A=0.5), Calibration()) == []


def disc(shape=(48, 64), radius=12.0, background=1.0):
    rows, columns = np.indices(shape) - np.array(shape)[:, None, None] // 2
    return np.where(np.hypot(rows, columns) < radius, 30.0, background)


def test_patterns_in_the_order_of_fourier_transforms_are_asked_about():
    """Regression: a quarter of the disc was taken for all of it, and maps were made without a word."""
    (said,) = quartered_remarks(np.fft.ifftshift(disc()))
    assert "numpy.fft.fftshift(data, (-2, -1))" in said
    quartered = np.fft.ifftshift(disc((47, 63)))
    quartered[10, 10] = np.nan
    assert quartered_remarks(quartered) == [said]
    assert said in remarks(header(), header(), Calibration(), quartered)


@pytest.mark.parametrize(
    "pattern",
    [
        disc(),
        np.full((48, 64), 7.0),
        np.zeros((48, 64)),
        np.roll(disc(), (24, 32 + 14), (0, 1)),
        np.fft.ifftshift(disc(background=20.0)),
        np.roll(disc(), (24, 0), (0, 1)),
        np.pad(disc()[24:, 32:], ((0, 24), (0, 32)), constant_values=1.0),
        np.fft.ifftshift(disc((6, 6), 2.0)),
    ],
    ids=[
        "in the middle",
        "even",
        "empty",
        "off the corner",
        "no dark middle",
        "at two edges",
        "in one corner",
        "few pixels",
    ],
)
def test_other_patterns_are_not(pattern):
    assert quartered_remarks(pattern) == []


def side_and_shift(rng, most):
    """Shape of a detector, distances of its pixels from a point off its middle by up to ``most`` of the side, side."""
    shape = rng.integers(24, 65, 2)
    side = min(shape)
    centre = shape // 2 + rng.uniform(-most, most, 2) * side
    rows, columns = np.indices(shape) - centre[:, None, None]
    return np.hypot(rows, columns), side


def annulus(rng):
    """Bright from a radius on, at most to the corners, and falling outwards: a detector with a hole, or a wide ring."""
    distance, side = side_and_shift(rng, 0.1)
    inside = distance < rng.uniform(0.12, 0.6) * side
    return rng.poisson(np.where(inside, 0.02, np.exp(-distance / (8 * side))) * rng.uniform(20, 200)).astype(float)


def quartered(rng):
    radius = rng.uniform(0.12, 0.45)
    distance, side = side_and_shift(rng, 0.3 * radius)
    counts = rng.poisson(np.where(distance < radius * side, 1.0, 0.02) * rng.uniform(20, 200))
    return np.fft.ifftshift(counts.astype(float))


@pytest.mark.parametrize("seed", range(12))
def test_an_annulus_is_no_quartered_disc(seed):
    """Regression: a pattern with a dark middle and bright corners was always taken for one in numpy.fft's order."""
    rng = np.random.default_rng([6, seed])
    assert quartered_remarks(annulus(rng)) == []
    assert len(quartered_remarks(quartered(rng))) == 1


def test_patterns_of_many_pixels_are_told_apart_too():
    rows, columns = np.indices((300, 280)) - 141.0
    ring = np.where(np.hypot(rows, columns) > 100, 30.0, 0.0)
    assert quartered_remarks(ring) == []
    assert len(quartered_remarks(np.fft.ifftshift(30.0 - ring))) == 1
