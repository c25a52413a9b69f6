"""The refined object among the live maps: on the grid of the scan, in its orientation, cropped to the scanned field."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import count
from types import MappingProxyType

import numpy as np

from ptylive.dashboard.client.feed import FeedView, surroundings_of
from ptylive.dashboard.client.map_kinds import REFINED
from ptylive.dashboard.panels.live.shown_run import of_another_scan
from ptylive.dashboard.pictures import FFT, MAP_SIDE, OVERWRITING, Picture, RawPicture, Surroundings, fft_picture
from ptylive.pictures.colours import levels, to_indices
from ptylive.schema.advice.half_turn import half_turn_in
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.scan import rotation_matrix

OBJECT = "object"
NAMES = frozenset(REFINED.name + ending for ending in ("", FFT, OVERWRITING))


class RefinedMap:
    """Makes the picture ``refined`` from the object of a refinement, when a panel shows it."""

    def __init__(self) -> None:
        self._signature: tuple[object, ...] = ()
        self._pictures: dict[str, Picture] = {}
        self._versions = count(1)

    @staticmethod
    def sources(wanted: Collection[str]) -> set[str]:
        """Names of the pictures that must be prepared for what panels show."""
        return set() if NAMES.isdisjoint(wanted) else {OBJECT}

    def view(self, displayed: FeedView, refined: FeedView, wanted: Collection[str] = NAMES) -> FeedView:
        """What the panels are to show, including the object of ``refined`` if there is one.

        ``wanted``: names that panels show; the object is resampled on the scan's grid if it is among them.
        """
        picture, scan = refined.pictures.get(OBJECT), displayed.state.scan
        if of_another_scan(refined) or OBJECT not in refined.available or scan.shape is None or scan.step_A is None:
            return displayed
        available = displayed.available | {REFINED.name}
        if picture is None or not picture.calibrated or NAMES.isdisjoint(wanted):
            return replace(displayed, available=available)
        surroundings = surroundings_of(displayed.state, None)
        run = refined.refinement
        messages = f"{refined.state.refinement.message or ''} {(run and run.message) or ''}"
        turned = half_turn_in(messages)
        rotation_deg = surroundings.rotation_deg if turned is None else turned[0]
        signature = (picture.version, scan.shape, scan.step_A, rotation_deg)
        if signature != self._signature:
            self._signature = signature
            self._pictures = scan_grid_pictures(
                picture, scan.shape, scan.step_A, rotation_deg, surroundings, next(self._versions)
            )
        return replace(
            displayed, pictures=MappingProxyType({**displayed.pictures, **self._pictures}), available=available
        )


def scan_grid_pictures(
    picture: Picture,
    shape: tuple[int, int],
    step_A: tuple[float, float],
    rotation_deg: float,
    surroundings: Surroundings,
    version: int,
) -> dict[str, Picture]:
    """The object on the scan's grid, and its Fourier transform."""
    size = (shape[0] * step_A[0], shape[1] * step_A[1])
    fine = max(min(picture.pixel), max(size) / MAP_SIDE)
    rows, cols = max(1, round(size[0] / fine)), max(1, round(size[1] / fine))
    pixel = (size[0] / rows, size[1] / cols)
    data = on_scan(picture, (rows, cols), pixel, rotation_deg)
    limits = levels(data)
    origin = (0.5 * (pixel[0] - step_A[0]), 0.5 * (pixel[1] - step_A[1]))
    plain = replace(
        picture,
        name=REFINED.name,
        version=-version,
        data=data,
        limits=limits,
        visited=None,
        indexed=to_indices(data, limits),
        pixel=pixel,
        size=size,
        focus=None,
        origin=origin,
        method="refined object, on the grid of the scan",
    )
    raw = RawPicture(REFINED.name, data, picture.units, pixel)
    overwriting = replace(
        plain, name=plain.name + OVERWRITING
    )  # always the newest refinement, whatever is being scanned
    return {
        plain.name: plain,
        overwriting.name: overwriting,
        plain.name + FFT: fft_picture((raw,), -version, surroundings),
    }


def on_scan(picture: Picture, shape: tuple[int, int], pixel: tuple[float, float], rotation_deg: float) -> FloatArray:
    """Bilinear values (rows, cols) of an object centred on the scan; positions beyond its edge get the edge value."""
    places = [(np.arange(n) - 0.5 * (n - 1)) * size for n, size in zip(shape, pixel, strict=True)]
    plane = np.stack(np.meshgrid(*places, indexing="ij"), -1) @ rotation_matrix(rotation_deg).T
    height, width = picture.data.shape
    row = plane[..., 0] / picture.pixel[0] + 0.5 * height
    col = plane[..., 1] / picture.pixel[1] + 0.5 * width
    return bilinear(picture.data.astype(float), row, col).astype(np.float32)


def bilinear(data: DoubleArray, row: DoubleArray, col: DoubleArray) -> DoubleArray:
    """Bilinear values of ``data`` (ny, nx) at positions in pixels; positions beyond the edge get the edge value."""
    height, width = data.shape
    row, col = np.clip(row, 0, height - 1), np.clip(col, 0, width - 1)
    top = np.minimum(np.floor(row).astype(int), max(height - 2, 0))
    left = np.minimum(np.floor(col).astype(int), max(width - 2, 0))
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    v, u = row - top, col - left
    upper = (1 - u) * data[top, left] + u * data[top, right]
    lower = (1 - u) * data[bottom, left] + u * data[bottom, right]
    return np.asarray((1 - v) * upper + v * lower)
