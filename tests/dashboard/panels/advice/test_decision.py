"""Thickness search before a refinement: the button, the progress of the trials, and the form that they fill in."""

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed

from ptylive.dashboard.session import VIEWS, Session

FOUND = {"num_slices": 8, "total_thickness_A": 104.04, "range_A": [86.1, 121.0], "said": ["8 slices"], "seconds": 65.0}
THICK = "thickness 86.1 to 121 Å: 8 slices of 13 Å; a refinement takes about 1:05"


@pytest.fixture
def page():
    sender = CommandSender()
    page = Session(Document(), silent_feed(state="complete"), sender)
    page.view_choice.active = VIEWS.index("refine")
    page.sender = sender
    content(page)
    return page


def decision(page):
    return page.advice._advisors[-2]


def told(page, **reply):
    """The server's next answer."""
    decision(page)._request_time = -10.0
    content(page)
    page.sender.answer("decide_status", **reply)
    return content(page)


def test_a_click_begins_trials_that_fill_the_form_of_this_page(page):
    page.refine.fields["epoch_max"].value = "12"
    ask(page, what="decide", key="start")
    command, arguments = page.sender.sent[-1]
    assert command == "decide" and arguments["preset"]["epoch_max"] == 12 and arguments["if_shown"] == "scan-1"
    shown = told(page, state="running", message="52 Å")
    assert shown["texts"]["decide_said"] == "finding the thickness: 52 Å"
    assert (shown["marks"]["decide"], shown["marks"]["decide_start"]) == ("on", "off")
    assert page.refine.fields["num_slices"].value == "auto"
    shown = told(page, state="done", **FOUND)
    assert shown["texts"]["decide_said"] == THICK
    assert page.refine.fields["num_slices"].value == "8"
    assert page.refine.fields["total_thickness_A"].value == "104.0"
    assert page.refine.fields["epoch_max"].value == "12", "what else stands there stays"
    assert shown["marks"]["decide_start"] == "on"


def test_the_form_of_another_page_is_left_alone_and_the_finding_is_read(page):
    shown = told(page, state="done", **FOUND)
    assert shown["texts"]["decide_said"] == THICK
    assert page.refine.fields["num_slices"].value == "auto"


def test_one_slice_takes_a_thickness_out_of_the_form(page):
    page.refine.fields["total_thickness_A"].value = "300"
    ask(page, what="decide", key="start")
    why = "one slice: a depth of 21 Å would not predict held-out patterns better (gain -0.1 %)"
    said = ["one mode", "one slice 23 Å below the given focus: held-out patterns are predicted better", why]
    thin = {**FOUND, "num_slices": 1, "total_thickness_A": None, "range_A": None, "said": said}
    shown = told(page, state="done", **thin)
    why = why.replace("-0.1", "−0.1")
    assert shown["texts"]["decide_said"] == f"{why}; a refinement takes about 1:05"
    assert (page.refine.fields["num_slices"].value, page.refine.fields["total_thickness_A"].value) == ("1", "")


def test_cancel_gives_them_up_and_the_form_stays(page):
    ask(page, what="decide", key="start")
    told(page, state="running", message="")
    ask(page, what="decide", key="stop")
    assert page.sender.sent[-1][0] == "decide_stop"
    shown = told(page, state="stopped", message="")
    assert shown["texts"]["decide_said"] == ""
    assert page.refine.fields["num_slices"].value == "auto"


def test_why_nothing_was_found_is_said(page):
    ask(page, what="decide", key="start")
    shown = told(page, state="failed", message="400 patterns are too few for trials")
    assert shown["texts"]["decide_said"] == "no thickness found: 400 patterns are too few for trials"


def test_what_a_scan_before_was_found_to_be_is_not_said_of_the_next(page):
    told(page, state="done", **FOUND)
    page.feed._view = silent_feed(uid="scan-2", state="complete")._view
    assert content(page)["texts"]["decide_said"] == ""
