"""The one number that compares settings."""

from ptylive.engine.refine.results.held_out import HeldOutQuality


def test_it_is_the_mean_over_groups():
    assert HeldOutQuality((1.0, 2.0, 6.0), 30, 8).mean == 3.0
