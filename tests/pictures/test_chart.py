"""Charts: where things are drawn, and round numbers on the axes."""

import numpy as np
import pytest

from ptylive.pictures.chart import (
    BAND,
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    LINE,
    MARK,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Curve,
    Points,
    Series,
    lines,
    nice_ticks,
    surface,
)
from ptylive.pictures.chart import curve as draw_curve

ACROSS, UP = Axis("defocus (Å)", ((0.0, "-100"), (1.0, "100"))), Axis("loss", ((0.5, "1 %"),))
NONE = np.zeros((0, 2))


def where(picture, colour):
    """Mean place (across, up) of the pixels of a colour; None if there are no such pixels."""
    rows, cols = np.nonzero((picture == colour).all(axis=-1))
    if not len(rows):
        return None
    return (cols.mean() - LEFT) / (WIDTH - LEFT - RIGHT), (HEIGHT - BOTTOM - rows.mean()) / (HEIGHT - TOP - BOTTOM)


def test_a_curve_stands_where_its_places_are():
    x = np.linspace(0, 1, 5)
    flat = np.full(5, 0.25)
    picture = draw_curve(ACROSS, UP, Curve(x, flat, flat - 0.1, flat + 0.1), Points(NONE, NONE), mark=0.75)
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
    assert where(picture, LINE) == pytest.approx((0.5, 0.25), abs=0.02)
    assert where(picture, BAND) == pytest.approx((0.5, 0.25), abs=0.02)
    assert where(picture, MARK)[0] == pytest.approx(0.75, abs=0.01)
    assert (picture == 0).all(axis=-1).any()  # axes and their text


def test_a_surface_is_bright_where_it_is_low():
    heights = np.add.outer(np.linspace(0, 1, 9), np.zeros(9))  # increasing upwards
    picture = surface(ACROSS, UP, heights, Points(NONE, NONE), (0.5, 0.0)).astype(float)
    inside = picture[TOP + 3 : HEIGHT - BOTTOM - 3, LEFT + 3 : WIDTH - RIGHT - 3].sum(axis=-1)
    assert inside[-12:-10].mean() > inside[10:12].mean() + 100
    assert where(picture.astype(np.uint8), MARK) == pytest.approx((0.5, 0.0), abs=0.02)


def test_what_lies_outside_is_drawn_at_the_border():
    far = np.array([[-3.0, 5.0]])
    x = np.linspace(0, 1, 3)
    picture = draw_curve(ACROSS, UP, Curve(x, x, x, x), Points(far, NONE))
    assert (picture[TOP - 3 : TOP + 3, LEFT - 3 : LEFT + 3] == 0).all(axis=-1).any()


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(-100, 100, (-100, -50, 0, 50, 100)), (0, 0.034, (0, 0.01, 0.02, 0.03)), (2, 10, (2, 4, 6, 8, 10))],
)
def test_ticks_are_round(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_ticks_take_a_range():
    with pytest.raises(ValueError, match="no range"):
        nice_ticks(1.0, 1.0)


def test_lines_are_drawn_where_their_values_are():
    """Two lines that cross, each labelled at its end; a gap is left out, and an empty chart is refused."""
    rising = Series("up", np.arange(3.0), np.array([1.0, np.nan, 100.0]))
    falling = Series("down", np.arange(3.0), np.array([100.0, 10.0, 1.0]))
    picture = lines("epoch", "loss", [rising, falling], log=True)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    middle = ((TOP + HEIGHT - BOTTOM) // 2, (LEFT + WIDTH - RIGHT) // 2)
    assert picture[middle].tolist() == list(COLOURS[1])  # on a logarithmic axis the middle is 10
    assert lines("a", "b", [Series("", np.ones(1), np.ones(1))]).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ValueError, match="nothing to draw"):
        lines("a", "b", [Series("", np.ones(1), np.zeros(1))], log=True)
