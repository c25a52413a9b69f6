"""Scans at several tilts, chosen in the library: the form, its errors, and what is sent."""

import json

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed

from ptylive.dashboard.panels.series.together import scans_of
from ptylive.dashboard.session import VIEWS, Session

THREE = ["left.h5", "flat.h5", "right.h5"]


def in_library():
    sender = CommandSender()
    page = Session(Document(), silent_feed(state="complete", recording="/data/0142.h5"), sender)
    page.view_choice.active = VIEWS.index("library")
    page.sender = sender
    content(page)
    return page


@pytest.fixture
def page():
    return in_library()


@pytest.fixture(scope="module")
def one_page():
    """For forms that are refused, each of which replaces the one before."""
    return in_library()


def send(page, *lines):
    ask(page, what="together", key="start", value=json.dumps(lines))
    return content(page)["lists"]


def opened(page, names):
    ask(page, what="together", key="open", value=json.dumps(names))
    return content(page)["lists"]["together"]


def test_the_form_has_a_line_for_each_ticked_scan(page):
    shown = opened(page, THREE)
    assert [row["title"] for row in shown["rows"]] == ["left", "flat", "right"]
    assert "slices auto" in shown["said"]
    ask(page, what="together", key="close")
    assert content(page)["lists"]["together"]["rows"] == []


def test_one_scan_is_no_series(page):
    for names in ([], ["a.h5"], [f"{k}.h5" for k in range(10)]):
        assert opened(page, names)["rows"] == []
        assert "tick 2 to 9 scans" in content(page)["texts"]["sentence"]


def test_the_scan_that_is_tilted_least_is_shown_and_the_others_go_beside_it(page):
    opened(page, THREE)
    send(page, ["left.h5", "20", "0"], ["flat.h5", "0", "0.1 mrad"], ["right.h5", "\N{MINUS SIGN}1°", "0.002 rad"])
    ((command, arguments),) = page.sender.sent
    assert (command, arguments) == ("open", {"recording": "flat.h5"})
    page.sender.future.set_result({"uid": "scan-flat"})
    content(page)
    command, arguments = page.sender.sent[-1]
    assert (command, arguments["beside"], arguments["if_shown"]) == ("refine", ["right.h5", "left.h5"], "scan-flat")
    (zero, small), (row, column), last = arguments["preset"]["scan_tilts_mrad"]
    assert (zero, small, last) == (0, 0.1, [20, 0])
    assert row == pytest.approx(-17.453, abs=1e-3) and column == 2
    assert page.view_name == "refine"


def test_a_scan_that_is_shown_already_is_not_opened_once_more(page):
    send(page, ["0142.h5", "0", "0"], ["left.h5", "20", "0"])
    ((command, arguments),) = page.sender.sent
    assert (command, arguments["beside"], arguments["if_shown"]) == ("refine", ["left.h5"], "scan-1")
    assert "queue" not in arguments


@pytest.mark.slow
def test_behind_a_refinement_that_runs_it_waits_in_line(page):
    running = {"state": "running", "run": "run1", "epoch": 1, "loss": 1.0}
    page.feed._view = silent_feed(state="complete", recording="/data/0142.h5", refinement=running)._view
    content(page)
    send(page, ["0142.h5", "0", "0"], ["left.h5", "20", "0"])
    assert page.sender.sent[-1][1]["queue"] is True


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["left.h5", "", "0"], "row: give a tilt"),
        (["left.h5", "0", "steep"], "column: steep is not an angle"),
        (["left.h5", "20 nm", "0"], "row: 20 nm is not an angle"),
        (["left.h5", "3°", "0"], "row: at most 50 mrad, which is 2.9°"),
        (["left.h5", "1e999", "0"], "not an angle"),
    ],
)
def test_what_is_wrong_stands_at_its_field(one_page, line, said):
    wrong = send(one_page, ["flat.h5", "0", "0"], line)["together_wrong"]
    assert wrong.keys() == {"left.h5"} and said in wrong["left.h5"]
    assert one_page.sender.sent == []


def test_what_concerns_all_of_them_stands_below(page):
    same = send(page, ["flat.h5", "5", "0"], ["left.h5", "5 mrad", "0"])["together_wrong"]
    assert "all tilts are the same" in same["form"]
    page.refine.fields["num_slices"].value = "1"
    flat = send(page, ["flat.h5", "0", "0"], ["left.h5", "5", "0"])["together_wrong"]
    assert "slices = 1" in flat["form"]
    page.refine.fields["num_slices"].value = "many"
    assert "settings of the Refine view" in send(page, ["a.h5", "0", "0"], ["b.h5", "5", "0"])["together_wrong"]["form"]
    assert page.sender.sent == []


def test_a_browser_is_not_believed():
    assert scans_of("nonsense") == scans_of("3") == scans_of('[3, ["a"], ["a", 1, 2]]') == []
    assert [one.recording for one in scans_of('["a.h5", ["b.h5", "1", "2"]]')] == ["a.h5", "b.h5"]
