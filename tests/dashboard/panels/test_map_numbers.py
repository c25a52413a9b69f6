"""Numeric settings of live maps, typed below them."""

import json

import pytest
from fake_server import MAP_KINDS
from page_in_memory import content, silent_feed

from ptylive.dashboard.client.map_kinds import MapKind, MapKinds
from ptylive.dashboard.panels.map_numbers import UnclearNumberError, parse_numbers

KINDS = MapKinds.from_plain(MAP_KINDS)
OBF = KINDS.called("obf")
NUMBER = {"name": "curl.order", "low": 0, "high": 4, "default": 2, "about": "of the difference"}
CURL = MapKind.from_plain({"name": "com_curl", "method": "curl", "settings": [NUMBER]})
"""A map with a single number, whose name may be omitted."""


@pytest.mark.parametrize(
    ("kind", "text", "values"),
    [
        (CURL, "0.2", {"curl.order": 0.2}),
        (CURL, " order = 2e-1", {"curl.order": 0.2}),
        (CURL, "order = 0,5", {"curl.order": 0.5}),
        (CURL, "0,1", {"curl.order": 0.1}),
        (CURL, "order = 300,000", {"curl.order": "300,000"}),
        (CURL, "auto", {"curl.order": None}),
        (CURL, "order = ", {"curl.order": None}),
        (OBF, "upsample = 4, noise=default", {"obf.upsample": 4.0, "obf.noise": None}),
        (KINDS.called("idpc"), "highpass_invA = 0.5 1/nm", {"idpc.highpass_invA": "0.5 1/nm"}),
        (CURL, "−1", {"curl.order": -1.0}),
        (CURL, "nan", {"curl.order": "nan"}),
    ],
)
def test_what_is_typed(kind, text, values):
    assert parse_numbers(kind, text) == values


@pytest.mark.parametrize("text", ["4", "epsilom = 3", "upsample", "", "upsample = 2,5", "noise = 1, noise = 2"])
def test_what_is_unclear_is_answered_with_what_there_is(text):
    with pytest.raises(UnclearNumberError, match="use upsample = number, depth_A = number, noise = number, or auto"):
        parse_numbers(OBF, text)


def test_a_mistyped_name_is_told_the_nearest():
    with pytest.raises(UnclearNumberError, match="did you mean 'upsample'"):
        parse_numbers(OBF, "upsampel = 3")


def test_what_a_server_says_of_numbers_may_be_nonsense():
    assert MapKinds.from_plain([{"name": "a", "settings": [{"name": "a.b"}]}]).called("a").numbers == ()
    assert MapKind.from_plain({"name": "a", "settings": None}).numbers == ()


@pytest.fixture
def feed():
    return silent_feed(map_settings={"obf.noise": 3.0})


def test_they_are_shown_and_sent(session, sender):
    seen = content(session)
    assert seen["texts"]["map_0_numbers"] == "noise 3"
    assert seen["texts"]["map_0_numbers_about"].startswith("upsample: factor by which it is finer than the scan")
    assert seen["clips"]["edit_map_0"] == "upsample = auto, depth_A = auto, noise = 3"
    assert not seen["texts"]["map_3_numbers_about"]  # without it the page shows no pencil
    session._requests.take(json.dumps({"what": "numbers", "panel": 0, "value": "noise = auto, upsample = 2"}))
    assert sender.sent == [("map_settings", {"values": {"obf.noise": None, "obf.upsample": 2.0}})]
    for panel, value in ((3, "1"), (7, "1"), (0, "noise 3")):  # nothing to set, no such panel, ambiguous
        session._requests.take(json.dumps({"what": "numbers", "panel": panel, "value": value}))
    assert len(sender.sent) == 1
    assert "use upsample = number" in content(session)["texts"]["sentence"]
