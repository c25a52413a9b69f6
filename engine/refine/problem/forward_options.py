"""The forward model that settings select for one data set: its description for the backend, and what is refined.

A feature that is off adds no work and no parameters. A specimen tilt that all patterns share and that is not refined is
folded into the propagators, so that the compiled backend can be used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptylive.engine.backend.multislice.description import (
    INSIDE_MODES,
    AberrationGroups,
    CompressedPatterns,
    ForwardModel,
    NearField,
    SplitStep,
    Tilts,
)
from ptylive.engine.probe import ComplexPlane
from ptylive.engine.refine.data.model_window import ModelWindow, chi_per_A
from ptylive.engine.refine.data.per_point import PhasePlates, number_of_parts, parts_of_scan, per_pattern
from ptylive.engine.refine.parameters.band_limit import Cleaning, band_limit
from ptylive.engine.refine.parameters.mixture import Mixture
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.refined import Refined
from ptylive.engine.refine.parameters.slow_field import SlowField
from ptylive.engine.refine.problem.instrument import Instrument
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.tilt_from_columns import Area, remove_shear
from ptylive.engine.refine.problem.tilt_series import TiltSeries
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset.object import ObjectSettings
from ptylive.schema.preset.probe import ProbeSettings
from ptylive.schema.preset.propagation import THICKNESS, InstrumentSettings, PropagationSettings
from ptylive.schema.preset.refined import RefinedSettings
from ptylive.schema.units import RAD_PER_MRAD

FADE_SHARE = 8
"""Slices are compared up to 1 / FADE_SHARE of a window beyond the scan."""


def aberration_columns(probe: ProbeSettings, moving: RefinedSettings) -> tuple[str, ...]:
    """Names of the aberrations that are refined or given for parts of the scan, in the order used by all arrays."""
    given = 0 if probe.aberrations_array_A is None else max(len(row) for row in probe.aberrations_array_A)
    refined = moving.refined_aberrations if moving.update_aberrations else ()
    return tuple(name for i, name in enumerate(ABERRATION_NAMES) if i < given or name in refined)


def tilt_from_columns(propagation: PropagationSettings, refined: RefinedSettings) -> bool:
    """Whether the only refined tilt is inside the specimen, where the loss does not depend on it."""
    shared = propagation.tilts_mrad is None or len(propagation.tilts_mrad) == 1
    return refined.update_tilts and propagation.tilt_mode == 0 and shared and not propagation.near_field


@dataclass(frozen=True)
class FreeSpace:
    """Phase per Å of free space, and the tilts that are not part of it."""

    phase_per_A: DoubleArray
    """(P, P) -pi lam q^2, plus 2 pi q . tan if all patterns share a fixed tilt: H = exp(i d phase_per_A)."""
    tilts: Tilts | None


@dataclass(frozen=True)
class ForwardOptions:
    """The forward model of one measurement."""

    measured: Measurement
    object: ObjectSettings
    probe: ProbeSettings
    propagation: PropagationSettings
    refined: RefinedSettings
    beyond: InstrumentSettings
    tilt_found: bool = False
    """The tilt inside the specimen was searched for before the run (``tilt_search``) and is kept."""
    series: TiltSeries | None = None
    """Scans that are refined together; None for a single scan."""

    @property
    def instrument(self) -> Instrument:
        """Effects of detector, source and scan beyond the plain model."""
        return Instrument(self.beyond, self.measured, self.refined.update_detector_psf)

    @property
    def window(self) -> ModelWindow:
        """Pixels of the model."""
        return self.measured.model

    @property
    def wavelength_A(self) -> float:
        """Electron wavelength."""
        return self.measured.wavelength_A

    def free_space(self) -> FreeSpace:
        """Free space and tilts. Raises MetadataError if the number of tilts is not that of the scan points."""
        q = np.fft.fftfreq(self.window.size, self.window.object_pixel_A)
        phase = -np.pi * self.wavelength_A * (q[:, None] ** 2 + q[None, :] ** 2)
        if self.series is not None:
            tangents = RAD_PER_MRAD * np.asarray(self.series.tilts_of_patterns, dtype=float)
            return FreeSpace(phase, Tilts(tangents, 0, fixed="tilts" not in self.series.moving))
        field = self.slow_field()
        varying = field is not None and field.tilts_mrad is not None
        if self.propagation.tilts_mrad is None and not self.refined.update_tilts and not varying:
            return FreeSpace(phase, None)
        start = field.tilts_mrad if varying and field is not None else self.start_tilts_mrad()
        tilts = Tilts(RAD_PER_MRAD * np.asarray(start, dtype=float), self.propagation.tilt_mode)
        folded = tilts.mode == 0 and len(tilts.tangents) == 1 and not self.propagation.near_field
        if not folded or (self.refined.update_tilts and not self.tilt_from_columns):
            return FreeSpace(phase, tilts)
        row, column = tilts.tangents[0, 2:4]
        return FreeSpace(phase + 2 * np.pi * (q[:, None] * row + q[None, :] * column), None)

    def slow_field(self) -> SlowField | None:
        """Aberrations and tilts that vary slowly over the field; None if none do. Raises MetadataError."""
        if not self.beyond.field_order:
            return None
        if THICKNESS in self.beyond.field_terms and self.object.slices == 1:
            raise MetadataError("field_terms: thickness of a single slice", "give num_slices of at least 2")
        parts = self.probe.aberration_marker is not None or self.refined.update_aberrations
        moving = self.refined.update_tilts
        return self.instrument.slow_field(
            self.start_tilts_mrad(), self.propagation.tilt_mode, parts=parts, tilts_refined=moving
        )

    def start_tilts_mrad(self) -> FloatArray:
        """(1 or N, 6) start tilts; one row per pattern only if they were given for each scan point."""
        given = self.propagation.tilts_mrad
        if given is None:
            return np.zeros((1, 6), np.float32)
        if len(given) == 1:
            return np.asarray(given, dtype=np.float32)
        return np.asarray(per_pattern(np.asarray(given), self.measured.dataset, "tilts_mrad"), dtype=np.float32)

    @property
    def tilt_from_columns(self) -> bool:
        """Whether the only refined tilt is inside the specimen, where the loss does not depend on it."""
        return tilt_from_columns(self.propagation, self.refined)

    def to_results(
        self, transmission: ComplexArray, refined: Refined, grid: ObjectGrid
    ) -> tuple[ComplexArray, Refined]:
        """Transmission (modes, slices, Y, X) and refined quantities as they are written to results.

        If tilts inside the specimen are refined, the shear of the columns is removed from the slices and added to the
        tilt, unless the tilt was found before the run.
        """
        if refined.aberrations_A is not None:
            shared = refined.aberrations_A.ndim == 1
            names = self.refined.refined_aberrations if shared else aberration_columns(self.probe, self.refined)
            names = self.instrument.field_aberrations or names
            refined = replace(refined, aberration_names=names)
        if not self.refined.update_tilts or self.propagation.tilt_mode not in INSIDE_MODES:
            return transmission, refined
        tilts = self.start_tilts_mrad().astype(float) if refined.tilts_mrad is None else refined.tilts_mrad
        if self.object.slices > 1 and not self.tilt_found:
            distances = refined.slice_distances_A or self.object.spacings_A
            positions_px = (refined.positions_A + refined.common_shift_A - grid.origin_A) / grid.pixel_A
            area = _scanned(positions_px, grid.shape, self.window.size // FADE_SHARE)
            transmission, shear = remove_shear(transmission, area, distances, grid.pixel_A)
            tilts = tilts + np.concatenate([np.zeros(2), shear, np.zeros(2)])
        return transmission, replace(refined, tilts_mrad=tilts)

    def aberration_groups(self) -> AberrationGroups | None:
        """Aberrations of the parts of the scan; None if it has no parts."""
        marker, given = self.probe.aberration_marker, self.probe.aberrations_array_A
        if marker is None:
            if given is not None and len(given) > 1:
                raise MetadataError("aberrations_array_A has several lists", "give aberration_marker too")
            return None
        names = aberration_columns(self.probe, self.refined)
        groups = number_of_parts(marker, self.measured.dataset)
        if not names:
            raise MetadataError(
                "aberration_marker without aberrations", "give aberrations_array_A, or set update_aberrations"
            )
        values = np.zeros((groups, len(names)))
        if given is not None:
            if len(given) not in (1, groups):
                raise MetadataError(
                    f"aberrations_array_A has {len(given)} lists", f"the marker divides the scan into {groups} parts"
                )
            for row, coefficients in zip(values, given if len(given) == groups else given * groups, strict=True):
                row[: len(coefficients)] = coefficients
        rates = chi_per_A(names, self.window, self.wavelength_A).astype(np.float32)
        return AberrationGroups(rates, values, parts_of_scan(marker, self.measured.dataset, "aberration_marker"))

    def _of_each_pattern(self) -> AberrationGroups:
        """Aberrations that vary over the field: each pattern is a separate part."""
        names, count = self.instrument.field_aberrations, len(self.measured.dataset.patterns)
        rates = chi_per_A(names, self.window, self.wavelength_A).astype(np.float32)
        return AberrationGroups(rates, np.zeros((count, len(names))), np.arange(count))

    def with_given_aberrations(self, modes: ComplexPlane) -> ComplexPlane:
        """Start modes (modes, P, P) with the given aberrations that all patterns share."""
        given = self.probe.aberrations_array_A
        if given is None or self.probe.aberration_marker is not None:
            return modes
        coefficients = given[0]
        rates = chi_per_A(ABERRATION_NAMES[: len(coefficients)], self.window, self.wavelength_A)
        return np.asarray(modes * np.exp(-1j * np.tensordot(coefficients, rates, 1)))

    def probe_marker(self) -> IndexArray | None:
        """(N,) index of the probe of each pattern; None if there is only one."""
        marker = self.probe.probe_marker
        return None if marker is None else parts_of_scan(marker, self.measured.dataset, "probe_marker")

    def probe_shares(self) -> FloatArray | None:
        """(probes,) share of the patterns taken with each probe; never 0, so that steps stay bounded."""
        marker, chosen = self.probe.probe_marker, self.probe_marker()
        if marker is None or chosen is None:
            return None
        counts = np.bincount(chosen, minlength=number_of_parts(marker, self.measured.dataset))
        return np.asarray(np.maximum(counts, 1) / len(chosen), dtype=np.float32)

    def cleaning(self, object_shape: tuple[int, int]) -> Cleaning | None:
        """Filters of the whole object (rows, columns) and the probe, if there is a band limit and it is not lazy."""
        cutoff = self.propagation.damping_cutoff_multislice
        if cutoff is None or self.propagation.lazy_clean:
            return None
        closer = max(cutoff - self.propagation.update_extra_cut, 0.0)
        size, rolloff = self.window.size, self.propagation.smooth_rolloff
        return Cleaning(band_limit(object_shape, closer, rolloff), band_limit((size, size), closer, rolloff))

    def description(
        self, tilts: Tilts | None, compressed: CompressedPatterns | None, mixture: Mixture | None = None
    ) -> ForwardModel | None:
        """Everything beyond the plain far field; None if there is nothing. ``mixture``: blur of each mode."""
        propagation, probe, size = self.propagation, self.probe, self.window.size
        cutoff, plates = propagation.damping_cutoff_multislice, probe.phase_plate_in_h5
        model = ForwardModel(
            pixel_A=self.window.object_pixel_A,
            wavelength_A=self.wavelength_A,
            thickness_A=self.object.slice_thickness_A,
            split=SplitStep(propagation.propmethod),
            band=None if cutoff is None else band_limit((size, size), cutoff, propagation.smooth_rolloff),
            tilts=tilts,
            aberrations=self._of_each_pattern() if self.instrument.field_aberrations else self.aberration_groups(),
            probe_marker=self.probe_marker(),
            probes=1 if probe.probe_marker is None else number_of_parts(probe.probe_marker, self.measured.dataset),
            phase_plates=None if plates is None else PhasePlates(Path(plates), self.measured.dataset, size),
            near_field=self._near_field(),
            upsampling=size // self.measured.window.size,
            compressed=compressed,
            spread=self.instrument.point_spread(),
            stretched=bool(self.beyond.field_order) and THICKNESS in self.beyond.field_terms,
            varying_modes=0 if not self.beyond.opr_components else 1 if mixture is None else len(mixture.factors),
        )
        return model if model.beyond_compiled() else None

    def _near_field(self) -> NearField | None:
        propagation, dataset = self.propagation, self.measured.dataset
        if not propagation.near_field:
            return None
        if propagation.defocus_array_A is None:
            raise MetadataError("the near field needs defocus_array_A", "give one defocus, or one for each image, Å")
        return NearField(
            per_pattern(np.asarray(propagation.defocus_array_A), dataset, "defocus_array_A"),
            float(dataset.calibration.aberrations.get("C30", 0.0)),
            RAD_PER_MRAD * propagation.alpha_near_field_mrad,
        )


def _scanned(positions_px: DoubleArray, shape: tuple[int, int], fade_px: int) -> Area:
    """Object area between the outermost positions (N, 2), with the surroundings that the probe also lit."""
    low, high = np.floor(positions_px.min(axis=0)), np.ceil(positions_px.max(axis=0))
    rows, columns = ((int(a), int(b)) for a, b in zip(low, high, strict=True))
    return Area.around(rows, columns, shape, fade_px)


def tilt_curvature(
    mode: int, power_A2: tuple[DoubleArray, DoubleArray], wavelength_A: float, depth_A: float
) -> FloatArray:
    """(6,) phase variance per mrad^2 of each of the six tilts, for one pattern.

    power_A2: variances (row, col) of the illumination in real space, Å^2, and of the pattern in reciprocal space, Å^-2.
    A tilt turns position x by 2 pi x / lam, and a tilt inside the specimen turns frequency q by 2 pi d q.
    """
    outside = (2 * np.pi * RAD_PER_MRAD / wavelength_A) ** 2 * power_A2[0]
    inside = (2 * np.pi * RAD_PER_MRAD * max(depth_A, 1.0)) ** 2 * power_A2[1]
    used = inside if mode in INSIDE_MODES else outside
    return np.asarray(np.concatenate([outside, used, outside]), dtype=np.float32)
