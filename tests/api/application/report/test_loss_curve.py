"""The loss curve of a report."""

import re

import numpy as np
import pytest

from ptylive.application.report.loss_curve import loss_curve


def points(svg):
    return np.array([pair.split(",") for pair in re.search('points="([^"]*)"', svg)[1].split()], dtype=float)


def test_decades_are_equally_far_apart():
    x, y = points(loss_curve(np.array([1000.0, 100.0, 10.0]))).T
    assert np.diff(x)[0] == pytest.approx(np.diff(x)[1], abs=0.11)  # written with one decimal
    assert np.diff(y)[0] == pytest.approx(np.diff(y)[1], abs=0.11)
    assert y[0] < y[-1], "what is larger stands higher"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_what_has_no_logarithm_is_left_out_in_its_place(bad):
    x = points(loss_curve(np.array([8.0, bad, 4.0])))[:, 0]
    whole = points(loss_curve(np.array([8.0, 6.0, 4.0])))[:, 0]
    assert x.tolist() == [whole[0], whole[2]]
    assert loss_curve(np.array([8.0, bad])) == ""


def test_a_loss_that_does_not_change_is_a_line():
    assert len(points(loss_curve(np.full(5, 2.0)))) == 5
