"""One page without a browser: what it watches, sends and asks for."""

import gc
import json
import shlex
import tomllib
import weakref
from collections import Counter
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import Glyph
from bokeh.plotting import figure
from fake_server import MAP_KINDS, state_payload

from ptylive.dashboard.client.feed import Feed, FeedView, raw_picture
from ptylive.dashboard.client.map_kinds import MapKinds
from ptylive.dashboard.client.state import RefinementState, RefinementSummary, ServerState
from ptylive.dashboard.panels.refine import further_text, parse_further
from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare
from ptylive.dashboard.session import VIEWS, Session
from ptylive.dashboard.skeleton import LATER
from ptylive.dashboard.web.page_document import root_names
from ptylive.schema import CommandError
from ptylive.server.cli.values import parse_assignments

QUIET = ("check", "runs", "note", "history", "scans", "snapshot", "trotter")
"""What a page asks for by itself."""
WITH_AXES = 6
"""A profile, two losses, and the curves along a line, below it and over rings."""


class CommandSender:
    """Takes commands and answers when told to; what the page asks for by itself is kept apart."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[str, dict[str, Any], Future[dict[str, Any]]]] = []
        self.future: Future[dict[str, Any]] = Future()

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        if command in QUIET and not arguments.get("pictures") and "text" not in arguments:
            self.asked.append((command, arguments, future))
        else:
            self.sent.append((command, arguments))
            self.future = future
        return future

    def answer(self, command: str, **reply: Any) -> None:
        """Answer the last question of a kind."""
        next(f for c, _, f in reversed(self.asked) if c == command and not f.done()).set_result(reply)


@pytest.fixture
def feed() -> Feed:
    """A feed that does not listen."""
    silent = Feed("tcp://127.0.0.1:9")
    state, kinds = ServerState.model_validate(state_payload()), MapKinds.from_plain(MAP_KINDS)
    silent._view = FeedView(state=state, connected=True, last_contact=1.0, kinds=kinds)
    return silent


@pytest.fixture
def sender() -> CommandSender:
    return CommandSender()


@pytest.fixture
def session(feed: Feed, sender: CommandSender) -> Session:
    return Session(Document(), feed, sender)


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


def content(session: Session) -> dict[str, dict[str, str]]:
    session.tick()
    return json.loads(session.page.content)


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
    for more in ({}, {"buried": False}, {"deviation": None, "buried": None}):
        made = prepare(raw_picture("obf", plain | more), len(said) + 1, Surroundings())
        feed._view = FeedView(connected=True, pictures={"obf": made}, available=frozenset({"obf"}))
        session.mosaic.panels[0].view.shown.number = made.version - 1
        texts = content(session)["texts"]
        said.append((texts["map_0_units"], texts["map_0_note"]))
    assert said == [("rad ± 0.012", "nothing but noise"), ("rad ± 0.012", ""), ("rad", "")]


def test_an_accepted_refinement_opens_its_view(session: Session, sender: CommandSender) -> None:
    session.refine._on_refine({"num_slices": 1})
    assert sender.sent == [("refine", {"preset": {"num_slices": 1}, "if_shown": "scan-1"})]
    session.tick()
    assert all(button.disabled for button in session.refine._buttons["refine"]), "one click, one refinement"
    sender.future.set_result({})
    assert content(session)["texts"]["sentence"] == "refinement started"
    assert session.view_name == "refine"


def test_a_refused_command_is_told(session: Session, sender: CommandSender) -> None:
    session.refine._on_refine({"num_slices": 1})
    sender.future.set_exception(CommandError("no scan to refine"))
    assert content(session)["texts"]["sentence"] == "no scan to refine"
    assert session.view_name == "session"


def test_an_impossible_setting_is_told_before_anything_is_sent(session: Session, sender: CommandSender) -> None:
    session.refine.fields["num_slices"].value = "many"
    session.refine._on_refine(session.refine.preset())
    assert sender.sent == []
    assert "refinement setting num_slices" in content(session)["texts"]["sentence"]


def test_what_is_typed_becomes_numbers(session: Session) -> None:
    session.refine.fields["total_thickness_A"].value = " 12,5 "
    session.refine.fields["epoch_max"].value = "30"
    session.refine.fields["sweeps"].value = ""
    preset = session.refine.preset()
    assert preset["total_thickness_A"] == 12.5
    assert preset["epoch_max"] == 30
    assert "sweeps" not in preset


def test_every_other_setting_can_be_typed(session: Session) -> None:
    """Also one of another package, which the server knows or refuses."""
    refine = session.refine
    refine.further.value = 'wavelet = 0.1,phase_only_obj=false, sequence = [1, 2], note="a, b", reg = epoch >= 3, odd'
    assert refine.preset() | {"odd": ""} == refine.preset()
    typed = {key: refine.preset()[key] for key in ("wavelet", "phase_only_obj", "sequence", "note", "reg")}
    assert typed == {"wavelet": 0.1, "phase_only_obj": False, "sequence": [1, 2], "note": "a, b", "reg": "epoch >= 3"}
    refine.further.value = "epoch_max = 3"
    refine.fields["epoch_max"].value = "30"
    assert refine.preset()["epoch_max"] == 30, "its own field comes first"


@pytest.mark.parametrize(
    "typed", ['b = {"x": 1}', "a = null", "c = [null]", "a b = 3", "= 3", "é", "[[[[", '"', "n = NaN"]
)
def test_whatever_is_typed_there_the_page_goes_on(session: Session, typed: str) -> None:
    """The server refuses it; until then it is in a command line and in a preset file that can be read."""
    session.refine.further.value = typed
    clips = content(session)["clips"]
    assert "--set" in clips["command"]
    name = typed.partition("=")[0].strip()
    assert name in tomllib.loads(clips["preset"])["refine"]


def test_what_a_preset_file_says_besides_is_in_the_last_field(session: Session) -> None:
    refine = session.refine
    refine.load("hist_length = 7\nsequence = [0, 5]\nphase_only_obj = false")
    assert refine.further.value == "hist_length = 7, phase_only_obj = false, sequence = [0, 5]"
    assert {"hist_length": 7, "phase_only_obj": False, "sequence": [0, 5]}.items() <= refine.preset().items()
    assert refine.load("epoch_max = 2") == "preset loaded"
    assert refine.further.value == ""


def test_stages_of_a_preset_file_go_to_the_server_and_into_what_is_copied(session: Session) -> None:
    text = "[refine]\nepoch_max = 20\n[[stage]]\nname = 'coarse, first'\nwindow_px = 32\n[[stage]]\nepoch_max = 8\n"
    stages = [{"name": "coarse, first", "window_px": 32}, {"epoch_max": 8}]
    assert session.refine.load(text) == "preset loaded, with stages"
    assert session.refine.preset()["stages"] == stages
    clips = content(session)["clips"]
    assert tomllib.loads(clips["preset"])["refine"]["stages"] == stages
    words = shlex.split(clips["command"])
    given = parse_assignments(words[at + 1] for at, word in enumerate(words) if word == "--set")
    assert given["stages"] == stages
    assert "stage 2: " in session.refine.load("[[stage]]\n[[stage]]\nwindow_px = 1\n")


@pytest.mark.parametrize("value", [0.25, True, [1, 2], "epoch >= 3", "a, b", "7", "true", 'say "a, b"', "[", "å"])
def test_what_the_last_field_shows_is_what_was_meant(value: object) -> None:
    assert parse_further(further_text({"one": value, "two": 2})) == {"one": value, "two": 2}


def test_positions_are_refined_when_that_is_chosen(session: Session) -> None:
    refine = session.refine
    assert "update_probe_pos" not in refine.preset()
    refine.fields["update_probe_pos"].value = "refined"
    assert refine.preset()["update_probe_pos"] is True
    assert "--set update_probe_pos=true" in content(session)["clips"]["command"]
    assert refine.load("update_probe_pos = false\nepoch_max = 20") == "preset loaded"
    assert "update_probe_pos" not in refine.preset()
    assert refine.load("update_probe_pos = true") == "preset loaded"
    assert refine.preset()["update_probe_pos"] is True
    later = refine.load('update_probe_pos = "epoch >= 10"')
    assert later == "preset loaded, with update_probe_pos"
    assert refine.preset()["update_probe_pos"] == "epoch >= 10"


def test_without_a_server_no_button_can_be_pressed(session: Session, feed: Feed) -> None:
    feed._view = FeedView()
    session.tick()
    assert all(button.disabled for buttons in session.refine._buttons.values() for button in buttons)
    assert "no server at" in content(session)["texts"]["banner"]


def ask(session: Session, **request: Any) -> None:
    """What the browser does when a key is pressed or a button of the page is clicked."""
    ask.count += 1
    session.asked.content = json.dumps({"number": ask.count, **request})


ask.count = 0


def show_all(session: Session) -> None:
    """Let the page have every figure."""
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
    for content in ("{", '{"what": "shell"}', '{"what": "key", "panel": 99}', "x" * 10_000, '{"what": "undo", "a": 1'):
        session.asked.content = content
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
    assert content(session)["texts"]["sentence"] == "click a map where the line starts"
    session.profile.tap(panel, 0.0, 4.0)
    session.profile.tap(panel, 14.0, 4.0)
    assert content(session)["marks"]["profile"] == "on"
    curve = session.profile._curve.data
    assert curve["distance"][-1] == pytest.approx(14.0)
    assert curve["value"][[0, -1]] == pytest.approx([0.0, 7.0])
    ask(session, what="key", key="p")
    session.tick()
    assert list(session.profile._curve.data["value"]) == []


def test_the_roots_of_a_page_are_in_the_order_of_their_places(session: Session) -> None:
    """The HTML is made without a document, and BokehJS gives places to roots by their order."""
    assert [root.name for root in session.document.roots] == root_names()[: -len(LATER)]
    show_all(session)
    assert [root.name for root in session.document.roots] == root_names()


@pytest.mark.parametrize("wanted", ["refine", "trotters", "profile"])
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


def test_a_page_has_no_models_that_show_nothing(session: Session) -> None:
    """Each costs every page that is opened about a millisecond of the server and of the browser: pictures have no axes,
    and marks that cannot be selected no second and third look."""
    show_all(session)
    kinds = Counter(type(model).__name__ for model in session.document.models)
    assert sum(bool(plot.axis) for plot in session.document.select({"type": figure})) == WITH_AXES
    assert sum(isinstance(model, Glyph) for model in session.document.models) == kinds["GlyphRenderer"]
    assert kinds["Title"] == 0


def test_the_deviation_of_the_phase_is_shown_in_its_place(session: Session, feed: Feed) -> None:
    session.view_choice.active = VIEWS.index("refine")
    there = RawPicture("object", np.arange(16.0).reshape(4, 4), units="rad", deviation=0.25)
    scatter = np.full((4, 4), 0.25)
    scatter[0] = np.nan
    raws = {"object": there, "object_deviation": RawPicture("object_deviation", scatter, units="rad")}
    pictures = {name: prepare(raw, 1, Surroundings()) for name, raw in raws.items()}
    assert not pictures["object_deviation"].visited[0].any()
    assert pictures["object_deviation"].visited[1:].all()
    feed._view = FeedView(connected=True, pictures={"object": pictures["object"]}, available=frozenset({"object"}))
    session.tick()
    assert content(session)["marks"]["deviation"] == "none"
    assert content(session)["texts"]["object_units"] == "rad ± 0.25"
    feed._view = FeedView(connected=True, pictures=pictures, available=frozenset(pictures))
    ask(session, what="run", key="deviation")
    assert "object_deviation" in feed._wanted[session.id]
    session.tick()
    texts, marks = content(session)["texts"], content(session)["marks"]
    assert (texts["object_title"], texts["object_units"]) == ("Standard deviation of the phase", "rad")
    assert marks["deviation"] == "on"
    ask(session, what="run", key="deviation")
    session.tick()
    assert content(session)["texts"]["object_title"] == "Object phase"


def test_a_run_that_has_not_come_to_rest_can_go_on(session: Session, feed: Feed, sender: CommandSender) -> None:
    state = feed.view().state.model_copy(update={"refinement": RefinementSummary(state="done", run="run1")})
    for falling, word, mark in ((False, "done", "off"), (True, "not converged", "on")):
        told = RefinementState(uid=state.uid, run="run1", state="done", falling=falling)
        feed._view = FeedView(connected=True, state=state, refinement=told)
        session.tick()
        assert content(session)["texts"]["refine_state"] == word
        assert content(session)["marks"]["more"] == mark
        ask(session, what="run", key="more")
    assert [(command, given.get("epochs")) for command, given in sender.sent] == [("refine_resume", 20)]
