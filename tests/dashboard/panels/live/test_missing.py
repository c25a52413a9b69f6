"""An empty panel says what it needs; a panel whose map is on its way does not."""

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, content, silent_feed

from ptylive.dashboard.client.map_kinds import WHEEL, MapKind
from ptylive.dashboard.panels.live.missing import lacking
from ptylive.dashboard.session import Session

MESSAGE = (
    "com, idpc: needs detector_pixel_invA, found from the disc once energy_eV and convergence_semiangle_mrad are known;"
    " obf, tcbf, wdd: needs scan_step_A"
)
STEP = {"scan_step_A": {"value": [0.4, 0.4], "origin": "given"}}


def state_of(**more: object):
    return silent_feed(message=MESSAGE, **more)._view.state


@pytest.mark.parametrize(("method", "asks"), [("obf", True), ("idpc", True), ("adf", False), ("b", False)])
def test_what_is_lacking_is_asked_for_where_a_map_lacks_it(method: str, asks: bool) -> None:
    found = lacking(state_of(calibration={}), MapKind("x", "x", method=method))
    assert found == (
        [("energy_eV", "energy"), ("convergence_semiangle_mrad", "semi-angle"), ("scan_step_A", "scan step")]
        if asks
        else []
    )


def test_a_stored_scan_lacks_what_nobody_has_given() -> None:
    """Its maps are not on their way, and its server reports nothing about them."""
    opened = silent_feed(state="complete", message="", calibration=STEP)._view.state
    obf, later, wheel = MapKind("obf", "x", method="obf"), MapKind("y", "y", method="y", afterwards=True), WHEEL
    assert [name for name, _ in lacking(opened, obf)] == ["energy_eV", "convergence_semiangle_mrad"]
    assert lacking(opened, later) == lacking(opened, wheel) == []
    assert lacking(silent_feed(state="scanning", message="", calibration=STEP)._view.state, obf) == []


def test_a_scan_of_which_nothing_is_known_yet_lacks_nothing() -> None:
    compiling = "compiling the live maps (first scan on this machine), 3 s so far"
    complete = silent_feed(state="complete", message=compiling, calibration={})._view.state
    assert lacking(complete, MapKind("obf", "x", method="obf")) == []
    armed = silent_feed(state="complete", message=compiling, calibration=STEP)._view.state  # by its header
    assert lacking(armed, MapKind("obf", "x", method="obf")) == []
    unread = silent_feed(state="complete", message="", calibration={})._view.state  # of the library, without results
    assert len(lacking(unread, MapKind("obf", "x", method="obf"))) == 3


def test_what_is_known_is_not_asked_for() -> None:
    names = [name for name, _ in lacking(state_of(calibration=STEP), MapKind("obf", "x", method="obf"))]
    assert names == ["energy_eV", "convergence_semiangle_mrad"]


def test_the_page_offers_the_fields_in_place_of_the_map(sender: CommandSender) -> None:
    session = Session(Document(), silent_feed(message=MESSAGE, calibration=STEP), sender)
    content(session)
    shown = content(session)
    assert [len(one) for one in shown["lists"]["needs"]][:4] == [2, 2, 2, 0]
    assert shown["texts"]["map_0_note"] == ""
    assert shown["texts"]["map_3_note"] == "no data yet"


def test_a_map_that_lacks_no_value_says_what_it_lacks(sender: CommandSender) -> None:
    """Regression: for a scan without counts, every map was "no data yet" forever."""
    known = {name: {"value": 1.0, "origin": "given"} for name in ("energy_eV", "convergence_semiangle_mrad")}
    dark = silent_feed(
        message="obf, wdd: needs counts in the bright field; all counts are 0",
        state="complete",
        calibration={**STEP, **known},
    )
    session = Session(Document(), dark, sender)
    content(session)
    shown = content(session)
    assert shown["texts"]["map_0_note"] == "this map needs counts in the bright field"
    assert shown["texts"]["map_3_note"] == "no data yet"
    assert shown["lists"]["needs"][0] == []
