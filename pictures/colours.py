"""Colours: from numbers to 8-bit indices, and from indices to colours on the screen.

Pictures are sent as uint8. Index 0 means *not visited yet* and has a flat colour that no colour map contains; indices 1
to 255 are the colour map. The browser's colour mapper therefore never changes its limits, only its palette.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import numpy as np
import numpy.typing as npt

from ptylive.schema.model import Array, BoolArray

UNVISITED = "#0a3e46"
"""Flat colour of scan points without a frame, in both themes."""
SHADES = 255
"""Shades of a colour map; index 0 is taken by :data:`UNVISITED`."""

WHEEL_HUES, WHEEL_STEPS = 64, 31
"""Numbers of directions and lengths that the colour wheel of a vector map distinguishes."""
WHEEL_CENTRE = "#3c3c3c"
"""Colour of a vector of zero length; not black, because the way from black to cyan passes :data:`UNVISITED`."""

Indexed = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Levels = tuple[float, float]
"""Contrast limits: the values of the first and the last shade of a colour map."""


class ColourMap(StrEnum):
    """Colour maps a panel offers."""

    GRAY = "gray"
    MAGMA = "magma"
    VIRIDIS = "viridis"
    INFERNO = "inferno"
    CYCLIC = "cyclic"


@cache
def shades(colour_map: ColourMap) -> tuple[str, ...]:
    """The 255 colours of a map, darkest first, as `#rrggbb`."""
    from bokeh import palettes

    if colour_map is ColourMap.GRAY:
        full = [f"#{level:02x}{level:02x}{level:02x}" for level in range(256)]
    elif colour_map is ColourMap.CYCLIC:
        import colorcet

        full = list(colorcet.palette["cyclic_mygbm_30_95_c78"])
    else:
        full = list(getattr(palettes, f"{colour_map.capitalize()}256"))
    picked = np.round(np.linspace(0, len(full) - 1, SHADES)).astype(int)
    return tuple(full[i] for i in picked)


def palette(colour_map: ColourMap, gamma: float = 1.0) -> list[str]:
    """256 colours for the browser: the unvisited colour, then the map; ``gamma`` below 1 brightens dark shades."""
    colours = shades(colour_map)
    if gamma == 1.0:
        return [UNVISITED, *colours]
    share = np.linspace(0.0, 1.0, SHADES) ** gamma
    return [UNVISITED, *(colours[i] for i in np.rint(share * (SHADES - 1)).astype(int))]


@cache
def gradient(colour_map: ColourMap, stops: int = 24, gamma: float = 1.0) -> str:
    """The colour map as a CSS gradient from left to right."""
    colours = palette(colour_map, gamma)[1:]
    picked = np.round(np.linspace(0, len(colours) - 1, stops)).astype(int)
    return f"linear-gradient(to right, {', '.join(colours[i] for i in picked)})"


def levels(data: Array, visited: BoolArray | None = None, percentiles: tuple[float, float] = (1, 99)) -> Levels:
    """Contrast limits of a picture: percentiles of a sample of its visited pixels; (0, 1) while there are none."""
    values = data.ravel() if visited is None else data[visited]
    values = values[:: max(1, values.size // 20_000)]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, percentiles))
    if high <= low:
        margin = abs(low) * 1e-3 or 0.5
        return low - margin, high + margin
    return low, high


def to_indices(data: Array, limits: Levels, visited: BoolArray | None = None) -> Indexed:
    """Numbers (ny, nx) as colour indices: 1 at or below the lower limit, 255 at or above the upper, 0 unvisited."""
    low, high = limits
    with np.errstate(invalid="ignore", over="ignore"):  # non-finite numbers, and differences below rounding
        scaled = (data - np.float32(low)) * np.float32((SHADES - 1) / (high - low))
        np.clip(scaled, 0, SHADES - 1, out=scaled)
    indices: npt.NDArray[np.uint8] = np.nan_to_num(scaled, copy=False).round().astype(np.uint8) + np.uint8(1)
    if visited is not None:
        indices[~visited] = 0
    return indices


def moved(new: Levels, old: Levels, tolerance: float = 0.01) -> bool:
    """Whether limits differ by more than ``tolerance`` of their span: smaller changes only make the picture flicker."""
    span = max(old[1] - old[0], new[1] - new[0])
    return max(abs(new[0] - old[0]), abs(new[1] - old[1])) > tolerance * span


@cache
def wheel_hues() -> tuple[str, ...]:
    """Colours of the directions, from +column clockwise on the screen (towards +row)."""
    import colorcet

    full = list(colorcet.palette["colorwheel"])
    return tuple(full[i * len(full) // WHEEL_HUES] for i in range(WHEEL_HUES))


@cache
def wheel_palette() -> list[str]:
    """The unvisited colour, then for every direction the steps from zero length to the longest vector."""
    centre = _rgb(WHEEL_CENTRE)
    steps = np.linspace(0, 1, WHEEL_STEPS)[:, None]
    out = [UNVISITED]
    for hue in wheel_hues():
        out += [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.rint(centre + steps * (_rgb(hue) - centre)).astype(int)]
    return out


def wheel_gradient() -> str:
    """The legend of the wheel as CSS: directions around, zero length in the middle."""
    hues = wheel_hues()
    around = ", ".join((*hues[::4], hues[0]))
    return f"radial-gradient(circle, {WHEEL_CENTRE} 12%, transparent 75%), conic-gradient(from 90deg, {around})"


def to_wheel(vectors: Array, longest: float, visited: BoolArray | None = None) -> Indexed:
    """Vectors (2: row, col; ny, nx) as indices of :func:`wheel_palette`; ``longest`` and beyond are saturated."""
    row, col = vectors
    hue = np.rint(np.nan_to_num(np.arctan2(row, col)) / (2 * np.pi) * WHEEL_HUES).astype(int) % WHEEL_HUES
    share = np.clip(np.nan_to_num(np.hypot(row, col) / max(longest, 1e-30)), 0, 1)
    steps = np.rint(share * (WHEEL_STEPS - 1)).astype(int)
    indices: npt.NDArray[np.uint16] = (1 + hue * WHEEL_STEPS + steps).astype(np.uint16)
    if visited is not None:
        indices[~visited] = 0
    return indices


def _rgb(colour: str) -> Array:
    """Red, green and blue of `#rrggbb`."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)
