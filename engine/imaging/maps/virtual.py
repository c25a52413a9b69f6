"""Virtual detectors: sums over rings of the detector (bright field, annular bright field, annular dark field)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS
from ptylive.engine.imaging.bank import Picture
from ptylive.engine.imaging.declaration import MapWords, Method, Needs, live_map
from ptylive.engine.imaging.instant import Instant
from ptylive.schema.model import BoolArray, DoubleArray

DETECTORS: dict[str, tuple[str, ...]] = {"bf": ("inner", "outer"), "abf": ("outer",), "adf": ("dark",)}
"""Regions of the detector that each image sums over."""


@live_map(
    Method(
        "bf",
        title="the bright field",
        needs=Needs.REGIONS,
        maps=(
            MapWords(
                "bf",
                label="bright field",
                units="counts",
                shows="electrons that stay in the bright-field disc: mass and thickness",
                trust="always; it needs no calibration, so look here first",
                place=50,
            ),
        ),
        order=10,
        from_roots=("perp_bright",),
    )
)
def bright_field(now: Instant) -> Iterator[Picture]:
    """Make the map ``bf``: counts."""
    yield _picture("bf", now)


@live_map(
    Method(
        "abf",
        title="the annular bright field",
        needs=Needs.REGIONS,
        maps=(
            MapWords(
                "abf",
                label="annular BF",
                units="counts",
                shows="the outer half of the bright-field disc: light and heavy columns dark",
                trust="in focus, on thin crystals",
                place=60,
            ),
        ),
        order=20,
    )
)
def annular_bright_field(now: Instant) -> Iterator[Picture]:
    """Make the map ``abf``: counts."""
    yield _picture("abf", now)


@live_map(
    Method(
        "adf",
        title="the annular dark field",
        needs=Needs.REGIONS,
        maps=(
            MapWords(
                "adf",
                label="annular DF",
                units="counts",
                shows="electrons beyond the disc (1.1 of its radius): heavier and thicker is brighter",
                trust="as far as the detector reaches: its angles are those of the camera length",
                place=40,
            ),
        ),
        order=30,
        from_roots=("perp_dark",),
    )
)
def annular_dark_field(now: Instant) -> Iterator[Picture]:
    """Make the map ``adf``: counts."""
    yield _picture("adf", now)


def virtual_image(name: str, regions: DoubleArray, visited: BoolArray) -> DoubleArray:
    """Return the counts (rows, cols) of one virtual detector; unvisited points hold the mean of the visited ones.

    regions (N, 4): region sums of every point.
    """
    columns = [REGIONS.index(region) for region in DETECTORS[name]]
    image = regions[:, columns].sum(axis=1).reshape(visited.shape)
    return np.where(visited, image, image[visited].mean() if visited.any() else 0.0)


def _picture(name: str, now: Instant) -> Picture:
    return Picture(name, virtual_image(name, now.regions, now.visited), "counts", "virtual detector")
