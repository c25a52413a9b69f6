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
