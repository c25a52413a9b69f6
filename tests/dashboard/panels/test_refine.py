"""Errors in the form are reported at their field."""

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, content, silent_feed

from ptylive.dashboard.panels.refine import wrong_settings
from ptylive.dashboard.session import Session


@pytest.mark.parametrize(
    ("preset", "field", "words"),
    [
        ({"epoch_max": "many"}, "epoch_max", "whole number"),
        ({"num_slices": 0, "sweeps": -1}, "num_slices", "at least 1"),
        ({"num_slices": 0, "sweeps": -1}, "sweeps", "at least 0"),
        ({"num_slices": 3}, "num_slices", "needs total_thickness_A"),
        ({"nonsense": 1}, "further", "unknown refinement setting 'nonsense'"),
    ],
)
def test_each_field_says_what_is_wrong_with_it(preset: dict[str, object], field: str, words: str) -> None:
    assert words in wrong_settings(preset)[field]


@pytest.mark.parametrize("preset", [{}, {"num_slices": 3, "total_thickness_A": "5 nm"}, {"epoch_max": 7}])
def test_what_is_right_says_nothing(preset: dict[str, object]) -> None:
    assert wrong_settings(preset) == {}


def test_the_page_has_it_and_forgets_it(sender: CommandSender) -> None:
    session = Session(Document(), silent_feed(), sender)
    assert content(session)["lists"]["wrong"] == {}
    session.refine.fields["epoch_max"].value = "-3"
    assert set(content(session)["lists"]["wrong"]) == {"epoch_max"}
    session.refine.fields["epoch_max"].value = "30"
    assert content(session)["lists"]["wrong"] == {}


def test_a_comma_is_a_decimal_point_unless_it_may_separate_thousands(sender: CommandSender) -> None:
    session = Session(Document(), silent_feed(), sender)
    thickness = session.refine.fields["total_thickness_A"]
    thickness.value = "12,5"
    assert session.refine.preset()["total_thickness_A"] == 12.5
    thickness.value = "1,500"
    assert set(content(session)["lists"]["wrong"]) == {"total_thickness_A"}


def test_a_start_map_is_the_server_s_until_one_is_chosen(sender: CommandSender) -> None:
    """A configuration that sets start_map is not overruled by an untouched form."""
    refine = Session(Document(), silent_feed(), sender).refine
    assert "start_map" not in refine.preset()
    refine.fields["start_map"].value = "ssb"
    assert refine.preset()["start_map"] == "ssb"
    refine.take_over({"epoch_max": 3})
    assert "start_map" not in refine.preset()


@pytest.mark.parametrize(
    ("key", "typed", "words"),
    [
        ("num_slices", "abc", "'abc' is not a whole number; or type auto"),
        ("num_slices", 0, "0 is too small: it must be at least 1; or type auto"),
        ("probe_modes", 1e6, "1000000.0 is too large: it must be at most 16; or type auto"),
        ("total_thickness_A", "12 mrad", "'12 mrad' is not a number; type it in Å, or with a unit: 8 nm"),
        ("total_thickness_A", 1e30, "1e+30 is too large: it must be at most 1e+07; type it in Å, or with a unit: 8 nm"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_the_page(key: str, typed: object, words: str) -> None:
    """Regression: "Input should be a valid integer, unable to parse string as an integer"."""
    assert wrong_settings({key: typed}) == {key: words}
