"""The measurement in the coordinates of the model: detector window, model pixels, probe, coefficients, statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.fast_sizes import padded_size
from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import ComplexPlane, Probe
from ptylive.engine.refine.data.drift import Drift, find_drift, without_drift
from ptylive.engine.refine.data.model_window import ModelWindow, as_seen, image_window
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.data.start_illumination import StartIllumination
from ptylive.engine.refine.data.start_probe import Coherence, nominal_probe, plane_wave, start_modes
from ptylive.engine.refine.problem.coefficients import Coefficients
from ptylive.schema.detector import MOST_COUNTS
from ptylive.schema.errors import MetadataError, RefinementError
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset.patterns import PatternSettings
from ptylive.schema.preset.probe import ProbeSettings
from ptylive.schema.preset.propagation import PropagationSettings
from ptylive.schema.preset.refined import RefinedSettings


@dataclass(frozen=True)
class Measurement:
    """A data set in the coordinates of the model, with the quantities measured on its patterns."""

    dataset: Dataset
    """Data set, mirrored and shifted if requested; its positions are corrected for a drift that was found."""
    window: ScanWindow
    """Detector window."""
    model: ModelWindow
    probe: Probe
    coefficients: Coefficients | None
    near_field: bool
    statistics: PatternStatistics
    drift: Drift | None = None
    """Result of the search for drift; None without one."""

    @classmethod
    def of(
        cls, dataset: Dataset, patterns: PatternSettings, propagation: PropagationSettings, *, single_slice: bool
    ) -> Measurement:
        """Measure a data set. Raises MetadataError if optics or pixels are missing, RefinementError without counts.

        A single slice is placed at the depth on which the maps focus.
        """
        _check(dataset)
        dataset, near, coefficients = as_seen(dataset, patterns), propagation.near_field, None
        if near:
            window = image_window(dataset, propagation.image_pixel_A, patterns.window_px)
        elif dataset.masks is not None:
            coefficients, window = Coefficients.of(dataset, _size(dataset, patterns))
        else:
            window = ScanWindow.of(dataset, _size(dataset, patterns))
        model = ModelWindow.of(window, patterns.upsample_pattern)
        probe = nominal_probe(dataset.calibration, model, single_slice=single_slice, everywhere=near)
        statistics = _statistics(
            dataset, window, probe, images_of_A=window.size * model.object_pixel_A if near else None
        )
        return cls(dataset, window, model, probe, coefficients, near, statistics)

    @property
    def plain(self) -> bool:
        """Whether far-field frames were recorded."""
        return self.coefficients is None and not self.near_field

    @property
    def offsets_px(self) -> DoubleArray | None:
        """(N, 2) offset of each pattern from its nominal place, pixels of the model; None if there are no offsets."""
        given = self.dataset.offsets_px
        return None if given is None or self.near_field else given * (self.model.size // self.window.size)

    @property
    def current(self) -> DoubleArray | None:
        """(N,) relative beam current of each pattern; None if it does not change, and for coefficients and images."""
        return self.dataset.current if self.plain else None

    @property
    def wavelength_A(self) -> float:
        """Electron wavelength."""
        return self.probe.wavelength_A

    def without_drift(self, *, certain: bool) -> Measurement:
        """Copy after a search for drift, which is removed (``certain``: only if certain); far-field frames only."""
        drift = find_drift(self.dataset, self.window, self.probe, certain=certain)
        if drift is None or not drift.applied:
            return replace(self, drift=drift)
        dataset = without_drift(self.dataset, drift)
        return replace(self, dataset=dataset, drift=drift, statistics=_statistics(dataset, self.window, self.probe))

    def start_modes(self, settings: ProbeSettings, coherence: Coherence, depth_A: float = 0.0) -> ComplexPlane:
        """(modes, P, P) start modes in Fourier space, which together have the counts of a pattern.

        ``depth_A``: depth below the entrance surface at which a given probe is specified.
        """
        counts = self.statistics.counts_per_pattern
        if self.near_field:
            return plane_wave(self.model.size, counts)
        illumination = StartIllumination.of(settings, self.dataset, self.window, self.model, depth_A)
        if illumination is not None:
            return illumination.modes(self.probe, self.model, coherence, counts)
        return start_modes(self.probe, self.model, coherence, counts)


def check_near_field(
    dataset: Dataset, patterns: PatternSettings, probe: ProbeSettings, refined: RefinedSettings
) -> None:
    """Raise MetadataError for settings that make no sense for images under a plane wave."""
    senseless = {
        "update_probe_pos": refined.update_probe_pos,
        "update_aberrations": refined.update_aberrations,
        "flip_ky": patterns.flip_ky,
    }
    for name, requested in senseless.items():
        if requested:
            raise MetadataError(f"{name} has no meaning in the near field", "leave it out")
    if dataset.masks is not None or patterns.upsample_pattern > 1:
        raise MetadataError("the near field uses images unchanged", "no coefficients, upsample_pattern = 1")
    if not isinstance(probe.probe_modes, str) and probe.probe_modes > 1:
        raise MetadataError("the near field has one illumination", "leave probe_modes out")
    if refined.update_probe and not np.ptp(dataset.positions_A, axis=0).any():
        raise MetadataError(
            "all images show the same place: object and illumination cannot be separated", "set update_probe=false"
        )


def _statistics(
    dataset: Dataset, window: ScanWindow, probe: Probe, images_of_A: float | None = None
) -> PatternStatistics:
    """Counts, dose and noise; ``images_of_A``: side of the images, which show one place. RefinementError if none."""
    statistics = PatternStatistics.of(dataset, window, probe)
    if statistics.counts_per_pattern <= 0:
        remedy = f"check beam centre and bad-pixel mask; values below 0 or beyond {MOST_COUNTS:g} do not count"
        raise RefinementError("the patterns hold no counts", remedy)
    if images_of_A is None:
        return statistics
    area = images_of_A**2 / len(dataset.patterns)  # regardless of the distances that the stage reports
    return replace(statistics, dose_e_per_A2=statistics.counts_per_pattern / area)


def _size(dataset: Dataset, patterns: PatternSettings) -> int:
    """Side of the detector window, pixels."""
    if not isinstance(patterns.window_px, str):
        return patterns.window_px
    return padded_size(max(dataset.bad_pixels.shape))


def _check(dataset: Dataset) -> None:
    if len(dataset.patterns) == 0:
        raise RefinementError("there are no patterns to refine", "record a scan first")
    if dataset.positions_A.shape != (len(dataset.patterns), 2):
        raise RefinementError(f"{len(dataset.patterns)} patterns but positions of shape {dataset.positions_A.shape}")
    if not np.isfinite(dataset.positions_A).all():
        raise RefinementError("some positions are not finite", "give scan.step_A and rotation_deg")
