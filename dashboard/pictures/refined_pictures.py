"""Pictures of a refinement: phase of the object, its noise, modes of the probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ptylive.dashboard.pictures.picture import (
    OBJECT_SIDE,
    PROBE_SIDE,
    Corner,
    Picture,
    RawPicture,
    Surroundings,
    whole,
    with_limits,
)
from ptylive.pictures.colours import levels, to_indices, to_wheel
from ptylive.schema.model import FloatArray


def object_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """The refined object's phase, rad; its central scanned area is shown first and determines the contrast."""
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
    return replace(with_limits(picture, levels(middle)), focus=focus, scanned=_on_object(picture, surroundings))


def _on_object(picture: Picture, surroundings: Surroundings) -> tuple[Corner, ...]:
    """Corners of the scanned field on an object with the same centre, clipped to the object."""
    first = [origin - 0.5 * pixel for origin, pixel in zip(picture.origin, picture.pixel, strict=True)]
    corners = np.asarray(surroundings.scanned_corners_A) + first + 0.5 * np.asarray(picture.size)
    inside = np.clip(corners, first, np.add(first, picture.size))
    return tuple((float(row), float(col)) for row, col in inside)


def deviation_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """Standard deviation of the object's phase, rad; empty where there was hardly any illumination."""
    picture = object_picture(raws, version, surroundings)
    finite = np.isfinite(picture.data)
    return replace(picture, visited=finite, indexed=to_indices(picture.data, picture.limits, finite))


def amplitude_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """Amplitude that the object transmits: 1 where nothing is lost to the detector."""
    return object_picture(raws, version, surroundings)


def object_wheel_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """Phase (``raws[0]``) as hue and amplitude (``raws[1]``) as brightness; the note gives both ranges."""
    phase = object_picture((raws[0],), version, surroundings)
    amplitude = amplitude_picture((replace(raws[1], data=np.asarray(raws[1].data, np.float32)),), version, surroundings)
    low, high = amplitude.limits
    bright = np.clip((amplitude.data - low) / max(high - low, 1e-9), 0.0, 1.0)
    vectors = np.stack([bright * np.sin(phase.data), bright * np.cos(phase.data)]).astype(np.float32)
    return replace(
        phase,
        name="object_wheel",
        data=vectors,
        limits=(0.0, 1.0),
        indexed=to_wheel(vectors, 1.0),
        units="",
        deviation=None,
        wheel=True,
        note=f"hue: phase; brightness: amplitude {low:.2f} to {high:.2f}",
    )


def probe_picture(raws: Sequence[RawPicture], version: int, _: Surroundings) -> Picture:
    """The probe modes (modes, y, x) side by side as amplitudes, each on its own scale; the note gives their powers."""
    raw = raws[0]
    modes = np.abs(raw.data if raw.data.ndim == 3 else raw.data[None]).astype(np.float32)
    return _side_by_side(raw, version, modes)


def fourier_probe_picture(raws: Sequence[RawPicture], version: int, _: Surroundings) -> Picture:
    """The probe modes in the aperture plane, as amplitudes; coordinates in 1/Å if the sampling is known."""
    raw = raws[0]
    modes = raw.data if raw.data.ndim == 3 else raw.data[None]
    shifted = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(modes, axes=(1, 2))), axes=(1, 2))
    sampling = raw.sampling_A
    if sampling is not None:
        sampling = (1.0 / (modes.shape[1] * sampling[0]), 1.0 / (modes.shape[2] * sampling[1]))
    reciprocal = replace(raw, name="probe_fourier", sampling_A=sampling)
    picture = _side_by_side(reciprocal, version, np.abs(shifted).astype(np.float32))
    return replace(picture, frequencies=True)


def _side_by_side(raw: RawPicture, version: int, modes: FloatArray) -> Picture:
    """Amplitudes (modes, y, x), the middle of each on its own scale; the note gives their shares of the power."""
    powers = (modes**2).sum(axis=(1, 2))
    modes = middle_that_matters(modes)
    strongest = np.maximum(modes.max(axis=(1, 2), keepdims=True), 1e-30)
    picture = whole(
        raw, version, np.concatenate(list(modes / strongest), axis=1), PROBE_SIDE, percentiles=(0, 100), calibrated=True
    )
    shares = " · ".join(f"{100 * p / max(powers.sum(), 1e-30):.0f}" for p in powers) + " %"
    return with_limits(picture, (0.0, 1.0), note=shares)


def middle_that_matters(modes: FloatArray, share: float = 0.9, least: int = 16) -> FloatArray:
    """The central square (around pixel n // 2) of modes (n, y, x) that holds ``share`` of their power, and a rim."""
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
