"""Figures that are made when the page first needs them: most viewers never open the parts that show most of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ptylive.dashboard.theme import INK, Theme

if TYPE_CHECKING:
    from bokeh.plotting import figure as Plot


class LaterFigure:
    """A figure called ``name`` that ``make`` makes when it is first needed; additions to it wait until then."""

    def __init__(self, name: str, make: Callable[[], Plot]) -> None:
        self.name = name
        self._make = make
        self._built: Plot | None = None
        self._waiting: list[Callable[[Plot], object]] = []

    @property
    def is_made(self) -> bool:
        """Whether the figure has been made."""
        return self._built is not None

    @property
    def figure(self) -> Plot:
        """The figure, made on first access."""
        if self._built is None:
            self._built = self._make()
            for add in self._waiting:
                add(self._built)
        return self._built

    def adorn(self, add: Callable[[Plot], object]) -> None:
        """Call ``add`` with the figure: now if it is made, otherwise when it is."""
        if self._built is not None:
            add(self._built)
        else:
            self._waiting.append(add)


class AxesFigure(LaterFigure):
    """A figure with axes, whose colour follows the theme."""

    def __init__(self, name: str, make: Callable[[], Plot]) -> None:
        super().__init__(name, make)
        self._theme = Theme.DARK
        self.adorn(self._ink)

    def wear(self, theme: Theme) -> None:
        """Set the colour of axes and labels."""
        self._theme = theme
        if self._built is not None:
            self._ink(self._built)

    def _ink(self, plot: Plot) -> None:
        ink = INK[self._theme]
        plot.axis.major_label_text_color = ink
        plot.axis.axis_label_text_color = ink
        plot.axis.major_tick_line_color = ink
        plot.grid.grid_line_color = ink
