"""Replies of the server that lack values or hold values of another type: none interrupts a page."""

import ast
import inspect
import itertools
import math
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from page_in_memory import content, silent_feed
from quick_first import quick_first

from ptylive.dashboard.client.feed import Feed
from ptylive.dashboard.session import Session

WRONG: dict[str, Any] = {
    "None": None,
    "a number": 5,
    "not a number": math.nan,
    "a text": "text",
    "an empty list": [],
    "a list of numbers": [5],
    "a list of nothing": [None],
    "a list of empty maps": [{}],
    "a map of numbers": {"x": 5},
    "a map of maps": {"x": {"y": None}},
    "a map of runs": {"x": {"loss": "text", "losses": [None]}},
}
EXTRA: dict[str, Any] = {
    "names": [],
    "recording": "",
    "present": None,
    "uid": None,
    "key": (),
    "take": lambda reply: str(reply["x"]),
}
"""Further parameters of methods that take a reply."""


class Answers:
    """Answers the next command with a reply."""

    def __init__(self) -> None:
        self.reply: Any = {}

    def submit(self, _command: str, **_arguments: Any) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        if self.reply is not None:
            future.set_result(self.reply)
        return future


def takers(root: object) -> Iterator[tuple[str, Callable[..., None], list[str]]]:
    """Methods of the page's parts that take a reply of the server: name, method, keys that it reads."""
    known, waiting = {id(root)}, [root]
    while waiting:
        owner = waiting.pop()
        for part in list(vars(owner).values()):
            if type(part).__module__.startswith("ptylive.dashboard") and hasattr(part, "__dict__"):
                if id(part) not in known and not isinstance(part, Feed):
                    known.add(id(part))
                    waiting.append(part)
        for name, method in inspect.getmembers(type(owner), inspect.isfunction):
            types = inspect.get_annotations(method)
            if "reply" not in types or not (name.startswith("_take") or name == "written"):
                continue
            if types.get("return") == "str":  # a text for the page, made within another method
                bound = partial(owner._take, getattr(owner, name))
            else:
                others = {other: EXTRA[other] for other in types if other not in ("reply", "return")}
                bound = partial(_with_reply, getattr(owner, name), others)
            yield f"{type(owner).__name__}.{name}", bound, keys_of(method)


def _with_reply(method: Callable[..., None], others: dict[str, Any], reply: Any) -> None:
    method(reply=reply, **others)


def keys_of(method: Callable[..., Any]) -> list[str]:
    """Texts in the source of a method: the keys that it reads are among them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return sorted(text for text in texts if text.isidentifier())


@pytest.fixture(scope="module")
def page() -> tuple[Session, Answers]:
    from bokeh.document import Document

    answers = Answers()
    session = Session(Document(), silent_feed(), answers)
    return session, answers


VIEWS = (0, 1, 2, 3)
QUICK = ("empty", "None", "a text", "a map of runs")
"""One of each kind; most of the time is spent on writing views, so most replies are seen by one view, in turn."""


@pytest.mark.parametrize(
    ("wrong", "every_view"),
    quick_first([*((wrong, False) for wrong in QUICK), *((wrong, True) for wrong in ("empty", *WRONG))], len(QUICK)),
)
def test_no_reply_interrupts_the_page(page: tuple[Session, Answers], wrong: str, every_view: bool) -> None:
    session, answers = page
    found, turn = list(takers(session)), itertools.cycle(VIEWS)
    assert {"LibraryPanel._take_files", "RunsPanel._take_runs", "PastScans._take_list"} <= {name for name, *_ in found}
    for name, take, keys in found:
        together = {} if wrong == "empty" else dict.fromkeys(keys, WRONG[wrong])
        for reply in [together, *({key: value} for key, value in together.items())]:
            answers.reply = reply
            session.orders.ask("anything", take)
            answers.reply = None
            try:
                for view in VIEWS if every_view or reply is together else (next(turn),):
                    session.view_choice.active = view
                    assert content(session)
            except Exception as error:
                raise AssertionError(f"{name} with {reply}") from error
