"""A click on a map: the mark, the command, and the diffraction pattern of the point."""

import numpy as np
import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed
from quick_first import quick_first

from ptylive.dashboard.panels.live.pick import HERE
from ptylive.dashboard.session import Session
from ptylive.schema import CommandError
from ptylive.server.wire.messages import array_to_plain

COUNTS = np.arange(64.0, dtype=np.float32).reshape(8, 8)


class Sender(CommandSender):
    """Answers requests for the pattern, too, only when told to."""

    def submit(self, command: str, **arguments: object):
        if command == "pattern":
            future = super().submit("note")
            self.asked[-1] = (command, arguments, future)
            return future
        return super().submit(command, **arguments)


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def session(sender: Sender) -> Session:
    session = Session(Document(), silent_feed(), sender)
    content(session)
    for panel in session.mosaic.panels:
        panel.view.calibrated = True
    return session


def click(session: Session, x_A: float, y_A: float, panel: int = 0) -> None:
    session.picked.tap(session.mosaic.panels[panel], x_A, y_A)


def patterns_asked(sender: Sender) -> list[dict[str, object]]:
    return [arguments for command, arguments, _ in sender.asked if command == "pattern"]


def test_a_click_asks_for_the_pattern_of_the_point_and_shows_it(session: Session, sender: Sender) -> None:
    """The fake scan has 64 x 64 points 0.5 Å apart."""
    click(session, x_A=10.1, y_A=3.4)
    content(session)
    assert patterns_asked(sender) == [{"point": [7, 20]}]
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=1)
    shown = content(session)
    assert shown["texts"]["pattern_where"] == "row 7, column 20: 1 frame, 2\u2009016 counts"
    (figure, name), *_ = session.diffraction.figures
    assert name == f"{HERE}_log"
    assert figure.showing == HERE
    assert figure.source.data["image"][0].shape == COUNTS.shape
    content(session)
    assert len(patterns_asked(sender)) == 1, "once"
    marks = session.picked._mark.data
    assert (marks["x"], marks["y"]) == ([10.0], [3.5]), "at the point itself"


def test_arrows_move_it_and_let_a_rectangle_grow(session: Session, sender: Sender) -> None:
    click(session, x_A=0.0, y_A=0.0)
    ask(session, what="pick", key="move", numbers=[-1, 3])
    content(session)
    assert patterns_asked(sender)[-1] == {"point": [0, 3]}, "not beyond the edge"
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=1)
    content(session)
    ask(session, what="pick", key="grow", numbers=[2, 0])
    ask(session, what="pick", key="grow", numbers=[0, 1])
    content(session)
    assert patterns_asked(sender)[-1] == {"point": [0, 3], "to": [2, 4]}
    assert session.picked._frame.data["y"] == [-0.25, -0.25, 1.25, 1.25, -0.25]
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=6)
    assert "row 0, column 3 to 2, 4: mean of 6 frames" in content(session)["texts"]["pattern_where"]


def test_arrows_held_down_while_a_pattern_is_awaited_lose_no_step(session: Session, sender: Sender) -> None:
    """The first and last points are requested, those between are skipped, and the answer that comes late is shown."""
    click(session, x_A=0.0, y_A=0.0)
    for _ in range(20):
        content(session)
        ask(session, what="pick", key="move", numbers=[0, 1])
    assert content(session)["texts"]["pattern_where"] == "row 0, column 20: …"
    assert patterns_asked(sender) == [{"point": [0, 0]}]
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=1)
    content(session)
    assert content(session)["texts"]["pattern_where"] == "row 0, column 20: …", "not the counts of another point"
    assert session.diffraction.figures[0][0].showing == HERE, "a picture that follows the arrows"
    assert patterns_asked(sender) == [{"point": [0, 0]}, {"point": [0, 20]}]
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=3)
    assert content(session)["texts"]["pattern_where"].startswith("row 0, column 20: 3 frames")
    content(session)
    assert len(patterns_asked(sender)) == 2, "then there is nothing left to ask for"


def test_a_pattern_of_the_scan_before_that_comes_late_is_not_shown(session: Session, sender: Sender) -> None:
    click(session, x_A=1.0, y_A=1.0)
    content(session)
    session.feed._view = silent_feed(uid="scan-2")._view
    content(session)
    click(session, x_A=2.0, y_A=1.0)
    content(session)
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=1)
    content(session)
    assert content(session)["texts"]["pattern_where"] == "row 2, column 4: …"
    assert session.diffraction.figures[0][0].showing != HERE
    assert patterns_asked(sender)[-1] == {"point": [2, 4]}


