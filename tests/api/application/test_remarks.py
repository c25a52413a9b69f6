"""Remarks: implausible values that a sender told are asked about, those that a user gave are meant."""

from dataclasses import replace

import pytest

from ptylive.application.remarks import remarks
from ptylive.schema import Calibration, Detector, Optics, Origin, Quantity, Scan, ScanHeader


def header(energy_eV=80e3):
    scan = Scan(shape=(4, 5), step_A=0.5)
    return ScanHeader("uid", "series", scan.frames, scan, Optics(energy_eV=energy_eV), Detector(shape=(8, 8)))


def with_masked(count):
    return Calibration().having(masked_counts=Quantity(count, Origin.ESTIMATED))


def test_plausible_values_are_not_asked_about():
    assert remarks(header(), header(), Calibration()) == []


def test_what_a_sender_told_is_asked_about_and_what_a_user_gave_is_not():
    (asked,) = remarks(header(80.0), header(80.0), Calibration())
    assert asked.startswith("is this right? ")
    assert "80" in asked
    assert remarks(header(80.0), header(80e3), Calibration()) == [], "a user has put it right"
    assert remarks(replace(header(), optics=Optics()), header(80.0), Calibration()) == [], (
        "a user has given it, and means it"
    )


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, []),
        (1, ["1 count is no number up to 1e+12: taken as 0"]),
        (7, ["7 counts are no numbers up to 1e+12: taken as 0"]),
    ],
)
def test_counts_that_were_no_numbers_are_told(count, said):
    assert remarks(header(), header(), with_masked(count)) == said
