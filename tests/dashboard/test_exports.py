"""Files for the browser, and how well maps agree."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.exports import Exports, agreement
from ptylive.schema import CommandError


class Server:
    """Answers one command."""

    def __init__(self, reply: dict[str, Any] | Exception) -> None:
        self.reply, self.asked = reply, Mock()

    def submit(self, command: str, **arguments: Any) -> Mock:
        self.asked(command, **arguments)
        failed = self.reply if isinstance(self.reply, Exception) else None
        return Mock(done=lambda: True, cancelled=lambda: False, exception=lambda: failed, result=lambda: self.reply)


def test_maps_and_object_side_by_side_can_be_fetched_and_their_agreement_is_told() -> None:
    agree = {"idpc": 0.81234, "obf": 0.97, "wdd_phase": 0.96, "ssb": -0.2}
    server = Server({"files": ["/data/a_side_by_side.png"], "run": "run2", "correlation": agree})
    orders = Orders(server)
    exports = Exports(orders, lambda path: f"download/1/{path.name}")
    exports.side_by_side()
    orders.collect()
    server.asked.assert_called_once_with("side_by_side")
    assert exports.downloads == [{"name": "a_side_by_side.png", "href": "download/1/a_side_by_side.png"}]
    assert orders.sentence == "correlation with run2: obf 0.970, wdd_phase 0.960, idpc 0.812"


def test_a_refusal_is_told_and_offers_nothing() -> None:
    orders = Orders(Server(CommandError("this scan has no results yet", "save")))
    exports = Exports(orders, str)
    exports.side_by_side()
    orders.collect()
    assert "no results yet" in orders.sentence
    assert exports.downloads == []


@pytest.mark.parametrize("reply", [{}, {"correlation": {}}, {"correlation": None, "run": ""}])
def test_without_a_refinement_nothing_agrees(reply: dict[str, Any]) -> None:
    assert agreement(reply) == "side by side: link below"


def test_nothing_is_offered_where_no_browser_can_fetch_it() -> None:
    orders = Orders(Server({"files": [str(Path("a.png"))]}))
    exports = Exports(orders, None)
    exports.side_by_side()
    orders.collect()
    assert exports.downloads == []


@pytest.mark.parametrize(
    ("showing", "limits"), [("obf", [-2.0, 0.5]), ("obf:over", [-2.0, 0.5]), ("obf:fft", None), ("object_wheel", None)]
)
def test_the_contrast_is_that_of_the_picture_where_it_is_what_is_written(
    showing: str, limits: list[float] | None
) -> None:
    server = Server({"files": []})
    figure: Any = SimpleNamespace(showing=showing, limits=(-2.0, 0.5), colour_map="gray")
    Exports(Orders(server), None).picture("obf", figure)
    assert server.asked.call_args.kwargs["limits"] == limits
