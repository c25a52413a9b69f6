"""Shifts of bright-field images on the page: the settings, what is shown, and what is used."""

from typing import Any

import numpy as np
from page_in_memory import CommandSender, ask, content

from ptylive.dashboard.session import Session
from ptylive.schema import CommandError
from ptylive.server.wire.messages import array_to_plain

FOUND: dict[str, Any] = {
    "bins": 93,
    "correlation": 0.71,
    "left_A": 0.42,
    "rotation_deg": -14.9,
    "rotation_error_deg": 0.2,
    "aberrations": {"C10": {"value_A": -404.6, "error_A": 3.2, "limit_A": 98.4}},
    "values": {"C10": -404.6, "rotation_deg": -14.9},
    "png": array_to_plain(np.frombuffer(b"\x89PNG", np.uint8)),
}


def shown(session: Session) -> dict[str, Any]:
    content(session)
    return dict(content(session)["lists"]["alignment"])  # type: ignore[arg-type]


def test_knobs_go_along_and_what_is_found_is_used(session: Session, sender: CommandSender) -> None:
    content(session)
    ask(session, what="align", key="open")
    assert shown(session)["open"]
    assert sender.sent == [], "nothing is computed before it is asked for"
    ask(session, what="align", key="run", name="centre", numbers=[4.0, 3, 6, 1])
    assert sender.sent[-1] == ("align", {"bin_px": 4.0, "order": 3, "reference": "centre", "rounds": 6, "free": True})
    sender.future.set_result(FOUND)
    seen = shown(session)
    assert seen["src"] == "data:image/png;base64,iVBORw=="
    assert seen["rows"] == [
        ["", "found", "standard error", "π/4 at the rim", "in use"],
        ["C10", "−405 Å", "± 3.20 Å", "98.4 Å", "−150 Å"],
        ["rotation", "−14.90°", "± 0.20°", "", "−15.2°"],
    ]
    assert seen["said"] == "93 bins; correlation of images 0.71, shifts left unexplained: 0.420 Å"
    ask(session, what="align", key="use")
    command, arguments = sender.sent[-1]
    assert (command, arguments["values"]) == ("configure", FOUND["values"])
    assert not shown(session)["open"]


def test_an_empty_bin_is_left_to_the_server_and_refusals_are_said(session: Session, sender: CommandSender) -> None:
    content(session)
    ask(session, what="align", key="open")
    content(session)
    ask(session, what="align", key="run", name="mean", numbers=[0, 1, 3, 0])
    assert sender.sent[-1][1]["bin_px"] is None
    sender.future.set_exception(CommandError("4 rows of the scan are too few", "scan 8 or more"))
    assert shown(session)["said"] == "4 rows of the scan are too few: scan 8 or more"
    ask(session, what="align", key="run", name="mean", numbers=[0, 1, 3, 0])
    sender.future.set_result({**FOUND, "doubt": "C10 is far away"})
    assert shown(session)["said"].endswith(": 0.420 Å. C10 is far away")
    ask(session, what="align", key="run", name="mean", numbers=[0, 1, 3, 0])
    sender.future.set_result({**FOUND, "aberrations": 3})
    assert shown(session)["said"] == "the answer could not be read"
    ask(session, what="align", key="use")
    assert sender.sent[-1][0] == "align", "there is nothing to use"


def test_numbers_that_are_not_four_ask_nothing(session: Session, sender: CommandSender) -> None:
    ask(session, what="align", key="run", name="mean", numbers=[0, 1, 3, 0])
    assert sender.sent == [], "it is not open"
    content(session)
    ask(session, what="align", key="open")
    ask(session, what="align", key="run", name="mean", numbers=[1])
    assert sender.sent == []
