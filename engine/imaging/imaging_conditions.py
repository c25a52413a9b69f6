"""Everything that filters depend on at one moment. New conditions require new filters; coefficients stay valid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import cached_property
from types import MappingProxyType

import numpy as np
from scipy import fft

from ptylive.engine.bases import DetectorBasis, Samples
from ptylive.engine.geometry import DetectorGrid, single_columns
from ptylive.engine.imaging.band import Band, ScanGrid
from ptylive.engine.imaging.placement import Placement
from ptylive.engine.memory import check_fits
from ptylive.engine.probe import Probe
from ptylive.schema import Calibration, MetadataError, Origin
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray

UPSAMPLE_FROM = 1.5
"""Shift of the bright-field rim, in scan steps, from which twice finer sampling is worthwhile."""
UPSAMPLE_POINTS = 2**17
"""Larger scans are not upsampled, because their filters would not fit in memory."""
MASKS_FOR_FINER = 153
"""Fewer coefficients carry nothing finer than the scan, unless every pixel is a coefficient."""
PROBE_TAILS = 4.0
"""Extent of the probe's tails that matter, in 1/k_alpha: a kernel cut off there gives the same maps."""
DISC_TOLERANCE = 0.15
"""Relative deviation of the measured disc radius from the given semi-angle beyond which it is not used."""


class Part(Enum):
    """Part of the transfer to evaluate; the value is its name in the compiled loop."""

    WHOLE = "FULL"
    SIDEBANDS = "SIDEBANDS"
    """Where one of the two scattered discs overlaps the direct one, and the other does not."""
    ONE_SIDEBAND = "ONE_SIDEBAND"
    """Where only the disc scattered by +Q overlaps the direct one."""
    AMPLITUDE = "AMPLITUDE_SIDEBANDS"
    """Sidebands of a weak amplitude object: Gamma = P*(k) P(k-Q) + P(k) P*(k+Q)."""


