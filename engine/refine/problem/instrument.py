"""Effects of detector, source and scan beyond the plain model, as settings specify them for one measurement."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.description import AFTER_MODES, BEFORE_MODES, INSIDE_MODES, PointSpread
from ptylive.engine.probe import ComplexPlane
from ptylive.engine.refine.data.blur_modes import blur_modes, fast_step_A
from ptylive.engine.refine.data.model_window import chi_per_A
from ptylive.engine.refine.data.pattern_statistics import mean_pattern
from ptylive.engine.refine.parameters.mixture import Mixture
from ptylive.engine.refine.parameters.slow_field import SlowField, polynomials
from ptylive.engine.refine.parameters.varying_probe import STARTS, start_components
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.schema.errors import MetadataError
from ptylive.schema.files.npy import read_npy
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset.probe import Marker
from ptylive.schema.preset.propagation import THICKNESS, TILTS, InstrumentSettings

FIRST_PSF_PX = 0.5
"""Start width of a refined point spread if none is given."""
LOOKED_PATTERNS = 64
"""Number of patterns, evenly spread over the scan, whose structure is measured."""


@dataclass(frozen=True)
class Instrument:
    """Instrument settings, with the measurement they apply to."""

    settings: InstrumentSettings
    measured: Measurement
    psf_refined: bool
    """Whether the width of the point spread is refined."""

    def point_spread(self) -> PointSpread | None:
        """Point spread of the detector; None if it has none. Raises MetadataError for an unusable image."""
        settings = self.settings
        if settings.detector_psf is None and not settings.detector_psf_px and not self.psf_refined:
            return None
        size = self.measured.window.size
        image = None if settings.detector_psf is None else _image("detector_psf", settings.detector_psf, size)
        return PointSpread(self.first_psf_px**2, image)

    @property
    def first_psf_px(self) -> float:
        """Start value of the standard deviation of the Gaussian."""
        given = self.settings.detector_psf_px
        return FIRST_PSF_PX if self.psf_refined and not given else given

    def mixture(self, modes: ComplexPlane) -> Mixture | None:
        """Blur of a probe with start ``modes`` (modes, P, P); None without blur. Raises MetadataError."""
        settings = self.settings
        if not settings.source_blur_A and not settings.fly_scan_share:
            return None
        if self.measured.near_field:
            name = "source_blur_A" if settings.source_blur_A else "fly_scan_share"
            raise MetadataError(f"{name} has no meaning in the near field", "leave it out; see alpha_near_field_mrad")
        path = np.zeros(2)
        if settings.fly_scan_share:
            path = settings.fly_scan_share * fast_step_A(self.measured.dataset, "fly_scan_share")
        power = (np.abs(modes) ** 2).sum(axis=0)
        model = self.measured.model
        return Mixture(blur_modes(model.k_row, model.k_col, power, settings.source_blur_A, path))

    def components(self, modes: ComplexPlane, parts: Marker | None) -> ComplexPlane | None:
        """(n, P, P) start components by which the first of the ``modes`` varies, Fourier space; None if it is fixed.

        parts: parts of the scan with a separate probe. Raises MetadataError.
        """
        number = self.settings.opr_components
        if not number:
            return None
        if self.measured.near_field:
            raise MetadataError("opr_components has no meaning in the near field", "leave it out")
        if parts is not None:
            raise MetadataError("opr_components and probe_marker both say how the probe varies", "give one of them")
        model, wavelength_A = self.measured.model, self.measured.wavelength_A
        return start_components(modes[0], chi_per_A(STARTS[:number], model, wavelength_A))

    def slow_field(
        self, tilts_mrad: FloatArray, tilt_mode: int, *, parts: bool, tilts_refined: bool
    ) -> SlowField | None:
        """Quantities that vary over the field as polynomials; None if there are none.

        tilts_mrad: (1 or N, 6) mean tilts; parts: aberrations are given for parts of the scan, or refined;
        tilts_refined: tilts are refined as well. Raises MetadataError for incompatible settings.
        """
        order, terms = self.settings.field_order, self.settings.field_terms
        if not order:
            return None
        names = self.field_aberrations
        if names and self.measured.near_field:
            raise MetadataError(f"field_terms: {names[0]} has no meaning in the near field", "leave it out")
        if names and parts:
            raise MetadataError(
                "field_order and aberration_marker or update_aberrations both define the aberrations",
                "give one of them",
            )
        columns = (*((0, 1) if tilt_mode in BEFORE_MODES else ()), *((4, 5) if tilt_mode in AFTER_MODES else ()))
        if TILTS in terms and tilts_refined:
            raise MetadataError(
                "field_terms: tilts and update_tilts exclude each other",
                "give one of them: the probe contains the mean",
            )
        if TILTS in terms and (not columns or tilt_mode in INSIDE_MODES):
            raise MetadataError(
                f"field_terms: tilts with tilt_mode = {tilt_mode}: tilts inside the specimen change no pattern",
                "set tilt_mode to 1 (behind) or 2 (before the specimen)",
            )
        count = len(self.measured.dataset.positions_A)
        field = SlowField(
            polynomials(self.measured.dataset.positions_A, order), len(names), thickness=THICKNESS in terms
        )
        if TILTS not in terms:
            return field
        return replace(
            field, tilt_columns=columns, tilts_mrad=np.broadcast_to(tilts_mrad, (count, 6)).astype(np.float32)
        )

    @property
    def field_aberrations(self) -> tuple[str, ...]:
        """Aberrations that vary over the field, in the order of their coefficients."""
        settings = self.settings
        return tuple(name for name in ABERRATION_NAMES if name in settings.field_terms) if settings.field_order else ()

    def mean_square_laplacian(self) -> DoubleArray:
        """(p, p) mean square of half the Laplacian of the counts: dI/dt for a Gaussian of variance t.

        Measured on the counts, minus 5 times their mean, which counting noise adds with weights -2 and four of 1/2.
        """
        window = self.measured.window
        mean = np.asarray(mean_pattern(window), dtype=np.float64)
        chosen = np.unique(np.linspace(0, len(window.patterns) - 1, LOOKED_PATTERNS).astype(int))
        squares = sum(_half_laplacian(np.asarray(window.patterns[n], dtype=np.float64)) ** 2 for n in chosen)
        signal = np.maximum(squares / len(chosen) - 5 * mean, _half_laplacian(mean) ** 2)
        unseen = (~window.measured).astype(np.float64)
        near = _half_laplacian(unseen) != 0  # a hole in the patterns is not part of their structure
        return np.where(near | ~window.measured, 0.0, signal)


def _half_laplacian(plane: DoubleArray) -> DoubleArray:
    around = sum(np.roll(plane, step, axis) for axis in (0, 1) for step in (1, -1))
    return np.asarray(0.5 * around - 2 * plane)


def _image(name: str, path: str, size: int) -> FloatArray:
    """Read a point spread (rows, columns) as (size, size), centre at [0, 0], sum 1. Raises MetadataError."""
    stored = read_npy(name, path, "give an npy file of numbers", mapped=True)
    shape, kind = stored.shape, stored.dtype.kind
    usable = len(shape) == 2 and 0 < min(shape) <= max(shape) <= size and kind in "fiub"
    values = np.array(stored, dtype=np.float64) if usable else np.zeros((0, 0))
    if not usable:
        raise MetadataError(
            f"{name} {path} holds {kind} of shape {shape}", f"give real numbers, at most {size} x {size} pixels"
        )
    if not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise MetadataError(f"{name} {path} is not a point spread", "its values must be at or above 0, and not all 0")
    image = np.zeros((size, size))
    image[: shape[0], : shape[1]] = values / values.sum()
    return np.roll(image, (-(shape[0] // 2), -(shape[1] // 2)), (0, 1)).astype(np.float32)
