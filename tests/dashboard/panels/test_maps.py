"""Text next to the colour bar of a map."""

from types import MappingProxyType

import numpy as np
from page_in_memory import ask

from ptylive.dashboard.client.feed import raw_picture
from ptylive.dashboard.client.map_kinds import MapKind, MapKinds
from ptylive.dashboard.panels import maps
from ptylive.dashboard.pictures import Picture, RawPicture, Surroundings, prepare
from ptylive.dashboard.session import Session


def picture(**more: object) -> Picture:
    data = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    plain = {"shape": [8, 8], "dtype": "<f4", "data": data.tobytes(), "units": "rad", **more}
    return prepare(raw_picture("obf", plain), 1, Surroundings())


def test_the_information_limit_and_what_more_dose_would_bring() -> None:
    told = picture(information_limits=[[1.0, 1.07, 0.02, False], [2.0, 0.98, 0.04, True], [4.0, 0.9, 0.5, 0]])
    assert (maps._units(told), maps._limit(told)) == ("rad", "1.07 Å")
    assert maps._units_title(told).splitlines() == [
        "unit",
        "information limit: 1.07 ± 0.020 Å",
        "with 2 × the dose: the limit of the scan step (0.980 Å)",
        "with 4 × the dose: cannot tell",
    ]


def test_where_it_cannot_be_told_nothing_is() -> None:
    assert maps._limit(picture()) == ""
    doubtful = picture(deviation=0.0123, information_limits=[[1.0, 1.07, 0.9, False]])
    assert (maps._units(doubtful), maps._limit(doubtful)) == ("rad ± 0.012", "")
    assert maps._units_title(doubtful).startswith("unit; ±: one standard deviation")


def test_a_map_of_equal_pixels_says_so_once_the_scan_is_whole() -> None:
    """Regression: a scan without counts showed flat maps from -0.5 to 0.5 counts without a word."""
    flat, half = RawPicture("bf", np.zeros((4, 4), np.float32)), np.eye(4, dtype=bool)
    texts = [maps._note(prepare(flat, 1, Surroundings(coverage, (4, 4)))) for coverage in (half, ~half | half)]
    assert texts == ["", maps.SAME_EVERYWHERE]
    assert maps._note(picture()) == ""


def lay_out(session: Session, name: str) -> list[int]:
    ask(session, what="layout", key=name)
    return [panel.index for panel in session.mosaic.shown]


def test_only_panels_of_the_layout_are_made_pictures_for(session: Session) -> None:
    """Six in one of them; a browser that sends nonsense gets the four that every page has."""
    assert [panel.index for panel in session.mosaic.shown] == [0, 1, 2, 3]
    assert lay_out(session, "six") == [0, 1, 2, 3, 4, 5]
    assert {"dpc", "bf"} <= session._wanted()
    assert lay_out(session, "pair") == [0, 1]
    assert "bf" not in session._wanted()
    assert lay_out(session, "large") == lay_out(session, "nonsense") == [0, 1, 2, 3]


def test_the_object_stands_beside_a_map_and_makes_room_again(session: Session) -> None:
    second = session.mosaic.panels[1].choice
    before = second.value
    lay_out(session, "pair")
    assert second.value == before, "there is no object yet"
    session.mosaic.offer(frozenset({"object"}), session.feed.view().kinds)
    lay_out(session, "pair")
    assert second.value == "refined"
    lay_out(session, "four")
    assert second.value == before
    lay_out(session, "pair")
    second.value = "bf"
    lay_out(session, "four")
    assert second.value == "bf", "what was chosen meanwhile stays"


def test_vectors_have_no_transform_from_the_start(session: Session) -> None:
    fifth = session.mosaic.panels[4]
    assert (fifth.kind.name, fifth.fft.disabled, fifth.colours.disabled) == ("dpc", True, True)
    fifth.choice.value = "adf"
    assert not fifth.fft.disabled


def test_a_map_that_was_there_can_still_be_chosen_when_the_next_scan_has_none_yet(session: Session) -> None:
    """A choice of it is under way when the next scan begins: the page may only choose what it is offered."""
    after = MapKind.from_plain({"name": "dpc_iterative", "label": "iterative DPC", "afterwards": True})
    kinds = MapKinds(MappingProxyType({after.name: after}))
    offered = lambda: [name for name, _ in session.mosaic.panels[0].choice.options]  # noqa: E731
    session.mosaic.offer(frozenset({"com"}), kinds)
    assert after.name not in offered()
    session.mosaic.offer(frozenset({after.name, "vd_ring1"}), kinds)
    session.mosaic.offer(frozenset({"com"}), kinds)
    assert after.name in offered()
    assert "vd_ring1" not in offered(), "detectors come and go with the viewers' drawings"
