"""One page without a browser: what it shows, sends and requests."""

import gc
import weakref
from collections import Counter

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import Glyph
from bokeh.plotting import figure
from page_in_memory import CommandSender, ask, content
from quick_first import quick_first

from ptylive.dashboard.client.feed import Feed, FeedView, raw_picture
from ptylive.dashboard.panels.live.browser_hooks import BEAT_MS
from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare
from ptylive.dashboard.session import VIEWS, Session
from ptylive.dashboard.skeleton import LATER
from ptylive.dashboard.web.page_document import root_names

WITH_AXES = 7
"""A profile, two losses, and curves along a line, below the line and over rings."""


@pytest.mark.slow
def test_a_page_that_was_closed_is_forgotten(feed: Feed) -> None:
    feed._wanted.clear()
    kept = []
    for _ in range(3):
        document = Document()
        page = Session(document, feed, CommandSender())
        page.tick()
        for closed in document.session_destroyed_callbacks:
            closed(None)
        kept.append(weakref.ref(page))
    del page, document, closed
    gc.collect()
    assert [ref() for ref in kept] == [None] * 3
    assert feed._wanted == {}


def test_a_page_watches_what_it_shows_until_it_is_closed(session: Session, feed: Feed) -> None:
    assert feed._wanted[session.id] == {"obf", "tcbf", "idpc", "adf", "pattern_log"}
    session.mosaic.panels[0].choice.value = "bf"
    session.diffraction.log.active = False
    assert feed._wanted[session.id] == {"bf", "tcbf", "idpc", "adf", "pattern"}
    session.view_choice.active = 1
    assert feed._wanted[session.id] == {"object", "probe"}
    for closed in session.document.session_destroyed_callbacks:
        closed(None)
    assert session.id not in feed._wanted


def test_a_page_is_sent_a_beat_every_few_seconds(session: Session) -> None:
    """By which the browser notices a network that has failed in silence."""
    (beats,) = (one for one in session.document.session_callbacks if getattr(one, "period", 0) == BEAT_MS)
    events: list[object] = []
    session.document.on_change(events.append)
    for _ in range(2):
        beats.callback()
    assert sum(getattr(event, "attr", "") == "beat" for event in events) == 2
    assert session.page.js_property_callbacks["change:beat"]


@pytest.mark.whole_page
def test_a_tick_without_news_changes_nothing(session: Session) -> None:
    first = session.tick() or session.page.content
    events: list[object] = []
    session.document.on_change(events.append)
    session.tick()
    assert session.page.content == first
    assert events == []


def test_colours_belong_to_the_map(session: Session) -> None:
    panel = session.mosaic.panels[0]
    panel.colours.value = "viridis"
    panel.choice.value = "adf"
    assert panel.colours.value == "gray"
    panel.choice.value = "obf"
    assert panel.colours.value == "viridis"


def test_locking_keeps_the_contrast_that_is_shown(session: Session, feed: Feed) -> None:
    panel = session.mosaic.panels[3]
    data = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    bright = prepare(RawPicture("adf", data), 1, Surroundings())
    feed._view = FeedView(connected=True, pictures={"adf": bright}, available=frozenset({"adf"}))
    session.tick()
    panel.lock.active = True
    panel.view.shown.number = 1
    brighter = prepare(RawPicture("adf", 9 * data), 2, Surroundings())
    feed._view = FeedView(connected=True, pictures={"adf": brighter}, available=frozenset({"adf"}))
    session.tick()
    assert panel.view.limits == bright.limits
    panel.lock.active = False
    panel.view.shown.number = 2
    session.tick()
    assert panel.view.limits == brighter.limits


def test_a_map_says_how_far_noise_scatters_it_and_when_it_is_nothing_else(session: Session, feed: Feed) -> None:
    data = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    plain = {
        "shape": [8, 8],
        "dtype": "<f4",
        "data": data.tobytes(),
        "units": "rad",
        "deviation": 0.0123,
        "buried": True,
    }
    said = []
    for more in ({}, {"buried": False}, {"buried": False, "faint": True}, {"deviation": None, "buried": None}):
        made = prepare(raw_picture("obf", plain | more), len(said) + 1, Surroundings())
        feed._view = FeedView(connected=True, pictures={"obf": made}, available=frozenset({"obf"}))
        session.mosaic.panels[0].view.shown.number = made.version - 1
        texts = content(session)["texts"]
        said.append((texts["map_0_units"], texts["map_0_note"]))
    faint = "no pixel stands out of the noise by 3 standard deviations"
    assert said == [("rad ± 0.012", "nothing but noise"), ("rad ± 0.012", ""), ("rad ± 0.012", faint), ("rad", "")]


def test_without_a_server_no_button_can_be_pressed(session: Session, feed: Feed) -> None:
    feed._view = FeedView()
    session.tick()
    assert all(button.disabled for buttons in session.refine._buttons.values() for button in buttons)
    assert "no server at" in content(session)["texts"]["banner"]


def show_all(session: Session) -> None:
    """Have the page create every figure."""
    ask(session, what="ready")
    session.view_choice.active = VIEWS.index("refine")
    session.tick()


