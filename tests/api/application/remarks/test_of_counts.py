"""Numbers that are not counts of electrons are told of: normalised patterns, and negative counts."""

import numpy as np
import pytest

from ptylive.application.offline import reconstruct_source
from ptylive.application.remarks.of_counts import (
    current_remarks,
    mean_remarks,
    negative_remarks,
    normalised_remarks,
    scaled_remarks,
)
from ptylive.application.remarks.of_scan import remarks
from ptylive.schema import Calibration, Detector, Optics, Origin, Quantity, Scan, ScanHeader
from ptylive.schema.plausible import understood
from ptylive.streamer.source import open_array

COUNTS = np.random.default_rng(3).poisson(20.0, (4, 5, 16, 16)).astype(np.float32)
NORMALISED = COUNTS / COUNTS.sum(axis=(2, 3), keepdims=True)


def header(dtype="<f4"):
    scan = Scan(shape=(4, 5), step_A=0.5)
    return ScanHeader("uid", "series", scan.frames, scan, Optics(energy_eV=80e3), Detector(shape=(16, 16), dtype=dtype))


def with_electrons(number, origin=Origin.DEFAULT):
    return Calibration().having(electrons_per_pattern=Quantity(number, origin))


def test_patterns_that_sum_to_one_are_told_with_the_field_that_says_what_an_electron_is():
    (said,) = remarks(header(), header(), with_electrons(1.0))
    assert said.startswith("the patterns sum to 1 on average: normalised?")
    assert "counts_per_electron" in said


def test_a_beam_current_that_changed_is_told():
    by_row = Quantity((0.9, 1.0, 1.1), Origin.ESTIMATED)
    flicker = Quantity(0.0471, Origin.ESTIMATED)
    constant = Quantity((1.0,), Origin.GIVEN)
    assert current_remarks(Calibration()) == current_remarks(Calibration().having(beam_current=constant)) == []
    assert remarks(header(), header(), Calibration().having(beam_current=by_row)) == [
        "the beam current changed by 8.2 % (RMS) during the scan: maps of the phase are relative to it"
    ]
    (said,) = current_remarks(Calibration().having(beam_current=by_row, beam_flicker=flicker))
    assert "by 8.2 % (RMS) during the scan and by 4.7 % (RMS) from pattern to pattern:" in said


@pytest.mark.parametrize(
    ("dtype", "calibration"),
    [
        ("<u2", with_electrons(1.0)),  # events of a faint beam
        ("<f4", with_electrons(40.0)),
        ("<f4", with_electrons(0.0)),
        ("<f4", with_electrons(1.0, Origin.ESTIMATED)),  # counts_per_electron is given
        ("<f4", Calibration()),
    ],
)
def test_counts_are_not_taken_for_normalised(dtype, calibration):
    assert normalised_remarks(header(dtype), calibration) == []


def test_counts_per_electron_of_normalised_patterns_can_be_typed():
    assert understood("counts_per_electron", 1.6e-7) == 1.6e-7, "6 million electrons in a pattern that sums to 1"


def patterns(counts):
    return counts.reshape(-1, 16, 16)


def test_patterns_divided_by_their_maximum_are_told():
    (said,) = scaled_remarks(patterns(COUNTS / COUNTS.max()), None, None)
    assert said.startswith("no number in the patterns exceeds 1, and they are fractions")
    assert said.endswith("it is the smallest number above 0 in the patterns")
    assert scaled_remarks(patterns(COUNTS / COUNTS.max()), None, 0.02) == []
    sparse = (patterns(COUNTS) > 30).astype(np.float32)
    for counts in (patterns(COUNTS), patterns(COUNTS).astype("u2"), sparse, patterns(NORMALISED)):
        assert scaled_remarks(counts, None, None) == []


@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_negative_counts_are_told_with_their_share(dtype):
    (said,) = negative_remarks(patterns(COUNTS - 20).astype(dtype) + 1, None)
    assert "negative counts, down to -" in said
    assert "dark_reference" in said


def test_negative_counts_that_hardly_change_the_sum_are_not_told_nor_those_of_bad_pixels():
    counts, bad = patterns(COUNTS).copy(), np.zeros((16, 16), bool)
    counts[:, 3, 4], bad[3, 4] = -1000, True
    assert negative_remarks(counts, bad) == []
    assert negative_remarks(counts, None) != []
    counts[:, 3, 4] = -1e-3
    assert negative_remarks(counts, None) == []


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (NORMALISED, "the patterns sum to 1 on average"),
        (COUNTS / COUNTS.max(), "no number in the patterns exceeds 1"),
        (COUNTS - 15, "negative counts, down to"),
    ],
)
def test_a_reconstruction_tells_what_its_numbers_are_not(counts, said):
    with open_array(counts) as source:
        found = reconstruct_source(source, {}, ["bf"])
    assert sum(said in remark for remark in found.remarks) == 1, found.remarks


@pytest.mark.parametrize(
    ("offset", "said"),
    [
        (0.0, []),
        (-18.0, []),  # a few pixels of few frames lie below 0
        (-20.0, []),  # as many above as below 0: nothing but noise
        (-22.0, [100]),
        (-60.0, [100]),
    ],
)
def test_a_mean_pattern_from_which_too_much_was_subtracted_is_told(offset, said):
    mean = patterns(COUNTS).mean(axis=0, dtype=float) + offset
    told = [
        float(text.split(" % of the pixels of the mean pattern hold negative")[0]) for text in mean_remarks(mean, None)
    ]
    assert told == pytest.approx(said, abs=10)


@pytest.mark.parametrize("frames", [16, 128, 4096])
@pytest.mark.parametrize(("offset", "told"), [(0.0, False), (0.5, True)])
def test_the_noise_of_a_camera_is_no_offset(frames, offset, told):
    """Regression: half of the dark pixels are negative even though nothing too much was subtracted."""
    rows, columns = np.indices((64, 64)) - 31.5
    disc = 200.0 * (np.hypot(rows, columns) < 16) / 800
    mean = disc - offset + np.random.default_rng(frames).normal(0, 0.5 / np.sqrt(frames), disc.shape)
    assert bool(mean_remarks(mean, None)) is told


def test_bad_pixels_are_no_reason_to_doubt_a_mean_pattern():
    mean = patterns(COUNTS).mean(axis=0, dtype=float)
    bad = np.zeros(mean.shape, dtype=bool)
    bad[0, 0], mean[0, 0] = True, -1e9
    assert mean_remarks(mean, bad) == []
    assert mean_remarks(mean, None) != []
