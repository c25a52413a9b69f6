"""What a browser may change of its page: what users do passes, everything else is refused before Bokeh sees it."""

import json
import random
from concurrent.futures import Future
from typing import Any

import pytest
from bokeh.document import Document
from fake_server import MAP_KINDS, state_payload
from quick_first import quick_first

from ptylive.dashboard.access import ReadOnlySender
from ptylive.dashboard.client.feed import Feed, FeedView
from ptylive.dashboard.client.map_kinds import MapKinds
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels.detectors import HANDLES
from ptylive.dashboard.session import Session
from ptylive.dashboard.web.page_messages import PageMessages, Refused

pytestmark = pytest.mark.whole_page
CHANGED: tuple[str, ...] = ("detectors", "configure", "calibrate", "undo", "refine", "note", "open", "delete", "save")


class CommandSender:
    """Accepts every command and answers none."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        self.sent.append(command)
        return Future()


class Opened:
    """A page with its checks, as the websocket uses them."""

    def __init__(self, *, read_only: bool) -> None:
        self.sender, self.document = CommandSender(), Document()
        feed = Feed("tcp://127.0.0.1:9")
        state, kinds = ServerState.model_validate(state_payload()), MapKinds.from_plain(MAP_KINDS)
        feed._view = FeedView(state=state, connected=True, last_contact=1.0, kinds=kinds)
        sender = ReadOnlySender(self.sender) if read_only else self.sender
        self.page = Session(self.document, feed, sender, read_only=read_only)
        self.messages = PageMessages(self.document, read_only=read_only)

    def id_of(self, name: str) -> dict[str, str]:
        return {"id": self.document.get_model_by_name(name).id}

    def send(self, *events: dict[str, Any]) -> None:
        """The websocket's reaction to a message."""
        admitted = self.messages.admitted(json.loads(json.dumps({"events": list(events)})))
        if admitted:
            self.document.apply_json_patch({"events": admitted})

    def set(self, name: str, attr: str, value: Any) -> None:
        self.send({"kind": "ModelChanged", "model": self.id_of(name), "attr": attr, "new": value})


@pytest.fixture(scope="module")
def operator() -> Opened:
    return Opened(read_only=False)


@pytest.fixture(scope="module")
def viewer() -> Opened:
    return Opened(read_only=True)


def test_what_people_do_passes(operator: Opened, viewer: Opened) -> None:
    for one in (operator, viewer):
        one.set("view", "active", 1)
        assert one.page.view_name == "refine"
        one.set("view", "active", 0)
        one.set("map_0_choice", "value", "bf")
        one.set("map_0_fft", "active", True)
        one.set("setting_num_slices", "value", "3")
        x_range = {"id": one.page.mosaic.window.x_range.id}
        one.send({"kind": "ModelChanged", "model": x_range, "attr": "start", "new": {"type": "number", "value": "-0"}})
        one.set("map_0", "inner_width", 300)  # reported by the browser, used by nobody
        asked = {"id": one.page.asked.id}
        request = json.dumps({"number": 1, "what": "key", "key": "v"})
        one.send({"kind": "ModelChanged", "model": asked, "attr": "content", "new": request})
        assert one.page.view_name == "refine"
        values = [["model", one.id_of("map_1")], ["sx", 3], ["sy", 4], ["x", 1.5], ["y", 2.5], ["modifiers", {}]]
        data = {"type": "event", "name": "tap", "values": {"type": "map", "entries": values}}
        one.send({"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": data})
        one.page.tick()


def test_a_field_takes_as_much_as_it_lets_people_type(operator: Opened) -> None:
    """Regression: settings longer than 64 characters, such as a path, were dropped, and the refinement ran without."""
    others = operator.page.refine.further
    path = f"start_phase_image = /{'x' * 200}.npy"
    operator.set("setting_further", "value", path)
    assert others.value == path
    for name, most in (("setting_further", others.max_length), ("setting_num_slices", 24)):
        with pytest.raises(Refused):
            operator.set(name, "value", "x" * (most + 1))
    operator.set("setting_further", "value", "")


def test_an_operator_drags_detectors_and_a_viewer_does_not(operator: Opened, viewer: Opened) -> None:
    columns = {"x": [1.0, 2.0], "y": [3.0, 3.0], "key": ["disc1:center", "disc1:outer"], "colour": ["red", "red"]}
    data = {"type": "map", "entries": [[name, values] for name, values in columns.items()]}
    operator.set(HANDLES, "data", data)
    with pytest.raises(Refused, match="read-only"):
        viewer.set(HANDLES, "data", data)


