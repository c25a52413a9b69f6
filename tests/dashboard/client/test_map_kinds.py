"""The map chooser names, orders and colours the server's maps as the server specifies."""

import time

import pytest
from bokeh.models import InlineStyleSheet
from fake_server import MAP_KINDS, FakeServer

from ptylive.dashboard.client.feed import Feed
from ptylive.dashboard.client.map_kinds import MapKinds
from ptylive.dashboard.panels.maps import Mosaic
from ptylive.pictures.colours import ColourMap

MINE = {"name": "mine", "label": "my map", "colour_map": "viridis", "place": 15, "shows": "all", "trust": "never"}
NOTHING = MapKinds()


def test_the_chooser_is_what_it_was():
    assert MapKinds.from_plain(MAP_KINDS).offered(()) == [
        ("obf", "phase (OBF)"),
        ("tcbf", "tilt-corrected BF"),
        ("idpc", "iDPC phase"),
        ("adf", "annular DF"),
        ("bf", "bright field"),
        ("abf", "annular BF"),
        ("dpc", "DPC colour wheel"),
        ("wdd_phase", "WDD phase"),
        ("wdd_amplitude", "WDD amplitude"),
        ("com_row", "centre of mass, rows"),
        ("com_col", "centre of mass, columns"),
    ]


@pytest.mark.parametrize(
    ("remark", "said"),
    [
        ("obf, tcbf: needs energy_eV", "phase (OBF), tilt-corrected BF: need energy_eV"),
        ("obf: needs scan_step_A", "phase (OBF): needs scan_step_A"),
        ("obf, unheard: needs scan_step_A", "obf, unheard: needs scan_step_A"),
        ("all counts are 0: was the beam blanked?", "all counts are 0: was the beam blanked?"),
    ],
)
def test_what_methods_need_is_told_with_the_labels_of_their_maps(remark: str, said: str):
    assert MapKinds.from_plain(MAP_KINDS).labelled(remark) == said


def test_a_vector_is_named_without_its_component():
    com = [{"name": f"com_{axis}", "label": f"centre of mass, {axis}s", "method": "com"} for axis in ("row", "col")]
    assert MapKinds.from_plain(com).labelled("com: needs x") == "centre of mass: needs x"


def test_maps_made_afterwards_are_offered_once_they_are_there():
    offered = MapKinds.from_plain(MAP_KINDS).offered({"ssb", "pattern", "vd_ring", "somebody_s"})
    assert offered[-3:] == [("ssb", "SSB phase"), ("somebody_s", "somebody s"), ("vd_ring", "detector ring")]


def test_a_new_map_stands_where_it_wants():
    assert MapKinds.from_plain([*MAP_KINDS, MINE]).offered(())[1] == ("mine", "my map")
    kind = MapKinds.from_plain([MINE]).called("mine")
    assert kind.colour_map is ColourMap.VIRIDIS
    assert kind.about == "all. Trust it: never"


@pytest.mark.parametrize(
    "plain",
    [None, 7, "obf", {"obf": {}}, [None, 7, "obf", {}, {"name": 3}, {"name": "x", "place": "first"}, {"name": ""}]],
)
def test_what_is_no_kind_is_left_out(plain):
    kinds = MapKinds.from_plain(plain)
    assert kinds == NOTHING
    assert [name for name, _ in kinds.offered(())] == ["obf", "tcbf", "idpc", "adf", "dpc"]


def test_what_is_not_told_is_made_up():
    kind = MapKinds.from_plain([{"name": "new_map", "colour_map": "octarine", "label": 5}]).called("new_map")
    assert (kind.label, kind.colour_map, kind.about) == ("new map", ColourMap.GRAY, "")


def test_panels_that_were_there_first_learn_what_the_server_says():
    mosaic = Mosaic(InlineStyleSheet(), NOTHING)
    first, second = mosaic.panels[:2]
    assert (first.kind.label, first.colours.value) == ("obf", "gray")
    second.colours.value = "inferno"
    mosaic.offer(frozenset(), MapKinds.from_plain([*MAP_KINDS, {**MINE, "name": "tcbf"}]))
    assert ("obf", "phase (OBF)") in first.choice.options
    assert (first.kind.label, first.colours.value, first.view.colour_map) == ("phase (OBF)", "magma", ColourMap.MAGMA)
    assert second.kind.label == "my map"
    assert second.colours.value == "inferno", "the viewer's own choice"
    assert first.texts("obf", None)["map_0_about"].startswith("the phase")


def test_the_feed_hears_it_from_the_server(server: FakeServer):
    server.replies["snapshot"] = {"map_kinds": [MINE]}
    feed = Feed(server.control)
    feed.start()
    try:
        deadline = time.monotonic() + 60
        while not feed.view().kinds.known:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert feed.view().kinds.called("mine").label == "my map"
    finally:
        feed.stop()
