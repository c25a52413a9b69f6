"""How well a phase agrees with the truth of a scan of the zoo.

The reconstructed phase, summed over slices, is compared with the true one over the scanned field without its border,
on the truth's own grid, a plane removed from both. The reconstruction may be shifted, by at most 1.2 Å (less than the
distance of neighbouring columns) or half the resolution of the aperture if that is more. The sign counts: of all
shifts the one with the largest magnitude of the correlation is taken, and the signed value told.

- ``corr``: correlation with the truth blurred by a Gaussian of 0.18 of the aperture's resolution (0.15 Å at 80 kV
  and 25 mrad), the same for every program: it rewards resolution and punishes noise.
- ``corr_best_blur``: the same with the blur that suits the reconstruction best, ``blur_A``.
- ``frc_half_A``: period at which the Fourier ring correlation with the truth first falls below 0.5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.floating[Any]]
BLUR = 0.18
"""Of the wavelength over twice the semi-angle."""
BORDER_A = 1.5
BLURS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 13.0)
"""Tried for the best one, in units of the fixed one."""
REFINED = 8
"""Candidates of the coarse search that are followed: on a lattice its best may lie one cell away."""


@dataclass(frozen=True)
class Reconstruction:
    """Phase (slices, y, x) in rad; sampling and place of pixel (0, 0) in Å, relative to the first scan point."""

    phase: Floats
    sampling_A: tuple[float, float]
    origin_A: tuple[float, float]
    rotation_deg: float | None = None
    """Turn of the scan in the picture's axes; None: the true one. Another turn with another flip of the detector is as
    right: pictures are compared along the axes of the scan."""

    @classmethod
    def read(cls, path: Path) -> Reconstruction:
        """The last refinement of a results file of ours."""
        import h5py

        with h5py.File(path) as file:
            found = file["refinement/object"]
            rows, columns = np.broadcast_to(np.asarray(found.attrs["sampling_A"], float), 2)
            origin = np.asarray(found.attrs["origin_A"], float)
            phase = np.angle(found[0]).astype(float)
            turn = float(file["refinement/calibration"].attrs["rotation_deg"])
        return cls(phase, (float(rows), float(columns)), (float(origin[0]), float(origin[1])), turn)

    def turned(self, places: Floats, true_rotation_deg: float) -> Floats:
        """Places (2, ...) in the truth's axes, relative to the first scan point, in the picture's axes."""
        turn = np.deg2rad(0.0 if self.rotation_deg is None else self.rotation_deg - true_rotation_deg)
        c, s = np.cos(turn), np.sin(turn)
        return np.stack([c * places[0] - s * places[1], s * places[0] + c * places[1]])

    def at(self, places: Floats, order: int = 3) -> Floats:
        """Projected phase at places (2, ...) in Å relative to the first scan point, in the picture's axes."""
        index = [(places[k] - self.origin_A[k]) / self.sampling_A[k] for k in (0, 1)]
        return ndimage.map_coordinates(self.phase.sum(0), index, order=order, mode="nearest")


@dataclass(frozen=True)
class Truth:
    """The truth of a file, and the field on which it is compared."""

    phase: Floats
    sampling_A: float
    first_A: Floats
    """Where the first scan point of the nominal grid is in ``phase``; what all positions are off by counts as known."""
    points: Floats
    """Nominal positions (N, 2), relative to the first."""
    blur_A: float
    search_A: float
    rotation_deg: float

    @classmethod
    def read(cls, path: Path) -> Truth:
        """Of a file that files.py has written."""
        import h5py

        with h5py.File(path) as file:
            truth = file["truth"]
            drawn = json.loads(truth.attrs["draw"])
            columns = drawn["shape"][1]
            true, nominal = (truth[n][:, :columns].reshape(-1, 2) for n in ("positions_A", "nominal_positions_A"))
            phase, sampling = truth["phase"][()].astype(float), float(truth.attrs["object_sampling_A"])
            pixel = float(file["metadata"].attrs["detector_pixel_mrad"]) * float(truth.attrs["probe_sampling_A"])
            wavelength = 1e-3 * pixel * drawn["pixels"]
        resolution = wavelength / (2e-3 * drawn["semiangle_mrad"])
        first = nominal[0] + (true - nominal).mean(0)
        blur, search = BLUR * resolution, max(1.2, resolution / 2)
        return cls(phase, sampling, first, nominal - nominal[0], blur, search, float(drawn["rotation_deg"]))

    def field(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Places (2, y, x) relative to the first scan point, on the truth's grid, and which of them count."""
        from scipy.spatial import Delaunay

        low = np.ceil((self.points.min(0) + self.first_A) / self.sampling_A)
        high = np.floor((self.points.max(0) + self.first_A) / self.sampling_A)
        axes = [np.arange(a, b + 1) * self.sampling_A - f for a, b, f in zip(low, high, self.first_A, strict=True)]
        places = np.stack(np.meshgrid(*axes, indexing="ij"))
        inside = Delaunay(self.points).find_simplex(places.reshape(2, -1).T) >= 0
        padded = np.pad(inside.reshape(places.shape[1:]), 1)
        depth = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] * self.sampling_A
        return places, depth > BORDER_A

    def blurred(self, sigma_A: float, places: Floats) -> Floats:
        """The phase at places, blurred by a Gaussian."""
        soft = ndimage.gaussian_filter(self.phase, sigma_A / self.sampling_A, mode="nearest")
        index = (places + self.first_A[:, None, None]) / self.sampling_A
        return ndimage.map_coordinates(soft, index, order=1, mode="nearest")


