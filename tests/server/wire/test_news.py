"""News that are worth a notification to a user who is looking elsewhere."""

import pytest

from ptylive.server.wire.news import REFINEMENT_ENDS, SCAN_ENDS, news

NO_RUN = {"run": "", "state": "none", "uid": "", "series": ""}


@pytest.mark.parametrize("state", ["waiting", "scanning", "finishing"])
def test_nothing_is_told_of_what_goes_its_way(state: str) -> None:
    assert news(state, "0142", 0, NO_RUN) == {}
    assert news(state, "0142", 0, {"run": "run1", "state": "running"}) == {}


@pytest.mark.parametrize("state", SCAN_ENDS)
def test_the_end_of_a_scan_is_told_and_how_it_ended(state: str) -> None:
    assert news(state, "0142", 3, NO_RUN) == {"scan": f"scan 0142 {SCAN_ENDS[state]}"}


@pytest.mark.parametrize("state", REFINEMENT_ENDS)
def test_so_is_that_of_a_refinement_even_while_the_next_scan_loses_frames(state: str) -> None:
    assert news("scanning", "", 1, {"run": "run2", "state": state, "series": "0142"}) == {
        "lost": "the scan is losing frames",
        "refinement": f"refinement run2 of scan 0142 {REFINEMENT_ENDS[state]}",
    }


def test_a_scan_without_frames_is_told_once_while_it_lasts() -> None:
    assert news("scanning", "0142", 0, NO_RUN, silent_s=12.0) == news("scanning", "0142", 0, NO_RUN, silent_s=13.0)
    assert news("scanning", "0142", 0, NO_RUN, silent_s=12.0) == {"silent": "scan 0142 gets no more frames"}
    assert "silent" not in news("aborted", "0142", 0, NO_RUN, silent_s=12.0)


def test_drift_is_told_beyond_its_bound_only() -> None:
    drift = {"A": 12.34, "bound_A": 3.2, "since": "0137"}
    said = news("complete", "0142", 0, NO_RUN, drift)
    assert said["drift"] == "drift of 12.3 Å since scan 0137, more than 3.2 Å"
    assert "drift" not in news("complete", "0142", 0, NO_RUN, {**drift, "A": 3.2})
