"""Scans of the library that are refined together: the ticked ones are sent, and the table shows their results."""

import json

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed

from ptylive.dashboard.session import VIEWS, Session

ROWS = [
    {"recording": "a.h5", "state": "done", "epoch": 20, "loss": 2.5, "seconds": 61.0, "doing": "", "reason": ""},
    {"recording": "b.h5", "state": "failed", "reason": "b.h5 is damaged: restore it", "doing": ""},
    {"recording": "c.h5", "state": "running", "doing": "epoch 3 of 20", "epoch": 3, "reason": ""},
]


@pytest.fixture
def page(tmp_path):
    sender = CommandSender()
    offered = []

    def offer(path):
        offered.append(path.name)
        return f"download/1/{path.name}"

    page = Session(Document(), silent_feed(state="complete"), sender, offer_download=offer)
    page.view_choice.active = VIEWS.index("library")
    page.sender, page.offered = sender, offered
    content(page)
    return page


def told(page, reply):
    page.batch._request_time = -10.0
    content(page)
    page.sender.answer("batch_status", **reply)
    return content(page)


def test_ticked_scans_are_sent_with_the_form_of_the_refine_view(page):
    ask(page, what="batch", key="start", value=json.dumps(["a.h5", "b.h5", 3]))
    ((command, arguments),) = page.sender.sent
    assert command == "batch" and arguments["recordings"] == ["a.h5", "b.h5"]
    assert "epoch_max" in arguments["preset"] and "retry" not in arguments


def test_nothing_ticked_or_a_form_that_is_wrong_is_said(page):
    for value in ("", "[]", "nonsense"):
        ask(page, what="batch", key="start", value=value)
        assert "no scan is selected" in content(page)["texts"]["sentence"]
    page.refine.fields["epoch_max"].value = "many"
    ask(page, what="batch", key="start", value='["a.h5"]')
    assert "settings of the Refine view" in content(page)["texts"]["sentence"]
    assert page.sender.sent == []


def test_remarks_on_a_scan_have_a_line_each(page):
    shown = told(page, {"rows": [{"recording": "a.h5", "state": "done", "remarks": ["no step", "drift 3 Å"]}]})
    assert shown["lists"]["batch"]["rows"][0]["cells"][1] == "no step\ndrift 3 Å"


def test_the_table_says_what_failed_and_why(page):
    shown = told(page, {"state": "running", "place": "this machine", "rows": ROWS})
    assert shown["lists"]["batch"]["said"] == "1 running, 1 done, 1 failed, this machine"
    rows = shown["lists"]["batch"]["rows"]
    assert rows[0]["cells"][0] == "done" and rows[0]["cells"][2] == "2.5000"
    assert rows[1]["cells"][:2] == ["failed", "b.h5 is damaged: restore it"]
    assert rows[2]["cells"][1] == "epoch 3 of 20"
    assert (shown["marks"]["batch_start"], shown["marks"]["batch_stop"]) == ("off", "on")


def test_what_failed_is_tried_again_and_nothing_else(page):
    shown = told(page, {"state": "done", "rows": ROWS[:2], "message": "nothing left to do"})
    assert shown["lists"]["batch"]["said"].endswith(": nothing left to do")
    assert shown["marks"]["batch_retry"] == "on"
    ask(page, what="batch", key="retry")
    ((_, arguments),) = page.sender.sent
    assert (arguments["recordings"], arguments["retry"]) == (["b.h5"], True)


def test_the_table_can_be_fetched(page):
    told(page, {"state": "done", "rows": ROWS[:1]})
    ask(page, what="batch", key="table")
    page.sender.future.set_result({"path": "/data/batch_table.html"})
    assert content(page)["lists"]["downloads"][0]["name"] == "batch_table.html"
    assert page.offered == ["batch_table.html"]


def test_viewers_start_nothing():
    sender = CommandSender()
    page = Session(Document(), silent_feed(state="complete"), sender, read_only=True)
    for key in ("start", "retry", "stop", "table"):
        ask(page, what="batch", key=key, value='["a.h5"]')
    assert sender.sent == []
