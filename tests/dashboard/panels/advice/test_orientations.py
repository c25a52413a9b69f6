"""The eight orientations as pictures, and a click on one of them."""

from typing import Any

import numpy as np
import pytest
from page_in_memory import CommandSender, ask, content

from ptylive.dashboard.session import Session
from ptylive.server.wire.messages import array_to_plain


def ways(curl: float = 0.03) -> list[dict[str, Any]]:
    picture = array_to_plain(np.arange(1, 65, dtype=np.uint8).reshape(8, 8))
    words = [("none", 90.0 * k) for k in range(4)] + [("transpose", 90.0 * k) for k in range(4)]
    return [
        {"rotation_deg": angle - 15.25, "detector_transform": word, "curl": curl, "in_use": i == 2, "picture": picture}
        for i, (word, angle) in enumerate(words)
    ]


def opened(session: Session, sender: CommandSender, told: list[dict[str, Any]]) -> dict[str, Any]:
    content(session)
    ask(session, what="orientations", key="open")
    command, _ = sender.sent[-1]
    assert command == "orientations"
    sender.future.set_result({"orientations": told})
    content(session)
    return dict(content(session)["lists"]["orientations"])  # type: ignore[arg-type]


def test_they_are_asked_for_when_opened_and_the_clicked_one_is_used(session: Session, sender: CommandSender) -> None:
    content(session)
    assert all(command != "orientations" for command, _ in sender.sent), "what is not shown is not computed"
    shown = opened(session, sender, ways())
    assert len(shown["ways"]) == 8
    assert shown["ways"][0]["text"] == "−15.2°, as recorded; curl 3 %"
    assert shown["ways"][5]["text"] == "74.8°, transpose; curl 3 %"
    assert [one["in_use"] for one in shown["ways"]].index(True) == 2
    assert shown["ways"][0]["src"].startswith("data:image/png;base64,")
    assert shown["said"].startswith("the first has the least curl")
    ask(session, what="orientations", key="use", numbers=[5])
    command, arguments = sender.sent[-1]
    assert (command, arguments["values"]) == ("configure", {"rotation_deg": 74.75, "detector_transform": "transpose"})
    assert not content(session)["lists"]["orientations"]["open"]  # type: ignore[index]


@pytest.mark.parametrize(("told", "said"), [([], "too few points"), (ways(0.4), "does not distinguish them")])
def test_what_cannot_be_told_is_said(
    session: Session, sender: CommandSender, told: list[dict[str, Any]], said: str
) -> None:
    assert said in opened(session, sender, told)["said"]


def test_numbers_that_are_none_of_them_do_nothing(session: Session, sender: CommandSender) -> None:
    opened(session, sender, ways())
    before = list(sender.sent)
    for numbers in ([], [8], [-1], [0, 1]):
        ask(session, what="orientations", key="use", numbers=numbers)
    assert sender.sent == before
    ask(session, what="orientations", key="close")
    assert content(session)["lists"]["orientations"]["ways"] == []  # type: ignore[index]
