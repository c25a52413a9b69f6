"""What is shown next to a value that was given or pinned, and what a click applies."""

from typing import Any

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed
from quick_first import quick_first

from ptylive.dashboard.session import Session

GIVEN = {"C10": {"value": -300.0, "origin": "given"}, "rotation_deg": {"value": 0.0, "origin": "given"}}
SAYS = {"value": -146.0, "uncertainty": 11.0, "agrees": False}


def page(sender: CommandSender, **state: Any) -> Session:
    return Session(Document(), silent_feed(**{"state": "complete", "calibration": GIVEN, **state}), sender)


def beside(session: Session, sender: CommandSender, **estimates: Any) -> dict[str, dict[str, str]]:
    content(session)
    sender.answer("estimates", estimates=estimates)
    content(session)
    return dict(content(session)["lists"]["beside"])  # type: ignore[arg-type]


def test_a_defocus_that_the_data_contradict_is_replaced_by_a_click(sender: CommandSender) -> None:
    session = page(sender)
    assert beside(session, sender, C10=SAYS) == {
        "C10": {"text": "data say 146 ± 11 Å underfocus", "state": "differs", "label": "use"}
    }
    ask(session, what="use_row", name="C10")
    assert (sender.sent[-1][0], sender.sent[-1][1]["names"]) == ("calibrate", ["C10"])


def test_one_that_agrees_is_said_to_and_has_no_button(sender: CommandSender) -> None:
    session = page(sender)
    found = beside(session, sender, C10={**SAYS, "agrees": True})
    assert found["C10"]["state"] == "agrees"
    assert found["C10"]["label"] == ""
    assert content(session)["texts"]["cal_C10_origin"] == "given ✓"
    ask(session, what="use_row", name="C10")
    assert sender.sent == []


def asked(sender: CommandSender) -> int:
    return sum(command == "estimates" for command, _, _ in sender.asked)


@pytest.mark.parametrize(
    ("state", "times"),
    quick_first(
        [
            ({"state": "scanning", "frames": 100}, 0),
            ({"state": "scanning", "frames": 500}, 1),
            ({}, 1),
        ],
        2,
    ),
)
def test_the_data_are_asked_when_there_is_something_to_compare(
    sender: CommandSender, state: dict[str, Any], times: int
) -> None:
    """After a tenth of 4096 points and at the end, and not again."""
    session = page(sender, **state)
    for _ in range(3):
        content(session)
    assert asked(sender) == times


def test_an_answer_for_values_that_have_changed_is_not_shown(sender: CommandSender) -> None:
    session = page(sender)
    content(session)
    late = next(future for command, _, future in sender.asked if command == "estimates")
    late.set_running_or_notify_cancel()  # it has been sent
    session.feed._view = silent_feed(
        state="complete", calibration={**GIVEN, "C10": {"value": -150.0, "origin": "given"}}
    )._view
    content(session)
    late.set_result({"estimates": {"C10": SAYS}})
    content(session)
    assert content(session)["lists"]["beside"] == {}
    assert asked(sender) == 2


def test_a_header_that_contradicts_a_pin_is_said_and_taken_for_this_scan(sender: CommandSender) -> None:
    energy = {"energy_eV": {"value": 80e3, "origin": "given"}}
    session = page(sender, contradicted={"energy_eV": 300e3}, calibration=energy)
    content(session)
    shown = content(session)
    assert shown["lists"]["beside"] == {  # type: ignore[comparison-overlap]
        "energy_eV": {"text": "typed 80 kV, sent 300 kV", "state": "sent", "label": "use sent"}
    }
    assert shown["marks"]["doubt"] == "off"
    ask(session, what="use_row", name="energy_eV")
    assert (sender.sent[-1][0], sender.sent[-1][1]["values"]) == ("configure", {"energy_eV": 300e3})


def test_a_descan_that_the_data_contradict_is_said_with_its_distance(sender: CommandSender) -> None:
    session = page(sender, calibration={"descan_px": {"value": [0.0, 0.0, 0.0, 0.0], "origin": "given"}})
    plane = [1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    told = {"value": plane, "uncertainty": 0.02, "agrees": False, "apart_px": 3.0}
    assert beside(session, sender, descan_px=told)["descan_px"] == {
        "text": "data say 3.0 px over the field; patterns are up to 3.0 px from where the value in use puts them",
        "state": "differs",
        "label": "use",
    }
    ask(session, what="use_row", name="descan_px")
    assert (sender.sent[-1][0], sender.sent[-1][1]["names"]) == ("calibrate", ["descan_px"])
