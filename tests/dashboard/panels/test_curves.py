"""Curves of a refinement: a line over the object, the section below it, the agreement of two runs."""

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from bokeh.models import InlineStyleSheet
from bokeh.plotting import figure
from fake_server import state_payload

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels.curves import CURVES, RunCurves, _longest_period
from ptylive.dashboard.panels.live.later import LaterFigure
from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare
from ptylive.schema import CommandError
from ptylive.server.wire.messages import array_to_plain


class CommandSender:
    """Keeps requests; answers when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], Future[dict[str, Any]]]] = []

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        self.asked.append((command, arguments, future))
        return future


@pytest.fixture
def sender() -> CommandSender:
    return CommandSender()


@pytest.fixture
def orders(sender: CommandSender) -> Orders:
    return Orders(sender)


@pytest.fixture
def curves(orders: Orders) -> RunCurves:
    return RunCurves(LaterFigure("object", figure), InlineStyleSheet(css=""), orders)


def seen(run: str = "run2", state: str = "done", slices: int = 4) -> FeedView:
    refinement = {"state": state, "run": run, "epoch": 3, "loss": 1.0}
    return FeedView(
        state=ServerState.model_validate(state_payload(refinement=refinement)), connected=True, slices=slices
    )


def chosen(curves: RunCurves, kind: str) -> RunCurves:
    curves.choice.active = CURVES.index(kind)
    return curves


def test_two_clicks_on_the_object_are_a_line(curves: RunCurves) -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    picture = prepare(RawPicture("object", ramp, "rad", sampling_A=(0.5, 0.5)), 1, Surroundings())
    curves.tap(0.0, 0.0)
    assert curves.ends == [], "the loss is on show"
    chosen(curves, "line").follow(seen(), picture, "")
    assert curves.texts()["curve_note"] == "click the object at the start of the line"
    curves.tap(0.0, 1.0)
    curves.tap(3.5, 1.0)
    curves.follow(seen(), picture, "")
    assert curves.texts()["curve_note"] == ""
    drawn = curves._line.data
    assert drawn["distance"][-1] == pytest.approx(3.5)
    assert drawn["value"][[0, -1]] == pytest.approx([0.0, 7.0])


def test_the_section_below_a_line_is_asked_once(curves: RunCurves, sender: CommandSender, orders: Orders) -> None:
    chosen(curves, "depth").ends = [(1.0, 2.0), (1.0, 6.0)]
    for _ in range(3):
        curves.follow(seen(), None, "")
    assert [(command, asked) for command, asked, _ in sender.asked] == [
        ("analyse", {"run": "run2", "line_A": [1.0, 2.0, 1.0, 6.0]})
    ]
    section = {**array_to_plain(np.eye(4, 9, dtype=np.float32)), "sampling_A": [20.0, 0.5]}
    sender.asked[0][2].set_result({"section": section, "ring_correlation": None})
    orders.collect()
    curves.follow(seen(), None, "")
    assert (curves._section.data["dw"], curves._section.data["dh"]) == ([4.5], [80.0])
    assert "4 slices of 20.0 Å" in curves.texts()["curve_said"]
    curves.follow(seen(slices=1), None, "")
    assert "one slice" in curves.texts()["curve_note"]


@pytest.mark.parametrize(
    ("kind", "slices", "there", "note"),
    [
        ("depth", 1, True, "one slice has no depth: refine with more slices"),
        ("depth", 0, False, "no object yet"),
        ("line", 0, False, "no object yet"),
        ("depth", 4, True, "click the object at the start of the line"),
    ],
)
def test_no_line_is_asked_for_that_would_show_nothing(
    curves: RunCurves, kind: str, slices: int, there: bool, note: str
) -> None:
    """Regression: after two clicks on an object of one slice the answer was that it has no depth."""
    raw = RawPicture("object", np.ones((8, 8), np.float32), "rad", sampling_A=(0.5, 0.5))
    picture = prepare(raw, 1, Surroundings()) if there else None
    chosen(curves, kind).follow(seen(slices=slices), picture, "")
    assert curves.texts()["curve_note"] == note


def test_two_runs_are_correlated(curves: RunCurves, sender: CommandSender, orders: Orders) -> None:
    chosen(curves, "rings").follow(seen(), None, "")
    assert curves.texts()["curve_note"] == "compare with another run of this scan first"
    curves.follow(seen(), None, "run1")
    assert sender.asked[0][1] == {"run": "run2", "other": "run1"}
    rings = {
        "frequencies_invA": [0.1, 0.5],
        "correlation": [1.0, 0.2],
        "half_bit": [0.5, 0.4],
        "resolution_A": {"half_bit": 2.0},
    }
    sender.asked[0][2].set_result({"section": None, "ring_correlation": rings})
    orders.collect()
    curves.follow(seen(), None, "run1")
    assert "agree to 2.00 Å (half bit" in curves.texts()["curve_said"]


def test_rings_of_long_periods_that_differ_are_mentioned() -> None:
    assert _longest_period([0.1, 0.2, 0.5], [1.0, 1.0, 0.2], [0.5, 0.5, 0.4]) is None
    assert _longest_period([0.1, 0.2, 0.5], [-0.1, 1.0, 0.2], [0.5, 0.5, 0.4]) == 5.0
    assert _longest_period([0.1, 0.2, 0.5], [-0.1, 0.0, 0.2], [0.5, 0.5, 0.4]) is None


def test_a_refusal_stands_in_the_place_of_the_curve(curves: RunCurves, sender: CommandSender, orders: Orders) -> None:
    chosen(curves, "rings").follow(seen(state="running"), None, "run1")
    assert curves.texts()["curve_note"] == "available when the refinement has ended"
    curves.follow(seen(), None, "run1")
    sender.asked[0][2].set_exception(CommandError("there is no run 'run1'"))
    orders.collect()
    curves.follow(seen(), None, "run1")
    assert "there is no run" in curves.texts()["curve_note"]
    assert len(sender.asked) == 1
