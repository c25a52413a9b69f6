"""What the page displays for what the server reports."""

import time
from typing import Any, get_args

import pytest
from fake_server import state_payload

from ptylive.dashboard import readouts
from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.state import LogLine, RefinementState, RefinementSummary, ServerState
from ptylive.dashboard.panels.refine import refinement_texts
from ptylive.streamer.protocols.inlet import ProtocolName


def state(**more: object) -> ServerState:
    return ServerState.model_validate(state_payload(**more))


def test_header() -> None:
    texts = readouts.header_texts(state())
    assert texts == {
        "series": "0142",
        "beam": "80 kV · 25 mrad",
        "state": "SCANNING",
        "rows": "row\u200732/64",
        "left": "0:02 left",
    }


def test_nothing_is_known_before_the_first_scan() -> None:
    empty = ServerState()
    assert readouts.header_texts(empty)["series"] == "no scan yet"
    assert set(readouts.calibration_texts(empty).values()) == {"–", "", "none"}
    assert readouts.stream_texts(empty)["frames"] == "– of –"
    assert empty.progress == 0.0
    assert empty.seconds_left is None


def test_given_values_are_shown_before_the_first_patterns_but_advise_nothing() -> None:
    given = {"energy_eV": {"value": 80e3, "origin": "given"}, "scan_step_A": {"value": [0.4, 0.4], "origin": "given"}}
    texts = readouts.calibration_texts(state(calibration=given, given={"energy_eV": "sent"}, pinned={}))
    assert (texts["cal_energy_eV"], texts["cal_energy_eV_origin"]) == ("80 kV", "sent")
    assert texts["cal_scan_step_A"] == "0.4000 Å"
    assert texts["cal_C10"] == "–"
    assert (texts["advice"], texts["advice_line"]) == ("", "")


def test_until_the_first_scan_comes_the_page_says_where_it_is_awaited() -> None:
    waiting = ServerState(data="tcp://127.0.0.1:9999", rejected={"not_msgpack": 2})
    texts = readouts.welcome_texts(waiting)
    assert texts["welcome_where"] == "tcp://127.0.0.1:9999"
    assert texts["welcome_refused"] == "refused so far: 2 (not_msgpack)"
    assert readouts.marks(FeedView(state=waiting, connected=True))["welcome"] == "on"
    assert readouts.marks(FeedView(state=waiting, connected=False))["welcome"] == "off"
    assert readouts.marks(FeedView(state=state(), connected=True))["welcome"] == "off"
    assert set(readouts.SENDERS) == set(get_args(ProtocolName))


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ({}, "50% 0142"),
        ({"lost": 3}, "50% (frames lost) 0142"),
        ({"lost": 3, "silent_s": 12.0}, "50% (no frames) 0142"),
        ({"state": "complete"}, "✓ 0142"),
        ({"state": "aborted"}, "✗ 0142"),
        ({"state": "complete", "refinement": {"state": "running", "run": "run1"}}, "refining 0142"),
        ({"state": "waiting", "series": ""}, ""),
    ],
)
def test_the_tab_says_how_things_are(more: dict[str, object], title: str) -> None:
    assert readouts.heard(state(**more))["title"] == title


def test_a_viewer_who_looks_elsewhere_hears_of_the_end() -> None:
    assert readouts.heard(state())["live"]
    ended = readouts.heard(state(state="complete", refinement={"state": "done", "run": "run1"}))
    assert ended["told"] == {"scan": "scan 0142 is complete", "refinement": "refinement run1 is done"}


def test_calibration_says_value_doubt_and_origin() -> None:
    texts = readouts.calibration_texts(state())
    assert texts["cal_rotation_deg"] == "−15.2 ± 0.40°"
    assert texts["cal_C10"] == "150 ± 5.0 Å underfocus"
    assert texts["cal_C10_origin"] == "found"
    assert texts["cal_beam_center_px"] == "31.50, 31.50 px"


def test_advice_is_brief_on_the_page_and_whole_in_the_copy() -> None:
    texts = readouts.calibration_texts(state())
    assert texts["advice"] == "focus down 15.0 nm"
    assert texts["advice_line"] == "defocus 150 ± 5 Å: focus down 15.0 nm; astigmatism: cannot tell"
    texts = readouts.calibration_texts(state(calibration={"C10": {"value": "far", "origin": "somewhere"}}))
    assert (texts["advice"], texts["advice_line"]) == ("", "")


