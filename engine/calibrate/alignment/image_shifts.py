"""How far the images of the bright field's parts are shifted, and the aberrations that explain the shifts (parallax).

Each detector pixel k of a defocused scan shows the specimen shifted by s(k) = grad chi(k) / 2 pi. All options of
py4DSTEM's parallax are available here: the size of the bins, how often and against which reference they are aligned,
and the order up to which aberrations are fitted. Unless the settings of `tcbf` ask for these shifts, maps are
calibrated on the spectrum (``aberrations.py``). Varnavides et al. 2023; docs/theory/calibration.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import fft, optimize

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.calibrate.aberrations import LOW
from ptylive.engine.calibrate.alignment.parallax import (
    CELLS_ACROSS,
    LEAST_CELLS,
    LEAST_ROWS,
    bin_positions,
    cells,
    images_of_bins,
    peak_of,
)
from ptylive.engine.calibrate.rotation import apart_deg
from ptylive.engine.geometry import parabola_vertex
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.probe import Probe
from ptylive.schema import MetadataError
from ptylive.schema.errors import brief, did_you_mean
from ptylive.schema.model import BoolArray, ComplexArray, DoubleArray
from ptylive.schema.optics import ABERRATION_NAMES, KRIVANEK_ORDERS
from ptylive.schema.scan import rotation_matrix

LEAST_BIN_PX, MOST_ROUNDS = 0.5, 100
"""Limits of the options, wide enough for every use and narrow enough to refuse slips."""
MOST_CELLS_ACROSS = 64  # along the disc's diameter: 3000 images, whose spectra must fit into memory
WINDOW = 1.5
"""Width of the window in which a correlation's peak is looked for on crystals, in 1/k_alpha."""
LEAST_AGREEMENT = 1e-3  # least weight of an image: the equations stay solvable even if no images agree
FLAT = 1e-5
"""Contrast of images below which only the rounding of single precision is seen."""
INNER = 0.75
"""Share of the semi-angle beyond which images of bins are not fitted. Their shift deviates from the gradient: of two
sidebands that meet at k one lies beyond the aperture, so nothing cancels the curvature of the other's phase (sum over Q
of -+ Q H Q / 2). On gold without C30 this produced a C30 of half the semi-angle's limit.
"""
NEARER = 0.6
"""The same limit in a second fit, which shows what depends on it."""
FINE, REACH = 8, 3.0
"""Points per width of the window, or per scan step, at which a correlation is evaluated; and its extent, in widths."""


class Reference(StrEnum):
    """Reference with which each image is correlated."""

    MEAN = "mean"
    """The mean of all other images, moved back in place."""
    CENTRE = "centre"
    """The image of the bin on the axis, which is not shifted."""


def reference_of(word: str) -> Reference:
    """Return the reference of that name. Raises MetadataError for any other."""
    names = [str(reference) for reference in Reference]
    if word not in names:
        raise MetadataError(
            f"unknown reference {brief(word)}", did_you_mean(str(word), names, f"give {' or '.join(names)}")
        )
    return Reference(word)