BAD: tuple[tuple[str, str, Any], ...] = (
    ("view", "active", 99),
    ("view", "active", -1),
    ("view", "active", None),
    ("view", "active", True),
    ("view", "active", "1"),
    ("view", "active", 10**400),
    ("view", "labels", ["x"] * 100),
    ("view", "tags", []),
    ("view", "name", "other"),
    ("light", "active", "yes"),
    ("light", "js_property_callbacks", {}),
    ("map_0_choice", "value", "<img src=x onerror=alert(1)>"),
    ("map_0_choice", "value", ["bf"]),
    ("map_0_choice", "options", [["evil", "evil"]]),
    ("setting_num_slices", "value", "x" * 100_000),
    ("setting_num_slices", "value", "\ud800"),
    ("setting_num_slices", "value", {"type": "object", "name": "TextInput", "id": "x"}),
    ("setting_num_slices", "disabled", True),
    ("map_0", "x_range", {"type": "object", "name": "Range1d", "id": "x"}),
    ("map_0", "renderers", []),
    ("map_0", "title", "mine"),
    (HANDLES, "data", {"type": "map", "entries": [["x", [1.0]]]}),
    (HANDLES, "data", {"type": "map", "entries": "x"}),
    (HANDLES, "data", {"type": "map", "entries": [[n, [float("nan")]] for n in ("x", "y", "key", "colour")]}),
    (HANDLES, "data", {"type": "ndarray", "array": {"id": "b"}, "dtype": "O", "shape": [1], "order": "little"}),
    (HANDLES, "selected", None),
)


@pytest.mark.parametrize(("name", "attr", "value"), BAD, ids=[f"{n}.{a}={str(v)[:20]!r}" for n, a, v in BAD])
def test_what_no_page_sends_is_refused(operator: Opened, viewer: Opened, name: str, attr: str, value: Any) -> None:
    for one in (operator, viewer):
        with pytest.raises(Refused):
            one.set(name, attr, value)


WHOLE: tuple[Any, ...] = (
    None,
    [],
    "x",
    {},
    {"events": {}},
    {"events": [None]},
    {"events": [{}] * 10_000},
    {"events": [{"kind": "RootAdded", "model": {"type": "object", "name": "Button", "id": "x"}}]},
    {"events": [{"kind": "RootRemoved", "model": {"id": "p1"}}]},
    {"events": [{"kind": "TitleChanged", "title": "mine"}]},
    {"events": [{"kind": "ColumnsStreamed", "model": {"id": "p1"}, "data": {}}]},
    {"events": [{"kind": "ColumnDataChanged", "model": {"id": "nobody"}, "data": {}}]},
    {"events": [{"kind": "ModelChanged", "model": {"id": ["x"]}, "attr": "active", "new": 1}]},
    {"events": [{"kind": "ModelChanged", "model": "view", "attr": {"a": 1}, "new": 1}]},
    {"events": [{"kind": "MessageSent", "msg_type": "mine", "msg_data": "x"}]},
    {"events": [{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": {"name": "tap", "values": 3}}]},
    {"events": [{"kind": ["ModelChanged"]}]},
)


@pytest.mark.parametrize("content", WHOLE, ids=[str(one)[:50] for one in WHOLE])
def test_what_is_no_message_is_refused(operator: Opened, content: Any) -> None:
    with pytest.raises(Refused):
        operator.messages.admitted(content)


def test_a_viewer_presses_no_button(operator: Opened, viewer: Opened) -> None:
    for one in (operator, viewer):
        values = {"type": "map", "entries": [["model", one.id_of("save_session")]]}
        data = {"type": "event", "name": "button_click", "values": values}
        event = {"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": data}
        if one is viewer:
            with pytest.raises(Refused, match="read-only"):
                one.send(event)
        else:
            one.send(event)


def odd(rng: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can represent."""
    makers: list[Any] = [
        lambda: rng.choice([None, True, 0, -1, 99, 2**63, 1e308, float("nan"), float("inf"), "", "bf", "x" * 5000]),
        lambda: {"id": f"p{rng.randrange(1000, 3000)}"},
        lambda: {"type": rng.choice(["number", "map", "ndarray", "object", "bytes", "set"]), "value": "nan"},
        lambda: [odd(rng, depth + 1) for _ in range(rng.randrange(4))],
        lambda: {rng.choice("abc"): odd(rng, depth + 1) for _ in range(rng.randrange(4))},
    ]
    return rng.choice(makers[: 3 if depth > 4 else 5])()


@pytest.mark.parametrize("read_only", quick_first([False, True]))
def test_a_page_survives_whatever_is_sent(read_only: bool) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng, one = random.Random(seed), Opened(read_only=read_only)
    models = [model.id for model in one.document.models]
    properties = sorted({name for model in one.document.models for name in model.properties()})
    requests = ("key", "set", "run", "compare", "past", "detector", "depth", "preset", "note", "open", "withdraw")
    refused = 0
    for turn in range(1500):
        event: dict[str, Any] = {"kind": rng.choice(["ModelChanged"] * 6 + ["ColumnDataChanged", "MessageSent", "x"])}
        event |= {"model": {"id": rng.choice(models)}, "attr": rng.choice(properties), "new": odd(rng)}
        event |= {"data": odd(rng), "msg_type": "bokeh_event", "msg_data": odd(rng)}
        if turn % 5 == 0:
            event["model"], event["attr"] = {"id": one.page.asked.id}, "content"
            request = {"what": rng.choice(requests), "key": rng.choice(["7", "t", "e", "slice", "disc", "move"])}
            request |= {"numbers": [rng.choice([-1, 0, 3, 1e300])] * rng.randrange(4), "name": "x", "value": "1 nm"}
            event["new"] = json.dumps(request | {"panel": rng.randrange(13), "number": turn})
        try:
            one.send(event)
        except Refused:
            refused += 1
        if turn % 100 == 0:
            one.page.tick()
    one.page.tick()
    assert refused > 500
    if read_only:
        assert not set(one.sender.sent) & set(CHANGED) - {"note"}, "note is also a question"
