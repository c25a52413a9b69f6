"""Pictures of live maps and patterns: the map itself, its Fourier transform, the colour wheel of the centre of mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ptylive.dashboard.pictures.picture import (
    FFT,
    MAP_SIDE,
    PATTERN_SIDE,
    LabelledCircle,
    Picture,
    RawPicture,
    Surroundings,
    whole,
    with_limits,
)
from ptylive.pictures.colours import levels, to_indices, to_wheel
from ptylive.pictures.sampling import reduced, stretched
from ptylive.schema.model import FloatArray

SIGNAL_ENDS = "signal ends"
"""Word next to the ring beyond which the halves of the data no longer agree: bright spots there are no lattice."""
ABOVE_THE_OTHERS, BELOW_THE_OTHERS = 72.0, -45.0
"""Angles in degrees for labels of rings whose radius may be close to that of a round resolution."""


def map_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """A live map on the scan grid or a finer one; unvisited where no frame has arrived."""
    raw = raws[0]
    data = np.asarray(raw.data, dtype=np.float32)
    visited = None if surroundings.coverage is None else stretched(surroundings.coverage, data.shape)
    sampling, calibrated = _sampling(raw, surroundings)
    size = (data.shape[0] * sampling[0], data.shape[1] * sampling[1])
    data, visited = reduced(data, visited, MAP_SIDE)
    limits = levels(data, visited)
    return Picture(
        name=raw.name,
        version=version,
        data=data,
        visited=visited,
        limits=limits,
        indexed=to_indices(data, limits, visited),
        pixel=(size[0] / data.shape[0], size[1] / data.shape[1]),
        size=size,
        calibrated=calibrated,
        units=raw.units,
        frames=raw.frames,
        method=raw.method,
        deviation=raw.deviation,
        at_least=raw.at_least,
        buried=raw.buried,
        faint=raw.faint,
        carries=raw.carries,
    )


def _sampling(raw: RawPicture, surroundings: Surroundings) -> tuple[tuple[float, float], bool]:
    """Size of a pixel of a map in Å, or in scan points when no step is known."""
    shape = surroundings.scan_shape or raw.data.shape
    if raw.sampling_A is not None:
        return raw.sampling_A, True
    finer = (shape[0] / raw.data.shape[0], shape[1] / raw.data.shape[1])
    if surroundings.step_A is not None:
        return (finer[0] * surroundings.step_A[0], finer[1] * surroundings.step_A[1]), True
    return finer, False


def pattern_picture(raws: Sequence[RawPicture], version: int, _: Surroundings) -> Picture:
    """A diffraction pattern, linear from zero."""
    raw = raws[0]
    picture = whole(raw, version, raw.data, PATTERN_SIDE, percentiles=(0, 99.9), calibrated=False)
    peak = float(np.nan_to_num(raw.data).max(initial=0.0))
    return replace(with_limits(picture, (0.0, picture.limits[1] if peak > 0 else 1.0)), peak=peak)


def log_pattern_picture(raws: Sequence[RawPicture], version: int, _: Surroundings) -> Picture:
    """A diffraction pattern as log10(1 + counts), or the same of thousandths of its maximum if that is below 1."""
    raw = raws[0]
    counts = np.nan_to_num(np.maximum(np.asarray(raw.data, dtype=np.float32), 0))
    peak = float(counts.max(initial=0.0))
    picture = whole(
        raw,
        version,
        np.log10(1 + (1e3 * (counts / peak) if 0 < peak < 1 else counts)),  # else a normalised pattern would be black
        PATTERN_SIDE,
        percentiles=(0, 100),
        calibrated=False,
    )
    return replace(with_limits(picture, (0.0, max(picture.limits[1], 1e-9))), peak=peak)


def dpc_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """Centre of mass as a colour wheel: hue is its direction, saturation its length; `com_row` and `com_col`."""
    row, col = (map_picture((raw,), version, surroundings) for raw in raws)
    vectors = np.stack([row.data, col.data])
    longest = max(levels(np.hypot(*vectors), row.visited)[1], 1e-30)
    return replace(
        row,
        name="dpc",
        data=vectors,
        limits=(0.0, longest),
        indexed=to_wheel(vectors, longest, row.visited),
        method="centre of mass: direction and length",
        wheel=True,
    )


def fft_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """log10 of the amplitude of a map's Fourier transform, in 1/Å (or 1/point), zero frequency at the origin.

    Only the visited rows are used, with their mean removed and under a Hann window, so that neither the edge of the
    scan nor the part that is still to come produces a cross.
    """
    picture = map_picture(raws, version, surroundings)
    data, visited = picture.data, picture.visited
    if visited is not None and visited.any():
        rows = np.flatnonzero(visited.any(axis=1))
        part = slice(rows[0], rows[-1] + 1)
        data, visited = data[part], visited[part]
        data = np.where(visited, data, np.nan)
    data = _without_gaps(data)
    window = np.hanning(data.shape[0] + 2)[1:-1, None] * np.hanning(data.shape[1] + 2)[None, 1:-1]
    padded = np.zeros(picture.data.shape)
    padded[: data.shape[0]] = (data - data.mean()) * window
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(padded)))
    values = np.log10(amplitude / max(float(amplitude.max()), 1e-30) + 1e-6).astype(np.float32)
    limits = levels(values, None, (30, 99.98))
    pixel = tuple(1.0 / (n * p) for n, p in zip(values.shape, picture.pixel, strict=True))
    size = tuple(n * p for n, p in zip(values.shape, pixel, strict=True))
    return replace(
        picture,
        name=picture.name + FFT,
        data=values,
        visited=None,
        limits=limits,
        indexed=to_indices(values, limits),
        pixel=(pixel[0], pixel[1]),
        size=(size[0], size[1]),
        origin=(-(values.shape[0] // 2) * pixel[0], -(values.shape[1] // 2) * pixel[1]),
        units="log",
        deviation=None,
        frequencies=True,
        rings=_rings(picture, 0.5 * min(size), surroundings.aperture_invA) if picture.calibrated else (),
    )


def _without_gaps(data: FloatArray) -> FloatArray:
    """A map in double precision in which missing and unvisited points have the mean of the others."""
    finite = np.isfinite(data)
    values = np.where(finite, data, 0.0).astype(float)
    return np.where(finite, values, values.sum() / max(1, np.count_nonzero(finite)))


def _rings(picture: Picture, highest: float, aperture_invA: float | None) -> tuple[LabelledCircle, ...]:
    """Rings at round resolutions, and the ring beyond which a map contains no signal, if that is known."""
    rings, limit = resolution_rings(highest, aperture_invA), picture.carries.get(1.0)
    if limit is None or not limit.is_known or limit.finer or 1 / limit.period_A > highest:
        return rings
    return (*rings, LabelledCircle(1 / limit.period_A, f"{SIGNAL_ENDS} {limit.period_A:.3g} Å", BELOW_THE_OTHERS))


def resolution_rings(highest: float, aperture_invA: float | None, most: int = 4) -> tuple[LabelledCircle, ...]:
    """Circles at round resolutions up to the frequency ``highest`` (1/Å), and at the end of the aperture's transfer."""
    steps = [m * 10.0**e for e in range(3, -3, -1) for m in (5, 2, 1)]
    inside = [d for d in steps if 0.12 * highest < 1 / d <= highest]
    rings = [LabelledCircle(1 / d, f"{d / 10:g} nm" if d >= 10 else f"{d:g} Å") for d in inside[-most:]]
    if aperture_invA is not None and 2 * aperture_invA <= highest:
        rings.append(LabelledCircle(2 * aperture_invA, "2α", ABOVE_THE_OTHERS))
    return tuple(rings)
