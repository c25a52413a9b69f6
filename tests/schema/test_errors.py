"""Errors in one line, and the hint for a name that nothing has."""

import pytest

from ptylive.schema.errors import MOST_CHARACTERS, MetadataError, brief, did_you_mean, printable


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


def test_what_is_quoted_is_short():
    nested: list = []
    nested.append(nested)
    assert brief(nested) == "[[...]]"
    assert len(brief("x" * 1000)) <= 60
