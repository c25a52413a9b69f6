"""The plane in focus of a specimen whose defocus is given: below the entrance, or a summit of noise."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.calibrate.aberrations import is_below

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