def test_aberrations_stand_in_one_line() -> None:
    given = {"C12a": 30.0, "C12b": 0.0, "C21a": 0.0, "C21b": -4000.0, "C30": 1.2e7, "C10": -150.0}
    entries = {name: {"value": value, "origin": "given"} for name, value in given.items()}
    texts = readouts.calibration_texts(state(calibration=entries))
    assert texts["cal_other"] == "C12 3.00 nm 0°, C21 400 nm −90°, C30 1.20 mm"
    assert texts["cal_other_origin"] == "given"
    entries["C12a"]["origin"] = "estimated"
    assert readouts.calibration_texts(state(calibration=entries))["cal_other_origin"] == "mixed"


def test_strange_values_are_shown_not_raised() -> None:
    texts = readouts.calibration_texts(state(calibration={"C10": {"value": "far", "origin": "given"}}))
    assert texts["cal_C10"] == "far"
    texts = readouts.calibration_texts(state(calibration={"disc_radius_px": {"value": {"a": 1}, "origin": "given"}}))
    assert texts["cal_disc_radius_px"] == "{'a': 1}"


def test_alarms() -> None:
    marks = readouts.marks(FeedView(state=state(lost=12, ring_fill=0.9), connected=True))
    assert marks["lost"] == "alarm"
    assert marks["ring"] == "alarm"
    assert marks["late"] == ""
    assert marks["link"] == "up"


def test_a_scan_without_frames_is_not_said_to_be_scanning() -> None:
    silent, ended = state(silent_s=12.0), state(silent_s=12.0, state="complete")
    assert readouts.header_texts(silent)["state"] == "NO FRAMES"
    assert readouts.marks(FeedView(state=silent, connected=True))["silent"] == "alarm"
    assert readouts.header_texts(ended)["state"] == "COMPLETE"
    assert readouts.marks(FeedView(state=ended, connected=True))["silent"] == ""


def test_a_receiver_that_is_being_restarted_is_told_and_no_first_scan_awaited() -> None:
    view = FeedView(state=state(state="restarting"), connected=True)
    assert "reading its scan from the disk" in readouts.banner(view, "")
    assert readouts.header_texts(view.state)["state"] == "RESTARTING"
    assert readouts.marks(view)["welcome"] == "off"


def test_banner_says_since_when() -> None:
    assert readouts.banner(FeedView(connected=True), "tcp://x") == ""
    assert "no server at tcp://x yet" in readouts.banner(FeedView(), "tcp://x")
    assert "server lost at" in readouts.banner(FeedView(last_contact=time.time()), "tcp://x")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            {"state": "scanning"},
            "2\u2009048 of 4\u2009096 frames of 0142 had arrived and are on disk; the next start writes them to",
        ),
        ({"state": "complete", "recording": "/a b/0142.h5"}, "0142.h5 holds the last scan"),
        (
            {"state": "complete", "recording": "/a b/0142.h5", "recording_state": "failed"},
            "the recording 0142.h5 had failed",
        ),
        ({"state": "complete", "recording": "/a b/0142.h5"}, "ptylive serve --record '/a b'"),
        ({"recording": None}, "nothing was being recorded"),
        ({"recording": None}, "if it does not: ptylive serve (and its other options). This"),
        ({"recording": None, "data": "tcp://127.0.0.1:9999"}, "ptylive serve (and"),
        (
            {"recording": None, "protocol": "merlin", "data": "tcp://merlin:6342"},
            "ptylive serve --protocol merlin --data tcp://merlin:6342 (and",
        ),
    ],
)
def test_banner_says_what_was_saved_and_how_to_start_again(state: dict[str, Any], said: str) -> None:
    view = FeedView(last_contact=time.time(), state=ServerState.model_validate(state_payload(**state)))
    assert said in readouts.banner(view, readouts.DEFAULT_CONTROL)
    assert " --control tcp://127.0.0.1:7998 (and" in readouts.banner(view, "tcp://127.0.0.1:7998")


def test_the_sentence_prefers_answers_then_people_then_the_log() -> None:
    log = LogLine(level="warning", message="disk nearly full")
    view = FeedView(state=state(message="12 frames lost"), log=log)
    assert readouts.sentence(view, "saved") == "saved"
    assert readouts.sentence(view, "") == "12 frames lost"
    assert "disk nearly full" in readouts.sentence(FeedView(log=log), "")
    assert readouts.sentence(FeedView(log=log), "opening a.mib", reply_age_s=60.0) == log.message
    assert readouts.sentence(FeedView(log=log), "opening a.mib", reply_age_s=0.0) == "opening a.mib"
    old = log.model_copy(update={"arrived": time.monotonic() - 1e4})
    assert readouts.sentence(FeedView(log=old), "") == ""


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_line_of_the_log_is_shown_for_a_while_whatever_the_clocks_say(hours: int) -> None:
    """Regression: after a clock was set back, or with a server whose clock is ahead, it stayed for hours."""
    line = LogLine(level="warning", message="disk nearly full", time=time.time() + 3600 * hours)
    assert "disk nearly full" in readouts.sentence(FeedView(log=line), "")
    old = line.model_copy(update={"arrived": time.monotonic() - 1e4})
    assert readouts.sentence(FeedView(log=old), "") == ""