def test_keys_act_on_the_focused_map(session: Session, feed: Feed) -> None:
    ask(session, what="key", key="5", panel=2)
    assert session.mosaic.panels[2].kind.name == "bf"
    ask(session, what="key", key="t", panel=2)
    assert "bf:fft" in feed._wanted[session.id]
    ask(session, what="key", key="t", panel=2)
    ask(session, what="key", key="c", panel=2)
    assert session.mosaic.panels[2].colours.value == "magma"
    ask(session, what="key", key="l", panel=2)
    assert session.mosaic.panels[2].lock.active
    ask(session, what="key", key="a", panel=2)
    assert not session.mosaic.panels[2].lock.active
    ask(session, what="key", key="9", panel=8)
    ask(session, what="key", key="v")
    assert session.view_name == "refine"


def test_keys_refine_and_stop_only_where_the_buttons_could(session: Session, sender: CommandSender) -> None:
    ask(session, what="key", key="s")
    assert sender.sent == []
    session.tick()
    ask(session, what="key", key="r")
    assert sender.sent[0][0] == "refine"


def test_what_a_browser_makes_up_is_dropped(
    session: Session, sender: CommandSender, caplog: pytest.LogCaptureFixture
) -> None:
    for made in ("{", '{"what": "shell"}', '{"what": "key", "panel": 99}', "x" * 10_000, '{"what": "undo", "a": 1'):
        session.asked.content = made
    assert sender.sent == []


def test_maps_that_come_are_offered(session: Session, feed: Feed) -> None:
    names = [name for name, _ in session.mosaic.panels[0].choice.options]
    assert names[:4] == ["obf", "tcbf", "idpc", "adf"]
    assert "ssb" not in names
    feed._view = FeedView(connected=True, available=frozenset({"ssb", "vd_ring", "coverage", "pattern"}))
    session.tick()
    options = dict(session.mosaic.panels[0].choice.options)
    assert options["vd_ring"] == "detector ring"
    assert "ssb" in options
    assert not {"coverage", "pattern"} & set(options)


def test_a_profile_is_two_clicks(session: Session, feed: Feed) -> None:
    panel = session.mosaic.panels[0]
    ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    picture = prepare(RawPicture("obf", ramp, "rad"), 1, Surroundings(step_A=(2.0, 2.0)))
    feed._view = FeedView(connected=True, pictures={"obf": picture}, available=frozenset({"obf"}))
    session.profile.tap(panel, 0.0, 0.0)
    assert session.profile.ends == []
    ask(session, what="key", key="p")
    assert content(session)["texts"]["sentence"] == "click a map at the start of the line"
    session.orders.say("refused")
    assert content(session)["texts"]["sentence"].split("\n") == ["click a map at the start of the line", "refused"]
    session.profile.tap(panel, 0.0, 4.0)
    session.profile.tap(panel, 14.0, 4.0)
    assert content(session)["marks"]["profile"] == "on"
    curve = session.profile._curve.data
    assert curve["distance"][-1] == pytest.approx(14.0)
    assert curve["value"][[0, -1]] == pytest.approx([0.0, 7.0])
    ask(session, what="key", key="p")
    session.tick()
    assert list(session.profile._curve.data["value"]) == []


@pytest.mark.whole_page
def test_the_roots_of_a_page_are_in_the_order_of_their_places(session: Session) -> None:
    """The HTML is made without a document, and BokehJS assigns roots to places by their order."""
    assert [root.name for root in session.document.roots] == root_names()[: -len(LATER)]
    show_all(session)
    assert [root.name for root in session.document.roots] == root_names()


@pytest.mark.whole_page
@pytest.mark.parametrize("wanted", quick_first(["refine", "trotters", "profile"]))
def test_hidden_figures_come_when_one_of_them_is_wanted_and_the_page_is_there(session: Session, wanted: str) -> None:
    session.tick()
    at_first = len(session.document.roots)
    session.view_choice.active = VIEWS.index("refine") if wanted == "refine" else 0
    session.trotter.active.active = wanted == "trotters"
    session.profile.active.active = wanted == "profile"
    session.tick()
    assert len(session.document.roots) == at_first, "what comes while the page is made gets no place"
    ask(session, what="ready")
    session.tick()
    assert len(session.document.roots) == at_first + len(LATER)


@pytest.mark.whole_page
@pytest.mark.slow
def test_a_picture_that_a_figure_had_before_it_came_is_not_waited_for(session: Session, feed: Feed) -> None:
    session.view_choice.active = VIEWS.index("refine")
    figure = session.reconstruction.object
    first, second = (prepare(RawPicture("object", np.eye(4)), version, Surroundings()) for version in (1, 2))
    feed._view = FeedView(connected=True, pictures={"object": first}, available=frozenset({"object"}))
    session.tick()
    feed._view = FeedView(connected=True, pictures={"object": second}, available=frozenset({"object"}))
    session.tick()
    assert figure.source.data["number"] == [1], "the browser has not painted the first"
    ask(session, what="ready")
    session.tick()
    assert figure.source.data["number"] == [2]


@pytest.mark.whole_page
@pytest.mark.slow
def test_a_page_has_no_models_that_show_nothing(session: Session) -> None:
    """Each model costs every opened page about a millisecond of the server and of the browser: pictures have no axes,
    and marks that cannot be selected have no second and third glyph."""
    show_all(session)
    kinds = Counter(type(model).__name__ for model in session.document.models)
    assert sum(bool(plot.axis) for plot in session.document.select({"type": figure})) == WITH_AXES
    assert sum(isinstance(model, Glyph) for model in session.document.models) == kinds["GlyphRenderer"]
    assert kinds["Title"] == 0
