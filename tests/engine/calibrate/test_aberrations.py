"""What most frequencies say: whether a plane in focus lies below the entrance, and whether there is any defocus."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.calibrate.aberrations import AberrationFit, in_focus_unless_told, is_below

DEPTH_A, FREQUENCIES = 30.0, 60
ENTRANCE_A = -80.0


def seen(*, there, entrance, above):
    """Shares of 60 frequencies that optics leave unexplained in the plane that is asked for, at the entrance, above."""
    planes = {ENTRANCE_A + DEPTH_A: there, ENTRANCE_A: entrance, ENTRANCE_A - DEPTH_A: above}

    def left(low):
        assert list(low[1:]) == [1.0, 2.0, 0.5], "astigmatism and rotation stay"
        scatter = np.random.default_rng(int(low[0]) % 7).uniform(0.99, 1.01, FREQUENCIES)
        return np.broadcast_to(planes[float(low[0])], FREQUENCIES) * scatter

    return SimpleNamespace(left=left)


IN_FOCUS = np.array([ENTRANCE_A + DEPTH_A, 1.0, 2.0, 0.5])
FEW_BRIGHT = np.where(np.arange(FREQUENCIES) < 4, 0.2, 0.9)
"""Left where four frequencies, which may hold most of the energy, are explained, and the others are not."""


@pytest.mark.parametrize(
    ("planes", "expected"),
    [
        ({"there": 0.3, "entrance": 0.4, "above": 0.7}, True),
        ({"there": 0.8, "entrance": 0.85, "above": 0.9}, True),
        ({"there": 0.8, "entrance": 0.9, "above": 0.8}, False),  # a summit at either side: of a sheet in focus
        ({"there": FEW_BRIGHT, "entrance": 0.9, "above": 0.9}, False),  # of a few spots
        ({"there": 0.6, "entrance": 0.5, "above": 0.9}, False),  # most frequencies prefer the entrance
    ],
)
def test_a_depth_is_what_most_frequencies_prefer_to_the_entrance_and_to_what_is_above(planes, expected):
    assert is_below(seen(**planes), IN_FOCUS, DEPTH_A) is expected


@pytest.mark.parametrize(("found", "told"), [(0.5, True), (0.9, False), (FEW_BRIGHT, False)])
def test_a_defocus_that_most_frequencies_do_not_prefer_to_none_is_none(found, told):
    fit = AberrationFit({"C10": 29.0, "C12a": 2.0, "C12b": -1.0}, 20.0, 0.4, 0.5, 0.02, 0.9)

    def left(low):
        assert low[3] == pytest.approx(np.radians(20.0)), "the rotation stays"
        return np.broadcast_to(found if low[0] else 0.89, FREQUENCIES) * np.linspace(0.999, 1.001, FREQUENCIES)

    taken = in_focus_unless_told(SimpleNamespace(left=left), fit)
    if told:
        assert taken is fit
    else:
        assert taken.aberrations == {"C10": 0.0, "C12a": 0.0, "C12b": 0.0}
        assert (taken.uncertainty_A, taken.rotation_deg) == (29.0, 20.0)
