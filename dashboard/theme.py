"""Dark and light theme: the few colours that are defined outside the style sheets."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Theme(StrEnum):
    """Dark for a dark room, or light."""

    DARK = "dark"
    LIGHT = "light"


INK: Mapping[Theme, str] = {Theme.DARK: "#9aa5b4", Theme.LIGHT: "#4a5462"}
"""Axis labels."""
PHASE_COLOURS: Mapping[str, str] = {"sweep": "#d9962e", "lbfgs": "#3f9bdc", "dgp": "#8f6fd1"}
"""Loss curve: mini-batch sweeps, then L-BFGS; the same in both themes and in refine.css."""
DISC_COLOUR = "#35d0ba"
"""Edge of the bright field."""
PROFILE_COLOUR = "#4cc2ff"
"""Line profile."""
DETECTOR_COLOURS = ("#ffd166", "#ef6ad0", "#7ee081", "#6aa8ff")
"""Virtual detectors, in the order they were drawn."""
COMPARED_COLOUR = "#8d98a7"
"""Loss of the compared run."""
