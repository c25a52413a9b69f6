"""``ptylive status``: what it prints."""

from ptylive.server.cli.commands.status import shown

RUN = {"state": "done", "run": "run1", "uid": "a", "series": "0142", "epoch": 9}


def test_the_refinement_of_the_scan_before_is_not_taken_for_one_of_the_new_scan() -> None:
    """Regression: after the next scan had begun, "refinement: state done, run run1" seemed to be its own."""
    own = shown({"state": "complete", "uid": "a", "refinement": RUN})["refinement"]
    assert own == {"state": "done", "run": "run1", "series": "0142", "epoch": 9}
    other = shown({"state": "scanning", "uid": "b", "refinement": RUN})["refinement"]
    assert other == {**own, "state": "done on another scan"}
    none = {"state": "none", "run": "", "uid": "", "series": ""}
    assert shown({"state": "scanning", "uid": "b", "refinement": none})["refinement"]["state"] == "none"
