"""A run from the file shown in place of the current one."""

import numpy as np
import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed
from quick_first import quick_first

from ptylive.application.extensions import Preset
from ptylive.dashboard.client.state import RefinementState
from ptylive.dashboard.panels.live.shown_run import changed_settings, number_of
from ptylive.dashboard.session import Session
from ptylive.server.wire.messages import array_to_plain

RUNS = {
    name: {"epochs": 2, "loss": 1.5, "state": "done", "slices": 5, "thickness_A": 100.0} for name in ("run9", "run10")
}
PHASE = np.linspace(-1, 1, 400, dtype=np.float32).reshape(20, 20)


def stored(name: str) -> dict[str, object]:
    preset = Preset.from_mapping({"epoch_max": 7}).model_dump(mode="json")
    picture = {**array_to_plain(PHASE), "sampling_A": [0.2, 0.2]}
    probe = {**array_to_plain(np.ones((2, 8, 8), np.complex64)), "sampling_A": [0.2, 0.2]}
    losses = {"losses": [3.0, 2.5], "phases": ["sweep", "lbfgs"]}
    return {"run": name, **losses, "preset": preset, "state": "done", "object": picture, "probe": probe}


class Sender(CommandSender):
    """Keeps requests for stored runs open, too, until they are answered."""

    def submit(self, command: str, **arguments: object):
        if command == "runs" and arguments.get("pictures"):
            future = super().submit("note")
            self.asked[-1] = ("stored", arguments, future)
            return future
        return super().submit(command, **arguments)


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def session(sender: Sender) -> Session:
    """The Refine view of a scan that was reopened: no events about its refinements arrive, and it has two."""
    session = Session(Document(), silent_feed(), sender)
    session.view_choice.active = 1
    content(session)
    sender.answer("runs", runs=RUNS)
    content(session)
    return session


def test_the_loss_of_a_stored_run_says_where_its_stages_began(session: Session, sender: Sender) -> None:
    sender.answer("stored", runs=RUNS, pictures=[stored("run10") | {"stages": [0, 1]}])
    content(session)
    assert list(session.loss.stages.data["epoch"]) == [1.5]


def test_the_last_run_is_shown_when_a_scan_is_opened(session: Session, sender: Sender) -> None:
    content(session)
    assert [a["pictures"] for c, a, _ in sender.asked if c == "stored"] == [["run10"]], "10 comes after 9"
    sender.answer("stored", runs=RUNS, pictures=[stored("run10")])
    shown = content(session)
    shown = content(session)
    assert session.reconstruction.object.showing == "object"
    assert session.reconstruction.object.source.data["image"][0].shape == PHASE.shape
    assert shown["texts"]["shown_run"] == "run10"
    assert shown["texts"]["shown_settings"] == "epoch_max = 7"
    assert shown["texts"]["refine_epoch"] == "2 of 2"
    assert "epoch_max=7" in shown["clips"]["command"], "what is copied is the run that is shown"
    assert list(session.loss.sources["lbfgs"].data["loss"]) == [3.0, 2.5]
    rows = {row["name"]: row for row in shown["lists"]["runs"]["known"]}
    assert rows["run10"]["shown"]
    assert not rows["run9"]["shown"]
    assert rows["run9"]["made"] == "5 × 20.0 Å"


def test_a_click_shows_another_and_a_second_click_goes_back(session: Session, sender: Sender) -> None:
    ask(session, what="show_run", name="run9")
    content(session)
    assert [a["pictures"] for c, a, _ in sender.asked if c == "stored"][-1] == ["run9"]
    sender.answer("stored", runs=RUNS, pictures=[stored("run9")])
    content(session)
    assert content(session)["texts"]["shown_run"] == "run9"
    ask(session, what="show_run", name="run9")
    content(session)
    assert content(session)["texts"]["shown_run"] == ""


def test_the_run_that_is_told_needs_no_file(sender: Sender) -> None:
    feed = silent_feed(refinement={"state": "done", "run": "run10"})
    session = Session(Document(), feed, sender)
    told = RefinementState(uid="scan-1", run="run10", state="done", losses=[1.0])
    feed._view = type(feed._view)(**{**vars(feed._view), "refinement": told})
    content(session)
    sender.answer("runs", runs=RUNS)
    content(session)
    content(session)
    assert [a for c, a, _ in sender.asked if c == "stored"] == []


