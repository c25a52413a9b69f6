"""The plan of a reduction: every pixel appears in exactly one place, whichever pixels are dead."""

import numpy as np
import pytest

from ptylive.engine.backend.imaging.reduction_plan import Axes, PixelPlan

SIDE, REGIONS = 12, 4


def regions(dead):
    """Rings, the outermost holding the remaining pixels; dead pixels are -1."""
    y, x = np.indices((SIDE, SIDE)) - SIDE / 2
    found = np.minimum(np.hypot(y, x) / 2, REGIONS - 1).astype(np.int64)
    found[dead] = -1
    return found


def bins(width, dead):
    y, x = np.indices((SIDE, SIDE)) // width
    found = y * (SIDE // width) + x
    found[dead] = -1
    return found


def planned(width, dead):
    axes = Axes(np.arange(SIDE, dtype=float), np.arange(SIDE, dtype=float))
    return PixelPlan.of(bins(width, dead), regions(dead), width, REGIONS, axes)


DEAD = {
    "none": np.s_[:0],
    "a row": np.s_[5],
    "rows at the edge": np.s_[:2],
    "a column": np.s_[:, 7],
    "all": np.s_[:],
}


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
def test_runs_hold_every_good_pixel_of_their_region(dead):
    of = regions(dead).ravel()
    found = np.full(SIDE * SIDE, REGIONS - 1)
    for first, end, region in planned(3, dead).runs:
        assert (found[first:end] == REGIONS - 1).all(), "runs do not overlap"
        found[first:end] = region
    good = of >= 0
    np.testing.assert_array_equal(found[good], of[good])


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_pixel_of_a_bin_is_added_to_it_once(width, dead):
    plan, of = planned(width, dead), bins(width, dead)
    found = np.full((SIDE, SIDE), -1)
    for band, (first, last) in enumerate(zip(plan.boxes_at[:-1], plan.boxes_at[1:], strict=True)):
        top = plan.band_at[band]
        for left, count, number in plan.boxes[first:last]:
            for k in range(count):
                at = np.s_[top : top + width, left + k * width : left + (k + 1) * width]
                assert (found[at] == -1).all()
                found[at] = number + k
    for number, first, end in zip(plan.ragged_bin, plan.ragged_at[:-1], plan.ragged_at[1:], strict=True):
        pixels = plan.ragged[first:end]
        assert (found.ravel()[pixels] == -1).all()
        found.ravel()[pixels] = number
    np.testing.assert_array_equal(found, of)
    np.testing.assert_array_equal(plan.bad, np.flatnonzero(regions(dead) < 0))
