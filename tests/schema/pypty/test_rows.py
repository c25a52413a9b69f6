"""Converters of PyPty's parameters."""

import numpy as np
import pytest

from ptylive.schema.errors import MetadataError
from ptylive.schema.pypty.rows import Gathered, array, followed, metadata, number, plain, same, scaled, switch


def gathered(shape=(128, 120), **given):
    return Gathered(given, shape)


@pytest.mark.parametrize(
    ("shape", "given", "window"),
    [
        ((128, 120), {}, 128),
        ((128, 120), {"data_bin": 2, "data_pad": 10}, 84),
        ((128, 120), {"data_bin": 2, "data_pad": 10, "upsample_pattern": 3}, 212),
        ((128, 120), {"data_bin": 0, "data_pad": None, "upsample_pattern": None}, 128),
        (None, {"data_bin": 2}, None),
    ],
)
def test_the_window_is_the_pattern_binned_upsampled_and_padded(shape, given, window):
    assert gathered(shape, **given).window() == window


@pytest.mark.parametrize(
    ("given", "pixel_A"),
    [({}, None), ({"pixel_size_x_A": 0.3}, 0.3), ({"pixel_size_y_A": "0.2", "pixel_size_x_A": 0.3}, 0.2)],
)
def test_the_pixel_is_the_first_that_is_given(given, pixel_A):
    assert gathered(**given).pixel_A() == pixel_A


@pytest.mark.parametrize(("value", "read"), [(3, 3.0), ([2.5], 2.5), (float("inf"), float("inf"))])
def test_numbers_may_stand_in_a_list(value, read):
    assert number(value, "x") == read


@pytest.mark.parametrize("value", [True, "3", [1, 2], None])
def test_others_are_no_numbers(value):
    with pytest.raises(MetadataError, match=r"x = .* is not a number"):
        number(value, "x")


def test_values_follow_the_epoch_as_expressions():
    assert followed(2.0) == 2.0 and followed(True, 3.0) is True and followed(2, 3.0) == 6.0
    lambdas = "lambda x: 1 if x > 3 else 0"
    text = followed(lambdas)
    assert "epoch" in text and "lambda" not in text
    assert followed(lambdas, 0.5) == f"({text}) * 0.5"


@pytest.mark.parametrize(
    ("convert", "value", "stored"),
    [
        (same("key"), 2, 2),
        (scaled("key", 10.0), 2, 20.0),
        (switch("key"), 1, True),
        (switch("key"), 0, False),
        (plain("key"), "text", "text"),
    ],
)
def test_converters_store_what_the_setting_takes(convert, value, stored):
    into = gathered()
    convert(value, into)
    assert into.preset == {"key": stored} and type(into.preset["key"]) is type(stored)


def test_what_cannot_change_while_a_refinement_runs_is_refused():
    with pytest.raises(MetadataError, match="key cannot follow the epoch"):
        plain("key")(" lambda x: x", gathered())
    into = gathered()
    switch("key")("lambda x: x > 3", into)
    assert "epoch" in into.preset["key"]


def test_metadata_and_arrays_go_to_their_places():
    into = gathered()
    metadata("energy_eV", 1e3)(80, into)
    metadata("scan_step_A", 10.0)([0.1, 0.2], into)
    metadata("defocus_A")("5 nm", into)
    array("mask")([[1, 2]], into)
    assert into.metadata == {"energy_eV": 80e3, "scan_step_A": [1.0, 2.0], "defocus_A": "5 nm"}
    np.testing.assert_array_equal(into.arrays["mask"], [[1.0, 2.0]])
    assert into.preset == {}