def test_settings_that_are_as_always_are_left_out() -> None:
    assert changed_settings(Preset.from_mapping({"probe_modes": 3}).model_dump(mode="json")) == {"probe_modes": 3}
    assert changed_settings(Preset.from_mapping({}).model_dump(mode="json")) == {}
    assert changed_settings("none") == {}
    assert changed_settings({"of another version": 1}) == {"of another version": 1}


def test_run_ten_comes_after_run_nine() -> None:
    assert max(["run9", "run10", "mine"], key=number_of) == "run10"


def test_a_row_says_what_compares_with_other_runs(session: Session, sender: CommandSender) -> None:
    bound = {**RUNS["run9"], "deviation_rad": 0.2, "deviation_is_lower_bound": True}
    runs = {"run1": {**RUNS["run9"], "deviation_rad": 0.0053, "halves": 0.974}, "run2": RUNS["run9"], "run3": bound}
    session.feed._view = silent_feed(state="complete", uid="scan-2")._view
    content(session)
    sender.answer("runs", runs=runs)
    content(session)
    rows = content(session)["lists"]["runs"]["known"]  # type: ignore[index]
    qualities = ["noise 0.0053 rad, correlation of halves 0.97", "", "noise at least 0.20 rad"]
    assert [row["quality"] for row in rows] == qualities


def painted(session: Session) -> None:
    """Report that the browser has painted the last picture of the object; it then receives the next."""
    figure = session.reconstruction.object
    figure.shown.number = figure._number
    content(session)


def test_a_stored_run_is_shown_by_slices_too(session: Session, sender: Sender) -> None:
    content(session)
    phases, amplitudes = np.stack([PHASE, 2 * PHASE]), np.stack([np.ones_like(PHASE), 0.5 + 0.1 * PHASE])
    told = {"slices": phases.astype(np.float16), "slice_amplitudes": amplitudes.astype(np.float16)}
    told["object_amplitude"] = amplitudes.prod(axis=0)
    arrays = {name: {**array_to_plain(array), "sampling_A": [0.2, 0.2]} for name, array in told.items()}
    sender.answer("stored", runs=RUNS, pictures=[{**stored("run10"), **arrays}])
    content(session)
    shown = content(session)
    assert shown["lists"]["slices"] == 2
    assert shown["marks"]["amplitude"] == "on"
    ask(session, what="run", key="slice", numbers=[2])
    painted(session)
    assert session.reconstruction.object.showing == "slice:2"
    low, high = session.reconstruction.object.limits
    assert (low, high) == pytest.approx((-2.0, 2.0), abs=0.1)
    ask(session, what="run", key="shows", value="amplitude")
    painted(session)
    assert session.reconstruction.object.showing == "slice_amplitude:2"
    assert session.reconstruction.object.limits == pytest.approx((0.4, 0.6), abs=0.01)
    ask(session, what="run", key="deviation")
    ask(session, what="run", key="slice", numbers=[1])
    assert session.reconstruction.figures[0][1] == "slice:1", "the deviation is that of all slices"


@pytest.mark.parametrize(
    ("stored_with", "more"),
    quick_first(
        [
            ({"falling": True, "resumable": True}, "on"),
            ({"falling": True, "resumable": False}, "off"),
            ({"falling": False, "resumable": True}, "off"),
            ({"falling": True, "resumable": True, "preset": {"stages": [{"name": "a"}]}}, "off"),
            ({}, "off"),
        ],
        4,
    ),
)
def test_a_stored_run_whose_loss_still_fell_can_be_extended(
    session: Session, sender: Sender, stored_with: dict[str, object], more: str
) -> None:
    """Regression: after a restart of the server, +20 epochs was not offered."""
    content(session)
    sender.answer("stored", runs=RUNS, pictures=[{**stored("run10"), **stored_with}])
    content(session)
    assert content(session)["marks"]["more"] == more
    session.refine.press("more")
    asked = [arguments for command, arguments in sender.sent if command == "refine_resume"]
    assert [(a["run"], a["epochs"]) for a in asked] == ([("run10", 20)] if more == "on" else [])
