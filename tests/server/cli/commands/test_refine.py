"""``ptylive refine``: the progress it shows (its runs are in tests of presets and exit codes)."""

from dataclasses import replace

import pytest
from shown_progress import Updates, progress

from ptylive.server.cli.refine_words import ShownRun


def test_a_trial_is_named_and_does_not_say_how_much_there_is_to_do():
    told = Updates()
    show = ShownRun(told, pytest.fail)
    show(progress("trial", epoch=0, epochs=1, message="trying 2 modes"))
    show(progress("sweep", epoch=0, epochs=30))
    show(progress("sweep", epoch=3, epochs=30, loss=0.25))
    assert told.updates == [(0, None, "trying 2 modes"), (0, 30, "sweep"), (3, 30, "sweep loss 0.25")]


def test_what_is_wrong_is_told_once_and_again_when_it_comes_back():
    said = []
    show = ShownRun(Updates(), said.append)
    step = progress("sweep", epoch=3, epochs=30, loss=0.25)
    for warning in ("no room", "no room", "", "no room", "lost"):
        show(replace(step, warning=warning))
    assert said == ["no room", "no room", "lost"]
