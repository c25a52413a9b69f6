"""Trustworthy maps come first, unless the viewer has chosen otherwise."""

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, content, silent_feed
from quick_first import quick_first

from ptylive.dashboard.client.map_kinds import FIRST_CHOICE, STRONG_CHOICE
from ptylive.dashboard.session import Session
from ptylive.schema.maps import STRONG_MODULATION as STRONG
from ptylive.schema.maps import TOO_THICK as BADGE


def shown(session: Session) -> tuple[str, ...]:
    return tuple(panel.kind.name for panel in session.mosaic.first)


def answered(session: Session, sender: CommandSender, modulation: float | None) -> dict[str, str]:
    content(session)
    sender.answer("estimates", estimates={}, modulation=modulation)
    content(session)
    return content(session)["texts"]


def test_of_a_strong_specimen_the_maps_come_first_that_do_not_take_it_for_weak(sender: CommandSender) -> None:
    session = Session(Document(), silent_feed(state="complete"), sender)
    texts = answered(session, sender, STRONG + 0.1)
    assert shown(session) == STRONG_CHOICE
    assert texts["first_maps"].startswith("multiple scattering (bright field ± 65 %)")
    assert [texts[f"map_{i}_badge"] for i in range(4)] == ["", "", "", BADGE]
    session.feed._view = silent_feed(state="complete", uid="scan-2")._view
    content(session)
    assert content(session)["texts"]["map_3_badge"] == "", "nothing is known of the next scan yet"
    texts = answered(session, sender, 0.1)
    assert shown(session) == FIRST_CHOICE
    assert texts["first_maps"] == ""


@pytest.mark.parametrize("modulation", quick_first([None, 0.0, STRONG - 0.01]))
def test_of_others_nothing_changes(sender: CommandSender, modulation: float | None) -> None:
    session = Session(Document(), silent_feed(state="complete"), sender)
    assert answered(session, sender, modulation)["first_maps"] == ""
    assert shown(session) == FIRST_CHOICE


def test_what_the_viewer_chose_stays(sender: CommandSender) -> None:
    session = Session(Document(), silent_feed(state="complete"), sender)
    session.mosaic.panels[1].choice.value = "bf"
    texts = answered(session, sender, 0.9)
    assert shown(session) == ("obf", "bf", "idpc", "adf")
    assert texts["map_0_badge"] == BADGE, "and is marked"
