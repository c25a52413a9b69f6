"""The page of a tuning: its pictures and text; nothing from outside is interpreted as markup."""

import pytest
from tuning_trials import DEFOCUS, FORM, SWEEPS, drawn, tried

from ptylive.application.tuning.outcome import outcome
from ptylive.application.tuning.page import pictures, write_page
from ptylive.application.tuning.trials import FinishedTrial

OVER = (DEFOCUS, FORM)


@pytest.fixture(scope="module")
def found():
    more = [
        tried(90, {"defocus_A": 9.0, "weakly_damped_obj": True}, state="pruned"),
        FinishedTrial(91, {"defocus_A": 1.0, "weakly_damped_obj": False}, "failed", {}, 1.0, "<b>bad</b>"),
    ]
    return outcome(OVER, [*drawn(OVER, 20), *more], SWEEPS, {})


def test_there_is_a_picture_of_each_value_and_each_pair(found):
    shown = pictures(found)
    assert [one.name for one in shown] == ["defocus_A", "weakly_damped_obj", "defocus_A-weakly_damped_obj"]
    assert shown[0].title.startswith("defocus ") and all(one.png.startswith(b"\x89PNG") for one in shown)
    assert len({one.png for one in shown}) == 3


def test_the_page_holds_all_of_it_and_needs_nothing_else(found, tmp_path):
    page = write_page(tmp_path, found, "<i>scan", {"scan": "<u>/x.h5"}, "[refine]\nnum_slices = 2\n")
    text = page.read_text()
    assert "&lt;b&gt;bad&lt;/b&gt;" in text and "<b>bad" not in text
    assert "&lt;i&gt;scan" in text and "&lt;u&gt;/x.h5" in text
    assert (
        text.count("data:image/png;base64,") == 3
        and "<script" not in text
        and "http" not in text.replace("http-equiv", "")
    )
    assert text.count('class="done"') == 20 and text.count('class="pruned"') == 1 and text.count('class="failed"') == 1
    assert "num_slices = 2" in text
    assert sorted(path.name for path in (tmp_path / "landscape").iterdir()) == [
        "defocus_A-weakly_damped_obj.png", "defocus_A.png", "weakly_damped_obj.png",
    ]  # fmt: skip


def test_few_trials_have_no_pictures(tmp_path):
    few = outcome(OVER, drawn(OVER, 3), SWEEPS, {})
    assert pictures(few) == ()
    assert "too few trials" in write_page(tmp_path, few, "scan", {}, "").read_text()
