"""A page made with cached defaults equals the page that Bokeh makes without them."""

import re
from contextlib import nullcontext

import pytest
from bokeh.core.properties import Any, Int, List, Override, String
from bokeh.document import Document
from bokeh.model import Model
from bokeh.protocol import Protocol
from page_in_memory import CommandSender, ask, silent_feed

from ptylive.dashboard.panels import maps, picture
from ptylive.dashboard.panels.live.bokeh_defaults import REMEMBERED
from ptylive.dashboard.session import VIEWS, Session


class Made(Model):
    """A model with defaults of every kind."""

    __view_module__ = "bokeh"

    number = Int(default=3)
    word = String(default="a")
    several = List(Int, default=[1, 2])
    none_yet = List(Int)
    counted = Any(default=object)


class Changed(Made):
    """Another model, with another default."""

    __view_module__ = "bokeh"

    number = Override(default=4)


def written() -> str:
    """What the browser receives for a page with all its figures, models numbered in order of appearance."""
    page = Session(Document(), silent_feed(), CommandSender())
    ask(page, what="ready")
    page.view_choice.active = VIEWS.index("refine")
    page.tick()
    numbers: dict[str, int] = {}
    reply = Protocol().create("PULL-DOC-REPLY", "asked", page.document)
    text = re.sub(r'"id":"([^"]+)"', lambda one: f'"id":{numbers.setdefault(one[1], len(numbers))}', reply.content_json)
    return re.sub(r'(\\"number\\": )\d+', r"\1", text)


@pytest.mark.whole_page
@pytest.mark.slow
def test_pages_are_the_same_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptylive.dashboard.models.Page.keep_alive", lambda _page: None)  # it says what time it is
    remembered = written()
    for owner, name, _ in REMEMBERED:
        own = vars(owner)[name].__wrapped__
        monkeypatch.setattr(owner, name, classmethod(own.__wrapped__) if name == "_overridden_defaults" else own)
    for module in (picture, maps):
        monkeypatch.setattr(module, "unchecked", nullcontext)
    assert written() == remembered
    assert len(remembered) > 1e5


def test_defaults_belong_to_their_kind_and_what_can_change_to_its_model() -> None:
    models = [Made(), Changed(), Made(), Changed()]
    assert [one.number for one in models] == [3, 4, 3, 4]
    models[0].several.append(3)
    assert [one.several for one in models] == [[1, 2, 3], [1, 2], [1, 2], [1, 2]]
    models[0].none_yet.append(5)
    assert [one.none_yet for one in models] == [[5], [], [], []]
    with pytest.raises(ValueError, match="none_yet"):
        models[1].none_yet = ["word"]
    assert len({id(one.counted) for one in models}) == 4
    assert models[0].counted is models[0].counted


def test_a_theme_is_heard_before_and_after() -> None:
    plain, themed = Made(), Made()
    assert plain.word == "a"
    themed.apply_theme({"word": "b"})
    assert (plain.word, themed.word) == ("a", "b")
    themed.unapply_theme()
    assert themed.word == "a"


def test_unchecked_ends_with_its_block() -> None:
    with picture.unchecked():
        assert Made(number="word").number == "word"
    with pytest.raises(ValueError, match="number"):
        Made(number="word")