@pytest.mark.parametrize(
    ("recording", "text", "mark", "title"),
    [
        ({"recording_state": "complete", "recording": "/a/0142.h5"}, "0142.h5", "", "✓ 0142"),
        ({"recording_state": "failed", "recording": ""}, "FAILED", "failed", "(not recorded) ✓ 0142"),
        ({"recording_state": "failed", "recording": "/a/0142.h5"}, "FAILED 0142.h5", "failed", "(not recorded) ✓ 0142"),
        ({"recording_state": "waiting", "recording": "/a/0142.h5"}, "WAITS 0142.h5", "waiting", "✓ 0142"),
        ({"recording_state": "off", "recording": "", "record": False}, "off", "", "✓ 0142"),
    ],
)
def test_a_scan_that_is_not_recorded_does_not_look_like_one_that_is(
    recording: dict[str, Any], text: str, mark: str, title: str
) -> None:
    """Regression: of a complete scan whose recording had failed, only the line at the bottom said so."""
    shown = state(**{"state": "complete", "record": True, "series": "0142"} | recording)
    assert readouts.stream_texts(shown)["recording"] == text
    assert readouts.marks(FeedView(state=shown))["recorded"] == mark
    assert readouts.heard(shown)["title"] == title


def test_what_a_scan_lacks_is_said() -> None:
    lacking = {"state": "incomplete", "expected": 4096, "frames": 4000}
    said = readouts.sentence(FeedView(state=state(**lacking, refused=3)), "")
    lost = "this scan is incomplete: 96 of 4\u2009096 frames did not arrive"
    assert said == f"{lost}, 3 frames or messages were refused, see “rejected”"
    scanning = FeedView(state=state(state="scanning", refused=1))
    assert readouts.sentence(scanning, "") == "1 frame or message was refused, see “rejected”"
    both = readouts.sentence(FeedView(state=state(**lacking, message="no step")), "")
    assert both.endswith("did not arrive\nno step")
    assert readouts.sentence(FeedView(state=state(state="complete")), "") == ""
    stopped = readouts.sentence(FeedView(state=state(**lacking | {"state": "aborted"})), "")
    assert stopped == "this scan was aborted: 96 of 4\u2009096 frames did not arrive", "nothing was said"
    whole = readouts.sentence(FeedView(state=state(state="aborted", expected=4, frames=4)), "")
    assert whole == "this scan was aborted"


def test_a_refinement_of_another_scan_is_named_and_one_that_failed_says_so() -> None:
    """Regression: the page of a new scan said "refinement: no space", which was about the scan before it."""
    told = RefinementState(uid="scan-0", state="failed", message="no space")
    for uid, said in (
        ("scan-1", "refinement of another scan (0141) failed: no space"),
        ("scan-0", "refinement failed: no space"),
    ):
        one = state(state="complete", uid=uid, refinement={"state": "failed", "uid": "scan-0", "series": "0141"})
        assert readouts.sentence(FeedView(state=one, refinement=told), "") == said
    ended = {"state": "done", "uid": "scan-0", "series": "0141"}
    done = RefinementState(uid="scan-0", state="done", message="converged")
    view = FeedView(state=state(state="complete", uid="scan-1", refinement=ended), refinement=done)
    assert readouts.sentence(view, "") == "refinement of another scan (0141): converged"


def test_remarks_stand_by_themselves() -> None:
    """The server puts semicolons between warnings for the user and what a refinement reports about itself."""
    view = FeedView(state=state(message="obf, wdd: needs energy_eV; all counts are 0"))
    assert readouts.sentence(view, "") == "obf, wdd: needs energy\nall counts are 0"
    ended = RefinementState(state="done", message="converged; ml, loss_floor 0.1 counts; 1 probe mode")
    said = readouts.sentence(FeedView(refinement=ended), "")
    assert said == "converged\nml, loss_floor 0.1 counts\n1 probe mode"