@dataclass(frozen=True)
class AlignmentOptions:
    """Options for aligning images.

    bin_px: detector pixels along the side of the smallest bins, None for eleven bins along the disc's diameter;
    order: highest order n of the aberrations C_nm fitted: 1 defocus and astigmatism, 2 also coma and three-fold
    astigmatism, 3 all twelve; rounds: number of alignments of the smallest bins; near: look for peaks near the shifts
    of the calibration, as required by crystals with their many peaks; otherwise anywhere, from coarse bins on.
    """

    bin_px: float | None = None
    order: int = 1
    reference: Reference = Reference.MEAN
    rounds: int = 3
    near: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values; MetadataError names the option."""
        size = self.bin_px
        if size is not None and not (isinstance(size, int | float) and LEAST_BIN_PX <= size < math.inf):
            raise MetadataError(
                f"bin_px={brief(size)} is not a valid bin size", f"give detector pixels, {LEAST_BIN_PX} or more"
            )
        if self.order not in (1, 2, 3):
            raise MetadataError(f"order={brief(self.order)} is not possible", "give 1, 2 or 3")
        if not isinstance(self.rounds, int) or not 1 <= self.rounds <= MOST_ROUNDS:
            raise MetadataError(f"rounds={brief(self.rounds)} is not possible", f"give 1 to {MOST_ROUNDS}")

    @property
    def names(self) -> tuple[str, ...]:
        """Aberrations that are fitted."""
        return tuple(name for name in ABERRATION_NAMES if KRIVANEK_ORDERS[name[:3]][0] <= self.order)


@dataclass(frozen=True, eq=False)
class ImageShifts:
    """Shifts of the images of c bins, and the optics that explain them best.

    k: (c, 2) centres of bins, detector frame, 1/Å; shift_A, fitted_A: (c, 2) measured and explained, frame of the
    scan; agreement: (c,) correlation of each image with its reference; used: (c,) whether its shift was fitted (INNER).
    Aberrations with their standard errors in Å: from the disagreement between shifts, and between those of coarse and
    fine details, which are equal if whole images are shifted. rotation_deg as given, or fitted with them.
    """

    k: DoubleArray
    shift_A: DoubleArray
    fitted_A: DoubleArray
    agreement: DoubleArray
    used: BoolArray
    aberrations: Mapping[str, float]
    errors_A: Mapping[str, float]
    rotation_deg: float
    rotation_error_deg: float
    semiangle_invA: float
    spectra: ComplexArray
    """Transforms (c, rows, cols) of the bins' images over the visited field."""
    step_A: tuple[float, float]

    def aligned(self, upsample: int = 1) -> ComplexArray:
        """Return the transform of the mean image, each bin moved back as explained, ``upsample`` times finer.

        Points between those of the scan come from images of other bins: (upsample rows, upsample cols).
        """
        rows, cols = (upsample * n for n in self.spectra.shape[1:])
        q = np.stack(np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(cols), indexing="ij"))
        total = np.zeros((rows, cols), dtype=complex)
        for shift_A, spectrum in zip(self.fitted_A, self.spectra, strict=True):
            points = upsample * shift_A / np.asarray(self.step_A)
            total += np.tile(spectrum, (upsample, upsample)) * np.exp(-2j * np.pi * np.tensordot(points, q, 1))
        return np.asarray(total / len(self.spectra))

    @property
    def rms_A(self) -> float:
        """Root-mean-square residual of the fitted shifts, weighted by agreement."""
        deviation = ((self.shift_A - self.fitted_A) ** 2).sum(axis=1)[self.used]
        return float(np.sqrt(np.average(deviation, weights=np.maximum(self.agreement, LEAST_AGREEMENT)[self.used])))


def measure_shifts(
    store: Store, conditions: ImagingConditions, wanted: AlignmentOptions, rotation_deg: float | None = None
) -> ImageShifts:
    """Align the images of a scan of frames; ``rotation_deg``: forced; None: fitted within half a turn of the known one.

    Raises MetadataError for coefficients, for scans or discs too small, and for images without contrast.
    """
    basis = store.reduction.basis
    rows = np.flatnonzero(store.visited.any(axis=1))
    if not isinstance(basis, BinnedPixels) or not store.header.basis.is_raw:
        raise MetadataError("aligning images needs frames, not coefficients", "give the uncompressed scan")
    if len(rows) < LEAST_ROWS:
        raise MetadataError(f"{len(rows)} rows of the scan are too few", f"scan {LEAST_ROWS} or more")
    work = _Work(store, conditions, wanted, rotation_deg, slice(rows[0], rows[-1] + 1))
    found: ImageShifts | None = None
    rounds = work.cells_across()
    for across in rounds:
        found = work.round(across, LOW if across < rounds[-1] else wanted.names, found)
    assert found is not None  # noqa: S101  (there is at least one round)
    return work.with_contradiction(found)


