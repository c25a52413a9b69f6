"""Figures that are made on demand."""

from bokeh.plotting import figure

from ptylive.dashboard.panels.live.later import AxesFigure, LaterFigure
from ptylive.dashboard.theme import INK, Theme


def test_a_figure_is_made_once_and_only_when_it_is_asked_for() -> None:
    made = []
    later = LaterFigure("a", lambda: made.append(figure()) or made[-1])
    assert not later.is_made
    assert not made
    assert later.figure is later.figure is made[0]
    assert later.is_made
    assert len(made) == 1


def test_what_is_to_be_done_to_it_is_done_in_its_order_before_or_after() -> None:
    later, done = LaterFigure("a", figure), []
    later.adorn(lambda plot: done.append(("first", plot)))
    later.adorn(lambda plot: done.append(("second", plot)))
    assert done == []
    plot = later.figure
    later.adorn(lambda plot: done.append(("third", plot)))
    assert done == [("first", plot), ("second", plot), ("third", plot)]


def test_axes_have_the_ink_of_the_theme_whenever_they_are_made() -> None:
    early, late = AxesFigure("a", figure), AxesFigure("b", figure)
    assert early.figure.xaxis[0].axis_label_text_color == INK[Theme.DARK]
    for plot in (early, late):
        plot.wear(Theme.LIGHT)
    assert not late.is_made
    for plot in (early, late):
        assert plot.figure.xaxis[0].major_label_text_color == INK[Theme.LIGHT]
        assert plot.figure.grid[0].grid_line_color == INK[Theme.LIGHT]
