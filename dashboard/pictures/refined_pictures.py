"""Pictures of a refinement: phase of the object, how far noise scatters it, modes of the probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ptylive.dashboard.pictures.picture import (
    OBJECT_SIDE,
    PROBE_SIDE,
    Picture,
    RawPicture,
    Surroundings,
    whole,
    with_limits,
)
from ptylive.pictures.colours import levels, to_indices
from ptylive.schema.model import FloatArray


def object_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """The refined object's phase, rad; shown first, and deciding the contrast: the scanned area in its middle."""
    raw = raws[0]
    picture = whole(raw, version, raw.data, OBJECT_SIDE, percentiles=(1, 99), calibrated=True)
    scanned = surroundings.scanned_A
    if scanned is None or not picture.calibrated:
        return picture
    focus = (min(scanned[0], picture.size[0]), min(scanned[1], picture.size[1]))
    margin = [
        int((size - part) / (2 * pixel)) for size, part, pixel in zip(picture.size, focus, picture.pixel, strict=True)
    ]
    rows, cols = picture.data.shape
    middle = picture.data[margin[0] : rows - margin[0], margin[1] : cols - margin[1]]
    return replace(with_limits(picture, levels(middle)), focus=focus)


def deviation_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """Standard deviation of the object's phase, rad; empty where hardly any light fell."""
    picture = object_picture(raws, version, surroundings)
    told = np.isfinite(picture.data)
    return replace(picture, visited=told, indexed=to_indices(picture.data, picture.limits, told))


def probe_picture(raws: Sequence[RawPicture], version: int, _: Surroundings) -> Picture:
    """The probe modes (modes, y, x) side by side as amplitudes, each on its own scale; the note says their powers."""
    raw = raws[0]
    modes = np.abs(raw.data if raw.data.ndim == 3 else raw.data[None]).astype(np.float32)
    powers = (modes**2).sum(axis=(1, 2))
    modes = middle_that_matters(modes)
    strongest = np.maximum(modes.max(axis=(1, 2), keepdims=True), 1e-30)
    side_by_side = np.concatenate(list(modes / strongest), axis=1)
    picture = whole(raw, version, side_by_side, PROBE_SIDE, percentiles=(0, 100), calibrated=True)
    shares = " · ".join(f"{100 * p / max(powers.sum(), 1e-30):.0f}" for p in powers) + " %"
    return with_limits(picture, (0.0, 1.0), note=shares)


def middle_that_matters(modes: FloatArray, share: float = 0.9, least: int = 16) -> FloatArray:
    """The square around the centre (pixel n // 2) of modes (n, y, x) that holds ``share`` of their power, and a rim."""
    power = (modes**2).sum(axis=0)
    rows, cols = np.indices(power.shape)
    middle = power.shape[0] // 2, power.shape[1] // 2
    reach = np.maximum(abs(rows - middle[0]), abs(cols - middle[1]))
    inside = np.cumsum(np.bincount(reach.ravel(), weights=power.ravel()))
    half = int(np.searchsorted(inside, share * inside[-1])) * 3 // 2 + 1
    half = min(max(half, least // 2), *middle)
    if half == 0:
        return modes
    return modes[:, middle[0] - half : middle[0] + half, middle[1] - half : middle[1] + half]
