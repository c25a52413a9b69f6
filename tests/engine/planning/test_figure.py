"""Rows, verdicts and numbers as text."""

import pytest
from planning import experiment

from ptylive.engine.planning.figure import (
    Rating,
    Row,
    Verdict,
    graded,
    listed,
    number_text,
    percent,
    size_text,
    time_text,
)


def test_a_row_says_what_is_wanted():
    row = Row("it", "it", "Å", ("energy_eV", "scan_step_A", "scan_shape"), lambda _: Rating(1.0, "one"))
    figure = row.of(experiment(energy_eV=None, scan_step_A=None))
    assert (figure.value, figure.verdict, figure.remedy) == (None, Verdict.UNKNOWN, "give energy_eV and scan_step_A")
    assert row.of(experiment()).value == 1.0


def test_a_remedy_goes_with_a_verdict():
    for verdict, remedy in ((Verdict.GOOD, ""), (Verdict.NONE, ""), (Verdict.BAD, "less"), (Verdict.UNKNOWN, "less")):
        row = Row("it", "it", "", (), lambda _, v=verdict: Rating(1.0, "one", v, "less"))
        assert row.of(experiment()).remedy == remedy


def test_a_value_is_good_bad_or_questioned():
    assert graded(good=True, bad=True) is Verdict.GOOD
    assert graded(good=False, bad=True) is Verdict.BAD
    assert graded(good=False) is Verdict.QUESTIONED


def test_names_are_listed_with_commas_and_and():
    assert [listed(names) for names in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == ["", "a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("number", "text"), [(6241.5, "6240"), (0.01234, "0.0123"), (99.96, "100"), (2.5e9, "2.5e+09")]
)
def test_numbers_have_three_digits(number, text):
    assert number_text(number) == text


@pytest.mark.parametrize(("size", "text"), [(12, "12 B"), (8.59e9, "8.59 GB"), (1e15, "1e+03 TB"), (1500, "1.5 kB")])
def test_bytes_are_written_in_the_unit_that_fits(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3e-6, "3 µs"),
        (0.02, "20 ms"),
        (0.4096, "0.41 s"),
        (599, "599 s"),
        (2620, "43.7 min"),
        (18000, "5 h"),
        (0, "0 µs"),
    ],
)
def test_seconds_are_written_in_the_unit_that_fits(seconds, text):
    assert time_text(seconds) == text


def test_shares_are_percent_and_large_ones_factors():
    assert [percent(share) for share in (0.0, 0.716, 1.2, 25.04)] == ["0 %", "72 %", "120 %", "25 times"]