@dataclass(frozen=True, eq=False)
class ImagesAligned:
    """Optics determined from the shifts of bright-field images; ``fitted_values``: their values, Å and degrees."""

    probe: Probe
    rotation_deg: float
    fitted_values: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class ImagingConditions:
    """Optics and geometry of a scan as seen by the filters: probe, detector samples, scan frequencies."""

    probe: Probe
    grid: DetectorGrid
    basis: DetectorBasis
    scan_shape: tuple[int, int]
    step_A: tuple[float, float]
    rotation_deg: float
    placement: Placement | None = None
    """Positions of the points, if not on a regular grid; the maps' grid is then that of the placement."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """Map settings given by a user, by full names (``wdd.epsilon``); all others have the defaults of their methods."""
    depth_A: float = 0.0
    """Depth of the plane in focus below the entrance, already included in the probe's defocus."""
    align: Callable[[ImagingConditions], ImagesAligned] | None = None
    """Aligns the images of this scan, for a method that is to use their shifts."""
    fitted_values: Mapping[str, float] = field(default_factory=dict)
    """Values determined from these shifts, if they were used."""
    samples: Samples = field(init=False)

    def __post_init__(self) -> None:
        """Choose the detector samples at which filters are evaluated."""
        object.__setattr__(self, "samples", self.basis.samples(self.grid))

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        basis: DetectorBasis,
        detector_shape: tuple[int, int],
        scan_shape: tuple[int, int],
        step_A: tuple[float, float],
        settings: Mapping[str, float] = MappingProxyType({}),
    ) -> ImagingConditions:
        """Return imaging conditions from calibrated values. Raises MetadataError naming what is missing."""
        calibration.require("energy_eV", "phase imaging")
        wavelength = calibration.wavelength_A or math.nan
        pixel = float(calibration.require("detector_pixel_invA", "phase imaging"))
        center = calibration.require("beam_center_px", "phase imaging")
        depth = float(calibration.get("depth_A") or 0.0)
        aberrations = calibration.aberrations
        aberrations["C10"] = aberrations.get("C10", 0.0) + depth
        conditions = cls(
            probe=Probe.of(wavelength, aperture_mrad(calibration), pixel, aberrations),
            grid=DetectorGrid.of(detector_shape, center, calibration.transform, pixel),
            basis=basis,
            scan_shape=scan_shape,
            step_A=step_A,
            rotation_deg=calibration.rotation_deg,
            settings=settings,
            depth_A=depth,
        )
        conditions.probe.check_sampled("phase imaging")
        if not conditions.disc_pixels > 0:
            raise MetadataError("phase imaging needs a disc on the detector", "correct beam_center_px")
        return conditions

    @cached_property
    def disc_shift_A(self) -> float:
        """Radius of the geometric probe disc: how far the image seen by the disc's rim is shifted."""
        return self.probe.rim_shift_A

    @cached_property
    def shift_in_steps(self) -> float:
        """That radius in scan steps; it governs basis size, padding and upsampling."""
        return self.disc_shift_A / min(self.step_A)

    @property
    def upsample(self) -> int:
        """Factor by which maps are sampled finer than the scan: shifted images between the points resolve more."""
        rows, cols = self.scan_shape
        if self.shift_in_steps <= UPSAMPLE_FROM or rows * cols > UPSAMPLE_POINTS or self.placement is not None:
            return 1
        fine = self.basis.count >= min(MASKS_FOR_FINER, 0.9 * len(self.samples.k))
        return 2 if fine else 1

    def finer(self, method: str) -> float:
        """Return the upsampling factor of a method: the one set by a user, or otherwise :attr:`upsample`.

        Raises MetadataError for a factor whose filters (weights and transfer together) do not fit in memory, or that
        is set for points off a regular grid.
        """
        factor = self.settings.get(f"{method}.upsample", 0)
        if not factor:
            return self.upsample
        setting = f"{method}.upsample={factor:g}"
        if self.placement is not None:
            raise MetadataError(f"{setting} needs points on a regular grid", f"leave {method}.upsample out")
        rows, cols = self.padded
        field_A2 = rows * self.step_A[0] * cols * self.step_A[1]
        half_disc = 0.5 * math.pi * self.limit_invA**2 * field_A2
        frequencies = min(half_disc, 0.5 * rows * cols * factor**2)
        check_fits(2 * 8 * frequencies * self.basis.count, f"filters for {setting}", "use a smaller factor")
        return factor

    @property
    def limit_invA(self) -> float:
        """Frequency beyond which the bright field carries no phase."""
        return 2.0 * self.probe.semiangle_invA + self.probe.edge_invA

    @cached_property
    def padded(self) -> tuple[int, int]:
        """Even FFT size that keeps the filters' wrap-around out of the picture: room for the shifts on one side."""
        return padded_shape(self.scan_shape, self.shift_in_steps)

    def scan_grid(self, upsample: float = 1) -> ScanGrid:
        """Return the padded and ``upsample`` times finer scan."""
        return ScanGrid(self.padded, self.step_A, self.rotation_deg, upsample)

    def band(self, upsample: float = 1, *, half: bool = True, whole_for: str = "") -> Band:
        """Return the frequencies that the bright field can carry, in the half plane of real maps or the whole plane.

        ``whole_for``: a setting that needs all frequencies of the grid. Raises MetadataError if their filters would not
        fit in memory.
        """
        limit = math.inf if whole_for else self.limit_invA
        if whole_for:
            frequencies = 0.5 * math.prod(self.padded) * upsample**2
            check_fits(2 * 8 * frequencies * self.basis.count, f"filters for {whole_for}", "use a smaller upsample")
        reach = min(self.disc_shift_A + PROBE_TAILS / self.probe.semiangle_invA, 0.5 / self.grid.pixel)
        return Band(self.scan_grid(upsample), limit, reach, half)

    def frequencies(self, upsample: float = 1, *, half: bool = False) -> DoubleArray:
        """Return Q (nq, 2) in the detector frame, 1/Å, of the padded and ``upsample`` times finer scan.

        ``half``: only the half plane that suffices for real maps.
        """
        return self.scan_grid(upsample).frequencies(half=half)

    @cached_property
    def disc_pixels(self) -> float:
        """Sum of |A|^2 over the detector: the number of pixels over which a pattern of unit sum is spread."""
        return float((self.probe.aperture(self.grid.k_row, self.grid.k_col) ** 2).sum())

    def transfer(self, q: DoubleArray, part: Part = Part.WHOLE, is_used: BoolArray | None = None) -> ComplexArray:
        """Return the weak-phase transfer B of each coefficient, (N, nq): c_hat = phi_hat B, patterns of unit mean sum.

        B_n = sum_k M_n(k) Gamma(k, Q), Gamma = i [P*(k) P(k-Q) - P(k) P*(k+Q)]; k runs over the samples (s,) that are
        ``is_used``, by default all. Rodenburg, McCallum & Nellist 1993; docs/theory/live-maps.md.
        """
        from ptylive.engine.backend.imaging import filters_numba as kernels

        kind = getattr(kernels, part.value)
        k, aperture = self.samples.k.astype(np.float32), self._aperture

        def gamma(weights: Array, offsets: Array, q_row: Array, q_col: Array, out: Array) -> None:
            weights = weights if is_used is None else weights * is_used
            kernels.overlaps(k, weights, offsets, q_row, q_col, *aperture, kind, out)

        out = self.samples.sums(gamma, q)
        out *= np.float32(1) / np.float32(self.disc_pixels)
        return out if part is not Part.AMPLITUDE else -1j * out

    def in_square(self, side: float) -> BoolArray:
        """Return the samples (s,) in a square around the beam, along detector axes; ``side`` in disc diameters."""
        return np.asarray(np.abs(self.samples.k).max(axis=1) <= side * self.probe.semiangle_invA)

    def placed(self, placement: Placement) -> ImagingConditions:
        """Return the same optics and detector for points that are not on a regular grid."""
        return replace(
            self,
            placement=placement,
            scan_shape=placement.shape,
            step_A=placement.step_A,
            rotation_deg=placement.rotation_deg,
        )

    def with_probe(self, probe: Probe) -> ImagingConditions:
        """Return the same detector and scan with another probe; the detector samples are shared."""
        changed = object.__new__(ImagingConditions)
        for attribute in fields(self):
            object.__setattr__(changed, attribute.name, getattr(self, attribute.name))
        object.__setattr__(changed, "probe", probe)
        if (probe.semiangle_invA, probe.edge_invA) == (self.probe.semiangle_invA, self.probe.edge_invA):
            object.__setattr__(changed, "disc_pixels", self.disc_pixels)  # depends on the aperture only
        return changed

    def focused_for(self, method: str) -> ImagingConditions:
        """Return the conditions with the optics specific to a method, or the conditions themselves.

        Specific optics are those of the image shifts (``METHOD.align_order`` …), or a focus depth (``METHOD.depth_A``).
        """
        if self.is_aligned(method):
            return self._aligned_for(method)
        depth = self.settings.get(f"{method}.depth_A", self.depth_A)
        if depth == self.depth_A:
            return self
        focused = self.with_probe(self.probe.refocused(depth - self.depth_A))
        object.__setattr__(focused, "depth_A", depth)
        return focused

    def is_aligned(self, method: str) -> bool:
        """Return whether a method uses the shifts of images, that is, whether any of its align settings is given."""
        return any(name.startswith(f"{method}.align_") for name in self.settings)

    def _aligned_for(self, method: str) -> ImagingConditions:
        """Return the conditions with the optics determined from the shifts of images.

        Raises MetadataError if images cannot be aligned, and if a depth is also set: the shifts determine the focus.
        """
        if f"{method}.depth_A" in self.settings:
            raise MetadataError(f"{method}.depth_A and aligned images exclude each other", "leave one of them out")
        if self.align is None:
            raise MetadataError("there are no images to align", f"leave {method}.align_… out")
        alignment = self.align(self)
        aligned = self.with_probe(alignment.probe)
        object.__setattr__(aligned, "rotation_deg", alignment.rotation_deg)
        object.__setattr__(aligned, "fitted_values", alignment.fitted_values)
        return aligned

    def aligned_shifts(self, q: DoubleArray) -> ComplexArray:
        """Return exp(-i Q . grad chi(k)) on the basis, (N, nq): weights that move every pixel's image back in place."""
        return self.basis.dual(self.shift_sums(q))

    def aligned_shifts_with_norm(self, q: DoubleArray) -> tuple[ComplexArray, DoubleArray]:
        """Return these weights, and the squared norm (nq,) of what they represent on the detector."""
        sums = self.shift_sums(q)
        weights = self.basis.dual(sums)
        return weights, np.einsum("nq,nq->q", weights.conj(), sums).real

    def shift_sums(self, q: DoubleArray) -> ComplexArray:
        """Return sum_k M_n(k) exp(-i Q . grad chi(k)), (N, nq)."""
        from ptylive.engine.backend.imaging.filters_numba import shift_ramps

        shift_row, shift_col = self.probe.gradient(self.samples.k[:, 0], self.samples.k[:, 1]).astype(np.float32)

        def ramps(weights: Array, offsets: Array, q_row: Array, q_col: Array, out: Array) -> None:
            shift_ramps(weights, offsets, q_row, q_col, shift_row, shift_col, out)

        return self.samples.sums(ramps, q)

    def overlap_products(self, k: DoubleArray, q: DoubleArray) -> ComplexArray:
        """Return P*(k) P(k - Q) at arbitrary detector points, (len(k), nq), for patterns of unit mean sum."""
        from ptylive.engine.backend.imaging import filters_numba as kernels

        offsets = np.arange(len(k) + 1, dtype=np.int64)
        out = np.empty((len(k), len(q)), dtype=np.complex64)
        samples, weights = np.ascontiguousarray(k, dtype=np.float32), np.ones(len(k), dtype=np.float32)
        kernels.overlaps(samples, weights, offsets, *single_columns(q), *self._aperture, kernels.PRODUCT, out)
        out *= np.float32(1) / np.float32(self.disc_pixels)
        return out

    @property
    def _aperture(self) -> tuple[np.float32, np.float32, Array]:
        """Radius, width of the edge, and phase of the aperture, which is reduced to what the loops can compute."""
        from ptylive.engine.backend.imaging.filters_numba import LARGEST_RAD

        radius, edge, chi = self.probe.semiangle_invA, self.probe.edge_invA, self.probe.chi_polynomial
        powers = (radius + edge) ** np.add.outer(np.arange(len(chi)), np.arange(len(chi)))
        largest_rad = float((np.abs(chi) * powers).sum())
        chi = chi * min(1.0, LARGEST_RAD / max(largest_rad, 1.0))
        return np.float32(radius), np.float32(edge), chi.astype(np.float32)