def test_clicks_elsewhere_pick_nothing(session: Session, sender: Sender) -> None:
    click(session, x_A=32.0, y_A=3.0)
    session.mosaic.panels[1].fft.active = True
    click(session, x_A=0.1, y_A=0.1, panel=1)
    session.profile.active.active = True
    click(session, x_A=1.0, y_A=1.0)
    content(session)
    assert session.picked.point is None
    assert patterns_asked(sender) == []


def test_another_scan_has_another_point(session: Session, sender: Sender) -> None:
    click(session, x_A=1.0, y_A=1.0)
    content(session)
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=1)
    content(session)
    session.feed._view = silent_feed(uid="scan-2")._view
    assert content(session)["texts"]["pattern_where"] == ""
    assert session.picked._mark.data["x"] == []


def test_why_there_is_none_is_said(session: Session, sender: Sender) -> None:
    click(session, x_A=1.0, y_A=1.0)
    content(session)
    future = next(f for c, _, f in sender.asked if c == "pattern")
    future.set_exception(RuntimeError("lost"))
    content(session)
    assert "lost" in content(session)["texts"]["pattern_where"]


def test_a_point_far_away_or_none_is_no_request(session: Session, sender: Sender) -> None:
    ask(session, what="pick", key="move", numbers=[1, 1])
    click(session, x_A=1.0, y_A=1.0)
    ask(session, what="pick", key="move", numbers=[1e300, 0])
    assert session.picked.point == (2, 2)


@pytest.mark.parametrize(
    ("numbers", "corners"),
    quick_first(
        [
            ([3.4, 10.1, 5.6, 12.0], ([7, 20], [11, 24])),
            ([5.6, 12.0, 3.4, 10.1], ([11, 24], [7, 20])),
            ([-9.0, 4.9, 100.0, 99.0], ([0, 10], [63, 63])),
        ]
    ),
)
def test_a_drag_with_shift_asks_for_the_mean_of_the_rectangle(
    session: Session, sender: Sender, numbers: list[float], corners: tuple[list[int], list[int]]
) -> None:
    """Å on the maps; 64 x 64 points 0.5 Å apart."""
    ask(session, what="pick", key="rectangle", panel=3, numbers=numbers)
    content(session)
    assert patterns_asked(sender) == [{"point": corners[0], "to": corners[1]}]
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=25)
    assert content(session)["texts"]["pattern_where"].endswith("mean of 25 frames, 2\u2009016 counts")


def test_drags_that_are_none_of_a_map_ask_for_nothing(session: Session, sender: Sender) -> None:
    session.mosaic.panels[2].fft.active = True
    for panel, numbers in ((2, [0, 0, 1, 1]), (10, [0, 0, 1, 1]), (0, [0, 0, 1]), (0, [0, 0, 1, 1e9])):
        ask(session, what="pick", key="rectangle", panel=panel, numbers=numbers)
    content(session)
    assert patterns_asked(sender) == []
    assert session.picked.point is None


def test_a_point_that_a_scan_has_not_reached_is_asked_for_again(sender: Sender) -> None:
    """But not again after it was shown."""
    session = Session(Document(), silent_feed(frames=2000), sender)
    content(session)
    session.picked.choose((60, 3))
    content(session)
    for frames in (2000, 2001, 2002):
        for command, _, future in sender.asked:
            if command == "pattern" and not future.done():
                future.set_exception(CommandError("no pattern of this point yet"))
        session.feed._view = silent_feed(frames=frames)._view
        content(session)
    assert len(patterns_asked(sender)) == 2, "at once, and when it is known to be waited for"
    session.feed._view = silent_feed(frames=3900)._view
    content(session)
    assert len(patterns_asked(sender)) == 3
    sender.answer("pattern", pattern=array_to_plain(COUNTS), frames=1, nearest=[60, 2])
    for frames in (3901, 3999, 4096):
        session.feed._view = silent_feed(frames=frames)._view
        shown = content(session)
    assert len(patterns_asked(sender)) == 3
    assert shown["texts"]["pattern_where"] == "row 60, column 3: 1 frame of row 60, column 2, 2\u2009016 counts"
