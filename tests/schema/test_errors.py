"""Errors in one line, and the hint for an unknown name."""

import traceback

import pytest

from ptylive.schema.errors import MOST_CHARACTERS, MetadataError, about, brief, did_you_mean, encodable, printable
from ptylive.schema.preset import Preset


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("windw_px", "did you mean 'window_px'?"),
        ("window_px", "did you mean 'window_px'?"),
        ("nothing like them", "see the table"),
    ],
)
def test_the_nearest_name_is_asked_about(typed, hint):
    assert did_you_mean(typed, iter(["update_obj", "window_px"]), "see the table") == hint


def test_nothing_is_said_where_nothing_is_near():
    assert did_you_mean("x", ()) == ""


def test_a_line_is_one_line_that_a_terminal_can_show():
    assert MetadataError("two\nlines", "a\x1bb").line() == "two lines: a\\x1bb"
    assert len(MetadataError("x" * 10**6, "y").line()) <= MOST_CHARACTERS
    assert printable("ü") == "ü"


def test_the_spaces_within_numbers_are_no_escape_codes():
    """Regression: ``ptylive refine`` printed a dose of 99 100 with the code of its thin space."""
    assert printable("99\u2009100\xa0e/Å²\n") == "99\u2009100\xa0e/Å²\\n"
    assert printable("two\u2028lines") == "two\\u2028lines"


def test_what_utf_8_cannot_encode_is_escaped_and_nothing_else():
    assert encodable("M\udcfcller ü\n") == "M\\udcfcller ü\n"


def test_what_is_quoted_is_short():
    nested: list = []
    nested.append(nested)
    assert brief(nested) == "[[...]]"
    assert len(brief("x" * 1000)) <= 60


def test_a_traceback_shows_the_hint():
    """Regression: "did you mean" reached the command line only; in a notebook the typing error stayed unexplained."""
    error = MetadataError("unknown setting 'energy_ev'", "did you mean 'energy_eV'?")
    assert "".join(traceback.format_exception_only(error)).endswith("energy_ev'\ndid you mean 'energy_eV'?\n")
    assert str(error) == "unknown setting 'energy_ev'" and error.line().count("did you mean") == 1
    assert not hasattr(MetadataError("a"), "__notes__")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scan_tilts_mrad": "0,0,20,0"}, "scan_tilts_mrad: '0,0,20,0' is not a list: write it in brackets, [1, 2]: "),
        ({"scan_tilts_mrad": [[0, 0], [1]]}, "scan_tilts_mrad: [1] is too short: "),
        ({"scan_tilts_mrad": [[0, 0], [1, 2, 3]]}, "scan_tilts_mrad: [1, 2, 3] has 3 values: it needs at most 2: "),
        ({"tilts_mrad": [[1, 1]]}, "tilts_mrad: [1, 1] has 2 values: it needs at least 6: "),
        ({"epoch_max": "many"}, "epoch_max: 'many' is not a whole number: "),
        ({"epoch_max": 2.5}, "epoch_max: 2.5 is not a whole number: "),
        ({"total_thickness_A": "12 mrad"}, "total_thickness_A: '12 mrad' is not a number: "),
        ({"num_slices": 0}, "num_slices: 0 is too small: it must be at least 1: "),
        ({"num_slices": 10**6}, "num_slices: 1000000 is too large: it must be at most 1000: "),
        ({"total_thickness_A": 1e30}, "total_thickness_A: 1e+30 is too large: it must be at most 1e+07: "),
        ({"scan_tilts_mrad": [[0, 0], [80, 0]]}, "scan_tilts_mrad: tilts above 50 mrad cannot be modelled as shears"),
    ],
)
def test_what_pydantic_says_is_put_into_words_for_files(settings, said):
    with pytest.raises(MetadataError) as caught:
        Preset.from_mapping(settings)
    assert said in caught.value.line()


@pytest.mark.parametrize("message", ["energy_eV is missing", "a b/scan.h5 has no energy_eV"])
def test_an_error_about_a_file_names_it_once(message):
    with pytest.raises(MetadataError) as raised, about("a b/scan.h5"):
        raise MetadataError(message, "give it")
    assert raised.value.line().count("a b/scan.h5") == 1
    assert raised.value.line().endswith(f"{message}: give it")