class _Work:
    """Images of a scan, aligned repeatedly."""

    def __init__(
        self,
        store: Store,
        conditions: ImagingConditions,
        wanted: AlignmentOptions,
        rotation_deg: float | None,
        rows: slice,
    ) -> None:
        basis = store.reduction.basis
        assert isinstance(basis, BinnedPixels)  # noqa: S101  (checked by the only caller)
        self._weights = basis.pixels_per_bin
        self._conditions, self._wanted, self._forced = conditions, wanted, rotation_deg
        self._images = images_of_bins(store, rows)
        if np.abs(self._images).max() < FLAT:
            raise MetadataError("the images of the bright field are flat", "align a scan of a specimen")
        self._position = bin_positions(basis, conditions)
        self._known = {name: 0.0 for name in wanted.names}
        if wanted.near:
            self._known |= {name: value for name, value in self._calibrated().items() if name in self._known}

    def _calibrated(self) -> dict[str, float]:
        """Return the aberrations of the probe in use, Å, from its gradient at some places, which is linear in them."""
        radius = self._conditions.probe.semiangle_invA
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        k = np.concatenate([r * np.stack([np.cos(angle), np.sin(angle)], axis=-1) for r in (0.4 * radius, radius)])
        names = ABERRATION_NAMES
        matrix = self._gradients(k, names).reshape(-1, len(names))
        target = (self._conditions.probe.gradient(k[:, 0], k[:, 1]).T / (2 * np.pi)).ravel()
        scale = np.abs(matrix).max(axis=0)
        values, *_ = np.linalg.lstsq(matrix / scale, target, rcond=None)
        return dict(zip(names, (values / scale).tolist(), strict=True))

    def cells_across(self) -> list[int]:
        """Return the bins along the disc's diameter in each round, coarse ones first, as their images are strong."""
        diameter_px = 2 * self._conditions.probe.semiangle_invA / self._conditions.grid.pixel
        finest = CELLS_ACROSS[-1]
        if self._wanted.bin_px is not None:
            finest = min(MOST_CELLS_ACROSS, max(3, round(diameter_px / self._wanted.bin_px)))
        coarse = [] if self._wanted.near else [n for n in CELLS_ACROSS if n < finest]
        return coarse + [finest] * self._wanted.rounds

    def round(self, across: int, names: tuple[str, ...], previous: ImageShifts | None) -> ImageShifts:
        """Measure shifts relative to those explained so far, and explain them anew by these aberrations."""
        conditions = self._conditions
        radius, step = conditions.probe.semiangle_invA, conditions.step_A
        k, spectra = cells(self._images, self._position, self._weights, radius, across)
        if len(k) < max(LEAST_CELLS, len(names)):
            raise MetadataError(f"{len(k)} bins are too few for this order", "use a smaller bin_px, or order=1")
        rotation = conditions.rotation_deg if self._forced is None else self._forced
        known = self._known
        if previous is not None:
            known, rotation = dict(previous.aberrations), previous.rotation_deg
        expected = self._explained(k, known, rotation)
        measured, agreement = self._measured(k, spectra, expected)
        fitted = self._fit(k, measured, agreement, {name: known.get(name, 0.0) for name in names}, rotation)
        return replace(fitted, spectra=spectra, step_A=(float(step[0]), float(step[1])))

    def with_contradiction(self, found: ImageShifts) -> ImageShifts:
        """Add to the errors the disagreement between parts of the data that should give the same result.

        These are coarse and fine details of the images, of equal power, and bins nearer the axis; model errors affect
        both. A single difference may be small by chance, so no error is below their mean at the rim.
        """
        rows, cols = found.spectra.shape[1:]
        axes = [np.fft.fftfreq(n, size) for n, size in zip((rows, cols), found.step_A, strict=True)]
        radius = np.hypot(axes[0][:, None], axes[1][None])
        order, power = np.argsort(radius, axis=None), (np.abs(found.spectra) ** 2).sum(axis=0).ravel()
        course = np.cumsum(power[order])
        middle = radius.ravel()[order][int(np.searchsorted(course, 0.5 * course[-1]))]
        expected = self._explained(found.k, found.aberrations, found.rotation_deg)
        fits = []
        for part in (radius <= middle, radius > middle):
            measured, agreement = self._measured(found.k, found.spectra * part, expected)
            fits.append(self._fit(found.k, measured, agreement, found.aberrations, found.rotation_deg))
        fits.append(self._fit(found.k, found.shift_A, found.agreement, found.aberrations, found.rotation_deg, NEARER))
        names = tuple(found.aberrations)
        per_A = np.abs(self._gradients(found.k, names)).max(axis=(0, 1))
        coarse, fine, nearer, final = (np.array(list(fit.aberrations.values())) * per_A for fit in (*fits, found))
        contradiction_A = np.maximum(0.5 * np.abs(coarse - fine), np.abs(nearer - final))
        contradiction_A = np.maximum(contradiction_A, np.sqrt(((coarse - fine) ** 2).mean()))
        pairs = ((fits[0], fits[1]), (fits[2], found))
        turned = max(apart_deg(one.rotation_deg, other.rotation_deg) for one, other in pairs)
        return replace(
            found,
            errors_A={
                name: math.hypot(found.errors_A[name], shift / scale_per_A)
                for name, shift, scale_per_A in zip(names, contradiction_A.tolist(), per_A.tolist(), strict=True)
            },
            rotation_error_deg=math.hypot(found.rotation_error_deg, turned) if self._forced is None else 0.0,
        )

    def _measured(
        self, k: DoubleArray, spectra: ComplexArray, expected_A: DoubleArray
    ) -> tuple[DoubleArray, DoubleArray]:
        """Return shifts (c, 2), Å, and correlations (c,)."""
        rows, cols = spectra.shape[1:]
        step = np.asarray(self._conditions.step_A)
        q = np.stack(np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(cols), indexing="ij"))
        aligned = spectra * np.exp(-2j * np.pi * np.tensordot(expected_A / step, q, 1))
        total = aligned.sum(axis=0)
        central = aligned[int(np.argmin(np.hypot(*k.T)))]
        measured, agreement = np.empty_like(expected_A), np.empty(len(k))
        for n, spectrum in enumerate(aligned):
            compared = central if self._wanted.reference is Reference.CENTRE else total - spectrum
            power = np.sqrt((np.abs(spectrum) ** 2).sum() * (np.abs(compared) ** 2).sum())
            cross = spectrum * compared.conj() / max(float(power), 1e-30)
            if self._wanted.near:
                peak_A, agreement[n] = near_peak(cross, step, WINDOW / self._conditions.probe.semiangle_invA)
            else:
                peak, agreement[n] = peak_of(fft.ifft2(cross).real * (rows * cols))
                peak_A = peak * step
            measured[n] = expected_A[n] - peak_A
        return measured, agreement

    def _gradients(self, k: DoubleArray, names: tuple[str, ...]) -> DoubleArray:
        """Return the shifts (c, 2, names), detector frame, due to one Å of each aberration."""
        probe = self._conditions.probe
        probes = [
            Probe.of(probe.wavelength_A, 1e3 * probe.semiangle_invA * probe.wavelength_A, probe.edge_invA, {name: 1.0})
            for name in names
        ]
        return np.stack([single.gradient(k[:, 0], k[:, 1]).T for single in probes], axis=-1) / (2 * np.pi)

    def _explained(self, k: DoubleArray, aberrations: Mapping[str, float], rotation_deg: float) -> DoubleArray:
        """Return the shifts (c, 2), Å, frame of the scan."""
        names = tuple(aberrations)
        shift_A = self._gradients(k, names) @ np.array([aberrations[name] for name in names])
        return np.asarray(shift_A @ rotation_matrix(-rotation_deg).T)

    def _fit(
        self,
        k: DoubleArray,
        measured: DoubleArray,
        agreement: DoubleArray,
        known: Mapping[str, float],
        rotation_deg: float,
        inner: float = INNER,
    ) -> ImageShifts:
        """Fit all aberrations, and the rotation unless forced, by least squares; ``inner``: of the semi-angle."""
        names = tuple(known)
        gradients = self._gradients(k, names)
        unit = 1 / np.maximum(np.abs(gradients).max(axis=(0, 1)), 1e-30)
        used = np.hypot(*k.T) < inner * self._conditions.probe.semiangle_invA
        if np.count_nonzero(used) < max(LEAST_CELLS, 2 * len(names)):
            used = np.ones(len(k), dtype=bool)  # too few bins to leave any out
        weight = np.where(used, np.sqrt(np.maximum(agreement, LEAST_AGREEMENT)), 0.0)[:, None]
        free = self._forced is None

        def shifts(x: DoubleArray) -> DoubleArray:
            turn = rotation_matrix(-(float(x[-1]) if free else rotation_deg))
            return np.asarray((gradients @ (x[: len(names)] * unit)) @ turn.T)

        def residual(x: DoubleArray) -> DoubleArray:
            return np.asarray(((shifts(x) - measured) * weight).ravel())

        start = np.array(list(known.values())) / unit
        starts = [np.append(start, rotation_deg)] if free else [start]
        if free and not any(known.values()):
            starts = [np.append(start, rotation_deg + turn) for turn in (0.0, 60.0, -60.0)]
        scale = np.ones(len(starts[0]))
        scale[len(names) :] = 30.0
        best: Any = min(
            (optimize.least_squares(residual, candidate, x_scale=scale, method="lm") for candidate in starts),
            key=lambda candidate: float(candidate.cost),
        )
        variance = 2 * best.cost / max(2 * np.count_nonzero(used) - len(best.x), 1)
        errors = np.sqrt(np.maximum(np.diag(np.linalg.pinv(best.jac.T @ best.jac)) * variance, 0))
        values = best.x[: len(names)] * unit
        return ImageShifts(
            k,
            measured,
            shifts(best.x),
            agreement,
            used,
            dict(zip(names, values.tolist(), strict=True)),
            dict(zip(names, (errors[: len(names)] * unit).tolist(), strict=True)),
            180.0 - (180.0 - float(best.x[-1])) % 360.0 if free else rotation_deg,
            float(errors[-1]) if free else 0.0,
            self._conditions.probe.semiangle_invA,
            np.zeros((0, 0, 0), dtype=complex),
            (0.0, 0.0),
        )


