"""Numbers, durations and states as text."""

import pytest

from ptylive.dashboard import words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.23456, "1.23"), (-0.0123, "−0.0123"), (12345.6, "12346"), (2.5e7, "2.50e7"), (1.5e-5, "1.50e−5")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_unknown_numbers_are_a_dash(value: float | None) -> None:
    assert words.number(value) == words.UNKNOWN
    assert words.count(value) == words.UNKNOWN
    assert words.percent(value) == words.UNKNOWN
    assert words.seconds(value) == words.UNKNOWN


def test_both_ends_of_a_colour_bar_have_the_same_decimals() -> None:
    assert words.limits(-0.0388, 0.3252) == ("−0.039", "0.325")
    assert words.limits(12, 915.4) == ("12", "915")


@pytest.mark.parametrize(("size", "text"), [(1, "1.00 B"), (1000, "1.00 kB"), (12.3e6, "12.3 MB"), (5e13, "50.0 TB")])
def test_sizes_of_files(size: float, text: str) -> None:
    assert words.file_size(size).replace(words.THIN_SPACE, " ") == text


def test_counts_durations_and_percentages() -> None:
    assert words.count(1234567) == "1\u2009234\u2009567"
    assert words.seconds(12.4) == "0:12"
    assert words.seconds(3725) == "1:02:05"
    assert len(words.percent(0.05)) == len(words.percent(1.0))


@pytest.mark.parametrize(
    ("c10", "doubt", "text"),
    [
        (-150.0, 5.0, "150 ± 5.0 Å underfocus"),
        (100.0, None, "100 Å overfocus"),
        (-4000.0, 100.0, "400 ± 10 nm underfocus"),
        (-132000.0, None, "13.2 µm underfocus"),
        (0.0, None, "in focus"),
        (-123.46, 0.12, "123.5 ± 0.12 Å underfocus"),
        (-6.0, 8.4, "6.0 ± 8.4 Å underfocus"),
        (-0.0762, 8.4, "in focus ± 8.4 Å"),
        (0.0, 8.4, "in focus ± 8.4 Å"),
        (90.0, 12000.0, "in focus ± 1.2 µm"),
        (-145.0, float("inf"), "145 Å underfocus, not determined"),
    ],
)
def test_defocus_in_words(c10: float, doubt: float | None, text: str) -> None:
    assert words.defocus(c10, doubt) == text


@pytest.mark.parametrize(
    ("value", "doubt", "digits", "decimals", "text"),
    [
        (0.07177, 7.2e-4, 4, None, "0.07177 ± 0.00072"),
        (-15.2, 0.4, 4, 1, "−15.2 ± 0.40"),
        (20.004, 0.0099, 4, 1, "20.00 ± 0.0099"),
        (1.07, 0.02, 3, None, "1.07 ± 0.020"),
        (1e9, 3.0, 3, None, "1.00e9 ± 3.0"),
        (0.0, 2.0, 3, None, "0 ± 2.0"),
        (2e-9, 1e-10, 3, None, "2.00e−9 ± 1.0e−10"),
        (12.0, float("nan"), 3, None, "12.0 ± –"),
        (0.1404, 8.3, 4, None, "0.1 ± 8.3"),
        (25.004, 31.0, 4, None, "25 ± 31"),
    ],
)
def test_a_value_has_the_digits_that_its_deviation_says(
    value: float, doubt: float, digits: int, decimals: int | None, text: str
) -> None:
    """Regressions: 20.0 ± 0.01°, and 0.07177 ± 7.2e−4 1/Å."""
    assert words.with_doubt(value, doubt, digits, decimals) == text


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            "defocus_A 69.09 ± 5.1 by held-out loss, 59.51 before",
            "defocus 69.09 ± 5.1 Å by held-out loss, 59.51 Å before",
        ),
        (
            "rotation_deg -3.1 ± 0.2 by held-out loss, 1 before: unchanged",
            "scan rotation −3.1 ± 0.2° by held-out loss, 1° before: unchanged",
        ),
        ("impossible: from 1e-04 Å to 1e+08 Å, -2.5e-12", "impossible: from 1e−4 Å to 1e8 Å, −2.5e−12"),
        ("--set C10=1e-3, a-1e-3.h5, x1e-3", "--set C10=1e-3, a-1e-3.h5, x1e-3"),
        ("num_slices 3 ± 1 by held-out loss, 2 before", "num_slices 3 ± 1 by held-out loss, 2 before"),
    ],
)
def test_sentences_of_the_server_are_typeset(told: str, said: str) -> None:
    assert words.typeset(told) == said


def test_states_have_words_and_strangers_are_shown_as_they_came() -> None:
    for state in ("waiting", "armed", "scanning", "finishing", "complete", "incomplete", "aborted", "failed"):
        assert words.state_word(state) == state.upper()
    assert words.state_word("dreaming") == "DREAMING"


def test_rejected_names_the_commonest_reason() -> None:
    assert words.rejected({}) == "0"
    assert words.rejected({"truncated": 2, "wrong_shape": 5}) == "7 (wrong_shape 5, truncated 2)"
    assert words.rejected({"truncated": 2}) == "2 (truncated)"


def test_what_rounds_to_nothing_has_no_sign() -> None:
    assert words.limits(-2.44, -1e-6) == ("−2.44", "0.00")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            "the refinement needs scan_step_A, energy_eV, convergence_semiangle_mrad: give --set scan_step_A=… "
            "--set energy_eV=… --set convergence_semiangle_mrad=…; a series of tilted parallel beams: ptylive larbed",
            "the refinement needs scan step, energy, semi-angle: "
            "give scan step, energy and semi-angle under Calibration (✎)",
        ),
        (
            "a trotter needs scan_step_A: give it with --set scan_step_A=…",
            "a trotter needs scan step: give scan step under Calibration (✎)",
        ),
        (
            "refinement run1 is running: queue this one behind it (queue=true), or stop it first",
            "refinement run1 is running: queue this one behind it, or stop it first",
        ),
        ("use NAME = VALUE, for example energy_eV = 80 keV", "use NAME = VALUE, for example energy_eV = 80 keV"),
        ("give it with --set scan_shape=ROWS,COLUMNS", "give it with --set scan_shape=ROWS,COLUMNS"),
    ],
)
def test_hints_for_a_command_line_name_fields_of_the_page(told: str, said: str) -> None:
    """Regression: the page told people who had opened a bare array to give --set energy_eV=…"""
    assert words.in_page_words(told) == said
