"""Lengths and doses as an operator reads them."""

import pytest

from ptylive.schema.advice.words import (
    angle_text,
    dose_text,
    focus_text,
    length_text,
    plain_number,
    significant,
    with_doubt,
)


@pytest.mark.parametrize(
    ("value", "finest", "text"),
    [
        (-145.2, 11.0, "−145"),
        (14.52, 0.1, "14.5"),
        (-0.001, 1.0, "0"),
        (0.0, 0.0, "0"),
        (1.23456, 1e-9, "1.2346"),
        (float("nan"), 1.0, "?"),
        (1020.0, float("inf"), "1020"),
    ],
)
def test_numbers_have_the_digits_they_deserve(value, finest, text):
    assert plain_number(value, finest) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(1018.0, 3, "1020"), (-6.5, 2, "-6.5"), (10.4, 1, "10"), (0.0041, 1, "0.004"), (4.1e-6, 1, "0.000004")],
)
def test_a_sentence_has_no_powers_of_ten(value, digits, text):
    assert significant(value, digits) == text
    assert significant(float("inf"), digits) == "inf"


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (145.0, "14.5 nm"),
        (12.3, "12.3 Å"),
        (99.0, "99.0 Å"),
        (25000.0, "2.50 µm"),
        (1.2e7, "1.20 mm"),
        (0.5, "0.500 Å"),
    ],
)
def test_a_length_has_the_unit_that_suits_it(length, text):
    assert length_text(length) == text


@pytest.mark.parametrize(
    ("value", "doubt", "text"),
    [
        (-145.0, 11.0, "−145 ± 11 Å"),
        (63.0, 4.2, "63 ± 4 Å"),
        (2.02, 0.31, "2.0 ± 0.3 Å"),
        (63.0, None, "63.0 Å"),
        (1.2e7, 3e5, "1.20 ± 0.03 mm"),
        (0.0, 13.0, "0 ± 13 Å"),
        (63.0, float("inf"), "63.0 Å, not determined"),
    ],
)
def test_an_uncertainty_says_how_many_digits(value, doubt, text):
    assert with_doubt(value, doubt) == text


def test_up_is_towards_underfocus():
    assert focus_text(-145.0) == "focus up 14.5 nm"
    assert focus_text(300.0) == "focus down 30.0 nm"


def test_angles_are_whole_degrees():
    assert angle_text(28.6) == "29°"


@pytest.mark.parametrize(
    ("dose", "text"),
    [
        (99848.3, "99\u2009800 e/Å²"),
        (1e6, "1\u2009000\u2009000 e/Å²"),
        (999.6, "1\u2009000 e/Å²"),
        (12.34, "12.3 e/Å²"),
        (0.0123, "0.0123 e/Å²"),
        (1.5e-5, "1.5e−05 e/Å²"),
        (2e9, "2e+09 e/Å²"),
        (0.0, "0 e/Å²"),
        (float("nan"), "? e/Å²"),
    ],
)
def test_a_dose_has_three_digits_and_thin_spaces(dose, text):
    assert dose_text(dose) == text
