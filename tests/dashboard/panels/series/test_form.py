"""The form of what to vary, as sent by a page: checked field by field, since a browser is not trusted."""

import json

import pytest

from ptylive.dashboard.panels.series.form import VARIED, TuneForm, form_of


def test_a_line_without_a_range_is_its_name_and_one_with_both_ends_a_range():
    form = TuneForm({"defocus": ("", ""), "thickness": ("5 nm", "20 nm")}, "source_size_A=0:1", "60")
    assert form.checked() == (["defocus", "thickness=5 nm:20 nm", "source_size_A=0:1"], {})
    assert form.number_of_trials() == 60
    assert TuneForm({"thickness": ("12,5", "20")}).checked() == (["thickness=12.5:20"], {})


@pytest.mark.parametrize(
    ("rows", "field", "said"),
    [
        ({"thickness": ("5", "")}, "thickness", "one end of the range is missing"),
        ({"thickness": ("5", "wide")}, "thickness", "'wide' is no number"),
        ({"thickness": ("20", "5")}, "thickness", "20 is not below 5"),
        ({"defocus": ("1 mm", "2 mrad")}, "defocus", "mrad"),
        ({"thickness": ("1,500", "2,000")}, "thickness", "'1,500' is not a single number: write a decimal point"),
        ({"thickness": ("1:2,defocus=3", "4")}, "thickness", "is not a single number"),
        ({}, "others", "nothing to vary"),
    ],
)
def test_what_is_wrong_stands_at_its_field(rows, field, said):
    over, wrong = TuneForm(rows).checked()
    assert wrong.keys() == {field} and said in wrong[field], wrong
    assert not wrong[field].startswith("--over")
    assert over == []


def test_the_line_for_others_and_the_number_of_trials_are_checked_too():
    _, wrong = TuneForm({"defocus": ("", "")}, "luck", "many").checked()
    assert "cannot be tuned" in wrong["others"]
    assert "whole number" in wrong["trials"]
    _, wrong = TuneForm({"defocus": ("", "")}, "defocus=1:2", "").checked()
    assert "twice" in wrong["others"]


def test_every_line_of_the_form_can_be_tuned():
    for one in VARIED:
        assert TuneForm({one.name: ("", "")}).checked() == ([one.name], {})


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", '{"rows": 3}', '{"rows": {"luck": ["", ""]}}', '{"rows": {"defocus": [1]}}', "[" * 9999],
)
def test_what_is_no_form_is_an_empty_one(text):
    assert form_of(text) == TuneForm()


def test_a_form_as_the_page_sends_it():
    text = json.dumps({"rows": {"defocus": ["", ""]}, "others": "probe_modes=1:8", "trials": " 12 "})
    assert form_of(text) == TuneForm({"defocus": ("", "")}, "probe_modes=1:8", " 12 ")
    assert form_of(text).number_of_trials() == 12
