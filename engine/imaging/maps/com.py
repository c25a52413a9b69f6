"""Centre of mass of each pattern: the gradient of the projected phase (DPC).

CoM = grad(phase)/(2 pi) * |probe|^2 in the detector frame; R(-rotation) rotates it to the scan axes.
Waddell & Chapman 1979; Lazić, Bosch & Lazar 2016, eq. 11; docs/theory/live-maps.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ptylive.engine.geometry import turned_to_detector_axes
from ptylive.engine.imaging.accumulation.reduced_numbers import MOMENTS
from ptylive.engine.imaging.bank import Picture
from ptylive.engine.imaging.declaration import MapWords, Method, Needs, live_map
from ptylive.engine.imaging.instant import Instant
from ptylive.engine.imaging.noise.rings import HALVES, quiet_shift
from ptylive.schema.model import BoolArray, DoubleArray, FloatArray
from ptylive.schema.scan import rotation_matrix

FARTHEST = 1 / 6
"""Distance from half the sampling frequency, cycles per point, within which the noise of the CoM is measured."""
FAINTEST = 0.01
"""Share of the mean counts below which the noise of a pattern is taken to be that at this share."""
TRUST = "once rotation and handedness are right; out of focus it is blurred by the disc of the probe"


@live_map(
    Method(
        "com",
        title="the centre of mass in 1/Å",
        needs=Needs.MOMENTS,
        maps=(
            MapWords(
                "com_row",
                label="centre of mass, rows",
                units="1/Å",
                shows="how far the beam is deflected along the rows: gradient of the phase, projected field",
                trust=TRUST,
                place=100,
            ),
            MapWords(
                "com_col",
                label="centre of mass, columns",
                units="1/Å",
                shows="how far the beam is deflected along the columns",
                trust=TRUST,
                place=110,
            ),
        ),
        order=40,
        optics=("detector_pixel_invA",),
        from_roots=MOMENTS,
    )
)
def center_of_mass_maps(now: Instant) -> Iterator[Picture]:
    """Make the maps ``com_row`` and ``com_col``, 1/Å, along the axes of the maps."""
    row, col = now.once(com_invA)
    settings = {"rotation_deg": now.rotation_deg}
    yield Picture("com_row", row, "1/Å", "centre of mass along scan rows", settings)
    yield Picture("com_col", col, "1/Å", "centre of mass along scan columns", settings)


def com_invA(now: Instant) -> DoubleArray:
    """Return the CoM (2, rows, cols) in 1/Å along the map axes, 0 without a frame. Use it through ``now.once``."""
    pixel = float(now.require("detector_pixel_invA", "the centre of mass in 1/Å"))
    # rotated and scaled in one product: fresh pages of large scans cost more than the arithmetic
    rotation = along_scan_axes(pixel * turned_to_detector_axes(np.eye(2), now.calibration.transform), now.rotation_deg)
    com = center_of_mass(now.moments, now.visited)
    return np.asarray((rotation @ com.reshape(2, -1)).reshape(com.shape))


def noise_of_integrated(
    now: Instant, integrated: Callable[[DoubleArray], DoubleArray], count: int
) -> Callable[[], FloatArray] | None:
    """Return a function that makes noise pictures (count, rows, cols) of an integrated phase; None off a grid."""
    if now.placement is not None:
        return None
    return lambda: np.stack([integrated(com).astype(np.float32) for com in _drawn_noise_invA(now, count)])


def _drawn_noise_invA(now: Instant, count: int) -> Iterator[DoubleArray]:
    """Yield ``count`` random draws (2, rows, cols) of noise like that of the centre of mass; frames are independent.

    Its level is measured where there is hardly any signal, around half the sampling frequency along rows and columns,
    and scaled by each pattern's counts.
    """
    com, visited = now.once(com_invA), now.visited
    shift = quiet_shift(visited, HALVES)
    rows, cols = visited.shape
    row, col = np.arange(rows)[:, None], np.arange(cols)[None]
    alternating = com * (1 - 2 * ((shift[0] // 2 * row + shift[1] // 2 * col) % 2))
    far = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(cols)[None]) <= FARTHEST
    power = np.median(np.abs(np.fft.fft2(alternating)[:, far]) ** 2, axis=1) / np.log(2) / max(int(visited.sum()), 1)
    counts = now.moments[:, 0].reshape(visited.shape)
    mean = max(float(counts[visited].mean()), 1e-12)
    relative = np.sqrt(mean / np.maximum(counts, FAINTEST * mean))
    deviation = np.where(visited, relative, 0.0) * np.sqrt(power)[:, None, None]
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.normal(size=com.shape) * deviation


def center_of_mass(moments: DoubleArray, visited: BoolArray) -> DoubleArray:
    """Return the CoM (2, rows, cols) in pixels along the detector axes, less its mean over visited points, 0 elsewhere.

    moments (N, 3): sum, sum I k_row, sum I k_col of every point. Where the sum is not above 0, as where more was
    subtracted than recorded, it is taken to be at the origin.
    """
    # unvisited points have zero moments; one array for all: fresh pages of large scans cost more than the arithmetic
    flat = np.empty((2, visited.size))
    np.divide(moments[:, 1:].T, np.where(moments[:, 0] > 0, moments[:, 0], np.inf), out=flat)
    flat -= flat.sum(axis=1, keepdims=True) / max(int(visited.sum()), 1)
    com = flat.reshape(2, *visited.shape)
    np.copyto(com, 0.0, where=~visited)
    return com


def along_scan_axes(com: DoubleArray, rotation_deg: float) -> DoubleArray:
    """Return components (2, rows, cols) along the scan axes: R(-rotation) @ CoM."""
    turned = rotation_matrix(-rotation_deg) @ com.reshape(2, -1)
    return np.asarray(turned.reshape(com.shape))