def score(truth: Truth, found: Reconstruction) -> dict[str, Any]:
    """Figures of a reconstruction as this module's docstring says."""
    places, inside = truth.field()
    target = truth.blurred(truth.blur_A, places)
    turned = found.turned(places, truth.rotation_deg)
    shift = best_shift(truth, found, turned, inside, target)
    seen = found.at(turned + np.reshape(shift, (2, 1, 1)))
    corr = correlation(level(seen, inside), level(target, inside))
    blurs = {b * truth.blur_A: level(truth.blurred(b * truth.blur_A, places), inside) for b in BLURS}
    suits = max(blurs, key=lambda b: abs(correlation(level(seen, inside), blurs[b])))
    frequency, rings = ring_correlation(seen, truth.blurred(0.0, places), inside, truth.sampling_A)
    return {
        "corr": round(corr, 4),
        "corr_best_blur": round(correlation(level(seen, inside), blurs[suits]), 4),
        "blur_A": round(suits, 3),
        "frc_half_A": period_below(frequency, rings, 0.5),
        "shift_A": [round(value, 3) for value in shift],
        "slices": len(found.phase),
    }


def half_data_score(truth: Truth, halves: tuple[Reconstruction, Reconstruction]) -> dict[str, Any]:
    """Correlation of reconstructions of half the data each; the period at which their rings fall below 0.143."""
    places, inside = truth.field()
    seen = [half.at(half.turned(places, truth.rotation_deg)) for half in halves]
    frequency, rings = ring_correlation(seen[0], seen[1], inside, truth.sampling_A)
    corr = correlation(level(seen[0], inside), level(seen[1], inside))
    return {"halves_corr": round(corr, 4), "halves_frc_A": period_below(frequency, rings, 0.143)}


def best_shift(
    truth: Truth, found: Reconstruction, places: Floats, inside: NDArray[np.bool_], target: Floats
) -> tuple[float, float]:
    """Shift in Å that makes the magnitude of the correlation largest: coarse, then finer about the best few."""
    some = np.zeros_like(inside)
    stride = max(1, int(np.sqrt(inside.sum() / 6000)))
    some[::stride, ::stride] = inside[::stride, ::stride]
    where = places[:, some]
    wanted = level(target, some)
    spline = ndimage.spline_filter(found.phase.sum(0), order=3)
    plane = np.stack([np.ones(some.sum()), *where], 1)
    project = np.linalg.pinv(plane)

    def judged(shift: tuple[float, float]) -> float:
        index = [(where[k] + shift[k] - found.origin_A[k]) / found.sampling_A[k] for k in (0, 1)]
        value = ndimage.map_coordinates(spline, index, order=3, mode="nearest", prefilter=False)
        return abs(correlation(value - plane @ (project @ value), wanted))

    def around(centre: tuple[float, float], step: float, count: int) -> list[tuple[float, tuple[float, float]]]:
        offsets = step * np.arange(-count, count + 1)
        shifts = [(centre[0] + float(a), centre[1] + float(b)) for a in offsets for b in offsets]
        kept = [s for s in shifts if max(map(abs, s)) <= truth.search_A + 1e-9]
        return [(judged(s), s) for s in kept]

    step = truth.search_A / 6
    coarse = sorted(around((0.0, 0.0), step, 6), reverse=True)
    tops: list[tuple[float, float]] = []
    for _, shift in coarse:
        if all(np.hypot(shift[0] - t[0], shift[1] - t[1]) > 2.5 * step for t in tops):
            tops.append(shift)
        if len(tops) == REFINED:
            break
    best = max(entry for top in tops for entry in around(top, step / 2, 2))
    for finer in (step / 6, step / 18):
        best = max(around(best[1], finer, 3))
    return best[1]


def level(values: Floats, inside: NDArray[np.bool_]) -> Floats:
    """The values that count, without their plane."""
    rows, columns = np.nonzero(inside)
    plane = np.stack([np.ones(len(rows)), rows / inside.shape[0], columns / inside.shape[1]], 1)
    kept = values[inside]
    return kept - plane @ np.linalg.lstsq(plane, kept, rcond=None)[0]


def correlation(a: Floats, b: Floats) -> float:
    """Of values without mean; 0 where one of them is constant or not finite."""
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / norm) if np.isfinite(norm) and norm > 0 else 0.0


def ring_correlation(a: Floats, b: Floats, inside: NDArray[np.bool_], sampling_A: float) -> tuple[Floats, Floats]:
    """Frequencies in 1/Å and the correlation in rings, the field's border faded out over a tenth of its width."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    fade = np.sin(np.pi / 2 * np.clip(depth / max(1.0, 0.25 * depth.max()), 0, 1)) ** 2
    spectra = []
    for values in (a, b):
        flat = np.zeros(inside.shape)
        flat[inside] = level(values, inside)
        spectra.append(np.fft.fft2(flat * fade))
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, sampling_A) for n in inside.shape), indexing="ij"))
    width = 1.5 / (sampling_A * min(inside.shape))
    ring = (frequency / width + 0.5).astype(int).ravel()
    count = int(0.5 / sampling_A / width)
    sums = [
        np.bincount(ring, values.ravel(), count + 1)[: count + 1]
        for values in ((spectra[0] * spectra[1].conj()).real, *(np.abs(s) ** 2 for s in spectra))
    ]
    return np.arange(count + 1) * width, sums[0] / np.sqrt(sums[1] * sums[2] + 1e-30)


def period_below(frequency: Floats, rings: Floats, threshold: float) -> float | None:
    """Period in Å at which rings that were above the threshold first fall below it; None if they never were."""
    above = np.flatnonzero(rings[1:] >= threshold)
    if not len(above):
        return None
    below = np.flatnonzero(rings[1 + above[0] :] < threshold)
    last = 1 + above[0] + (below[0] if len(below) else len(rings) - 2 - above[0])
    return round(float(1 / frequency[last]), 3)
