"""What was typed for one specimen is not used for the next scan, and is there again when its scan is shown."""

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, silent_feed

from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels.live.specimen_settings import OF_ONE_SCAN, SpecimenSettings
from ptylive.dashboard.panels.refine import RefinePanel
from ptylive.dashboard.session import Session
from ptylive.schema.preset import Preset

USUAL = {"num_slices": "auto", "epoch_max": "auto"}


@pytest.fixture
def session() -> Session:
    return Session(Document(), silent_feed(), CommandSender())


def show(session: Session, series: str) -> RefinePanel:
    """Another scan comes onto the page."""
    view = silent_feed().view()
    session.refine.enable(ServerState(uid=f"uid of {series}", series=series), view, free=True)
    return session.refine


def test_a_thickness_stays_with_its_scan_and_the_page_says_so(session: Session) -> None:
    """Regression: settings typed for one scan were used for the next one without a word."""
    refine = show(session, "0142")
    refine.fields["total_thickness_A"].value, refine.fields["num_slices"].value = "80", "4"
    refine.fields["epoch_max"].value, refine.further.value = "30", "slice_distances_A = 20, atv_weight = 0.1"
    typed = refine.preset()
    show(session, "0142")
    assert refine.preset() == typed

    show(session, "0143")
    left = {"total_thickness_A", "slice_distances_A"}
    assert refine.preset() == {name: value for name, value in typed.items() if name not in left} | {
        "num_slices": "auto"
    }
    assert refine.fields["total_thickness_A"].placeholder == "80 for 0142"
    assert session.orders.sentence.startswith("slices, thickness, slice_distances_A: typed for 0142, not used for 0143")

    refine.fields["total_thickness_A"].value = "50"
    show(session, "0142")
    assert refine.preset() == typed
    assert refine.fields["total_thickness_A"].placeholder == "50 for 0143"
    show(session, "0143")
    assert refine.preset()["total_thickness_A"] == 50


def test_scans_of_the_same_name_are_told_apart(session: Session) -> None:
    refine = show(session, "0142")
    refine.fields["num_slices"].value = "4"
    session.refine.enable(ServerState(uid="another uid", series="0142"), silent_feed().view(), free=True)
    said = "slices: typed for the earlier 0142, not used for 0142; back when the earlier 0142 is shown again"
    assert session.orders.sentence == said


def test_what_was_typed_before_the_first_scan_is_for_it(session: Session) -> None:
    refine = session.refine
    refine.fields["total_thickness_A"].value = "80"
    session.refine.enable(ServerState(), silent_feed().view(), free=True)
    show(session, "first")
    assert refine.preset()["total_thickness_A"] == 80


def test_an_untouched_form_says_nothing_and_stays() -> None:
    settings = SpecimenSettings()
    assert [settings.follow(uid, uid, USUAL) for uid in ("a", "b", "", "a")] == [None] * 4


def test_many_scans_are_not_all_remembered() -> None:
    settings = SpecimenSettings()
    settings.follow("0", "0", USUAL)
    for number in range(1, 60):
        taken = settings.follow(str(number), str(number), {**USUAL, "total_thickness_A": number})
        assert taken is not None and "total_thickness_A" not in taken.settings
    assert len(settings._typed) == 50


def test_these_are_settings_of_refinements() -> None:
    assert set(OF_ONE_SCAN) <= set(Preset.full().settings())