def near_peak(cross: ComplexArray, step: DoubleArray, width_A: float) -> tuple[DoubleArray, float]:
    """Find the maximum of a correlation, given by its transform (rows, cols), near zero shift: place in Å, and height.

    A window of ``width_A`` (standard deviation) selects among the many peaks of a crystal. The place is that of the
    unwindowed maximum, between the points of the scan, which may be wider than the window.
    """
    fine = max(min(float(min(step)), width_A), width_A / FINE) / FINE  # a finer scan does not make correlations finer
    half = math.ceil(REACH * width_A / fine)
    offset = np.arange(-half, half + 1) * fine
    rows, cols = (
        np.exp(2j * np.pi * np.outer(offset / size, fft.fftfreq(n))) for size, n in zip(step, cross.shape, strict=True)
    )
    along_rows = rows @ cross
    field = along_rows.real @ cols.real.T - along_rows.imag @ cols.imag.T  # the imaginary part is not needed
    window = np.exp(-0.5 * (offset / width_A) ** 2)
    row, col = divmod(int(np.argmax(field * np.outer(window, window))), field.shape[1])
    for _ in range(4 * half):  # climb to the unwindowed maximum
        low = max(row - 1, 0), max(col - 1, 0)
        neighbours = field[low[0] : row + 2, low[1] : col + 2]
        up = divmod(int(np.argmax(neighbours)), neighbours.shape[1])
        if (low[0] + up[0], low[1] + up[1]) == (row, col):
            break
        row, col = low[0] + up[0], low[1] + up[1]
    place = [offset[i] + fine * _vertex(line, i) for line, i in ((field[:, col], int(row)), (field[row], int(col)))]
    return np.array(place), float(field[row, col])


def _vertex(line: DoubleArray, i: int) -> float:
    """Return the offset in points of the vertex of the parabola through a maximum and its neighbours."""
    if not 0 < i < len(line) - 1:
        return 0.0
    return parabola_vertex(*line[i - 1 : i + 2])