def test_numbers_in_sentences_of_the_server_have_true_minus_signs() -> None:
    """Regression: the drift stood there as (0.21 ± 0.51, -0.08 ± 0.29) Å."""
    told = "drift (-0.21 ± 0.51, -0.08 ± 0.29) Å; gain -88 ± 3 %; wrote 2026-11-28-7.h5; --set C10=-150; at 10-20 s"
    said = readouts.sentence(FeedView(refinement=RefinementState(state="done", message=told)), "")
    assert said.split("\n") == [
        "drift (−0.21 ± 0.51, −0.08 ± 0.29) Å",
        "gain −88 ± 3 %",
        "wrote 2026-11-28-7.h5",
        "--set C10=-150",
        "at 10-20 s",
    ]


def test_a_refinement_without_a_picture_says_what_it_does() -> None:
    """Regression: for half a minute of trials the place of the object said "no refinement yet"."""
    trying = RefinementState(state="running", phase="trial", message="trying 8 slices; lsq")
    texts = refinement_texts(RefinementSummary(state="running"), trying)
    assert texts["refine_busy"] == "trials before the first epoch: trying 8 slices"
    assert texts["refine_seconds"] == "–", "the clock runs from the first epoch"
    waiting = refinement_texts(RefinementSummary(state="queued", message="starting"), None)
    assert waiting["refine_busy"] == "waiting to start"
    assert refinement_texts(RefinementSummary(state="done", message="converged"), None)["refine_busy"] == ""


def test_refinement_in_words() -> None:
    refinement = RefinementState(state="running", phase="lbfgs", epoch=3, epochs=20, loss=1256.04, seconds=5)
    texts = refinement_texts(RefinementSummary(state="running"), refinement)
    assert texts["refine_epoch"] == "3 of 20"
    assert texts["refine_phase"] == "L-BFGS"
    assert texts["refine_loss"] == "1256.0"
    begun = RefinementState(state="running", phase="sweep", epoch=0, epochs=20, seconds=0.4, seconds_left=0.0)
    assert refinement_texts(RefinementSummary(state="running"), begun)["refine_left"] == "–", "it said 0:00"
    later = begun.model_copy(update={"epoch": 2, "seconds_left": 62.0})
    assert refinement_texts(RefinementSummary(state="running"), later)["refine_left"] == "1:02"
    assert refinement_texts(RefinementSummary(), None)["refine_state"] == "not started"
    elsewhere = refinement_texts(RefinementSummary(state="running"), RefinementState(uid="a", state="running"), "b")
    assert elsewhere["refine_state"] == "running on another scan"


@pytest.mark.parametrize(
    ("told", "heard", "word"),
    [
        ("starting", "starting", "waiting to start"),
        ("starting", "compiling the refinement (first run on this machine)", "compiling"),
        ("compiling the live maps (first scan on this machine), 3 s so far", None, "compiling"),
    ],
)
def test_a_refinement_that_waits_for_the_compiler_says_so(told: str, heard: str | None, word: str) -> None:
    summary = RefinementSummary(state="queued", message=told)
    assert refinement_texts(summary, RefinementState(state="queued", message=heard))["refine_state"] == word


def test_dose_in_electrons_where_a_count_is_known() -> None:
    assert readouts.stream_texts(state(dose={"per_A2": 1250.0, "unit": "e"}))["dose"] == "1\u2009250 e/Å²"
    assert readouts.stream_texts(state(dose={"per_A2": 2.5e5}))["dose"] == "250\u2009000 counts/Å²"
    assert readouts.stream_texts(state(dose={"per_A2": 99823.0}))["dose"] == "99\u2009800 counts/Å²"
    assert readouts.stream_texts(state(dose={"per_A2": 0.0123}))["dose"] == "0.0123 counts/Å²"
    assert readouts.stream_texts(state(dose={"per_A2": -3.5e4}))["dose"] == "–", "too much was subtracted"
    full = readouts.stream_texts(state(dose={"per_A2": 0.0123, "saturated_frames": 3}))["dose"]
    assert full == "0.0123 counts/Å², 3 frames saturated"
    assert readouts.stream_texts(state())["dose"] == "–"


def test_a_drift_within_rounding_has_no_digits() -> None:
    """Regression: it was 6.22e−9 Å for a repeated scan."""
    still = {"A": 6.2e-9, "bound_A": 1.0, "since": "0141"}
    assert readouts.stream_texts(state(drift=still))["drift"] == "< 0.01 Å since scan 0141"
    assert readouts.stream_texts(state(drift=still | {"A": 2.5}))["drift"] == "2.50 Å since scan 0141 (> 1 Å)"


def test_a_beam_of_which_nothing_is_known_is_not_told() -> None:
    assert readouts.header_texts(state(optics={}))["beam"] == ""
    assert readouts.header_texts(state(optics={"energy_eV": 80e3}))["beam"] == "80 kV · –"