def aperture_mrad(calibration: Calibration) -> float:
    """Return the semi-angle measured on the detector if it is near the given one, and otherwise the given one.

    A nominal semi-angle is a label; the disc is what was used.
    """
    given = float(calibration.require("convergence_semiangle_mrad", "phase imaging"))
    measured = disc_mrad(calibration)
    return measured if measured is not None and abs(measured / given - 1) < DISC_TOLERANCE else given


def disc_mrad(calibration: Calibration) -> float | None:
    """Return the radius of the disc as measured on the detector, mrad, or None if unknown or merely assumed."""
    radius, pixel = calibration.get("disc_radius_px"), calibration.get("detector_pixel_invA")
    wavelength, assumed = calibration.wavelength_A, calibration.origin("disc_radius_px") is Origin.DEFAULT
    if assumed or radius is None or pixel is None or wavelength is None:
        return None
    return float(radius) * float(pixel) * wavelength * 1e3


def padded_shape(scan_shape: tuple[int, int], shift_in_steps: float) -> tuple[int, int]:
    """Return an even, fast FFT size (rows, cols) for a scan, with room for images shifted by that number of steps."""
    room = 2 * shift_in_steps + 12
    rows, cols = (_even_fast_length(n + max(0.25 * n, min(room, n))) for n in scan_shape)
    return rows, cols


def _even_fast_length(n: float) -> int:
    size = math.ceil(n)
    while (length := fft.next_fast_len(size)) % 2:
        size = length + 1
    return int(length)
