"""The guide's four steps, each marked done once it has happened."""

from typing import Any

from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed

from ptylive.dashboard.session import Session


def steps(session: Session) -> list[str]:
    return [step["state"] for step in content(session)["lists"]["guide"]]  # type: ignore[index]


def test_steps_are_done_as_things_happen(sender: CommandSender) -> None:
    session = Session(Document(), silent_feed(state="waiting", uid=None), sender)
    assert steps(session) == []
    ask(session, what="replay", key="demo")
    assert steps(session) == ["now", "later", "later", "later"]

    def see(uid: str = "demo", **state: Any) -> list[str]:
        session.feed._view = silent_feed(uid=uid, **state)._view
        content(session)
        return steps(session)

    assert see(state="scanning") == ["now", "later", "later", "later"]
    assert see(state="complete") == ["done", "now", "later", "later"]
    session.picked.choose((3, 4))
    assert steps(session) == ["done", "done", "now", "later"]
    other = {"C10": {"value": 50.0, "origin": "given"}}
    for state in ("scanning", "complete"):
        assert see(uid="next", state=state, calibration=other) == ["done", "done", "now", "later"], "nobody changed it"
    moved = {"C10": {"value": -100.0, "origin": "given"}}
    assert see("next", state="complete", calibration=moved) == ["done", "done", "done", "now"]
    done = {"state": "done", "run": "run1"}
    assert see("next", state="complete", calibration=moved, refinement=done) == ["done"] * 4
    assert see(state="complete") == ["done"] * 4, "what has happened has"
    ask(session, what="guide")
    assert steps(session) == []


def test_another_scan_than_the_demo_does_nothing(sender: CommandSender) -> None:
    session = Session(Document(), silent_feed(state="complete"), sender)
    ask(session, what="replay", key="demo")
    assert steps(session) == ["now", "later", "later", "later"]
