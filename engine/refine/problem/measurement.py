"""The measurement in the coordinates of the model: detector window, model pixels, probe, and coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.fast_sizes import padded_size
from ptylive.engine.backend.multislice.problem import CoefficientTermKind
from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import ComplexPlane, Probe
from ptylive.engine.refine.data.model_window import ModelWindow, as_seen, image_window
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.data.start_illumination import StartIllumination
from ptylive.engine.refine.data.start_probe import nominal_probe, plane_wave, start_modes
from ptylive.engine.refine.problem.coefficients import Coefficients
from ptylive.engine.refine.problem.strategy import Strategy, choose
from ptylive.schema.errors import MetadataError, RefinementError
from ptylive.schema.preset import Preset


@dataclass(frozen=True)
class Measurement:
    """A data set under a preset's idea of how it was recorded."""

    preset: Preset
    dataset: Dataset
    """Mirrored and shifted where asked for."""
    window: ScanWindow
    """Of the detector."""
    model: ModelWindow
    probe: Probe
    coefficients: Coefficients | None

    @classmethod
    def of(cls, dataset: Dataset, preset: Preset) -> Measurement:
        """Look at a data set. Raises MetadataError and RefinementError where preset and data do not fit together."""
        dataset = as_seen(dataset, preset)
        near, coefficients = preset.recon_type == "near_field", None
        if dataset.masks is None and preset.algorithm in list(CoefficientTermKind):
            raise RefinementError(
                f"algorithm = {preset.algorithm} compares coefficients, and the recording holds frames",
                "use algorithm=auto, or compress the recording (ptylive convert --basis)",
            )
        if near:
            _check_near(dataset, preset)
            window = image_window(dataset, preset)
        elif dataset.masks is not None:
            coefficients, window = Coefficients.of(dataset, _size(dataset, preset))
        else:
            window = ScanWindow.of(dataset, _size(dataset, preset))
        model = ModelWindow.of(window, preset.upsample_pattern)
        probe = nominal_probe(dataset.calibration, model, single_slice=preset.num_slices == 1, everywhere=near)
        return cls(preset, dataset, window, model, probe, coefficients)

    @property
    def plain(self) -> bool:
        """Whether frames of the far field were recorded."""
        return self.coefficients is None and self.preset.recon_type == "far_field"

    def statistics(self) -> PatternStatistics:
        """Counts, dose and noise. Raises RefinementError where nothing was counted."""
        statistics = PatternStatistics.of(self.dataset, self.window, self.probe)
        if statistics.counts_per_pattern <= 0:
            raise RefinementError("the patterns hold no counts", "check beam centre and bad-pixel mask")
        if self.preset.recon_type == "near_field":  # images show the same place, however far apart the stage says
            area = (self.window.size * self.model.object_pixel_A) ** 2 / len(self.dataset.patterns)
            statistics = replace(statistics, dose_e_per_A2=statistics.counts_per_pattern / area)
        return statistics

    def strategy(self, statistics: PatternStatistics, *, has_start: bool) -> Strategy:
        """Loss, object and steps for what was recorded."""
        if self.coefficients is not None:
            chosen = choose(self.preset.model_copy(update={"algorithm": "auto"}), statistics, has_start=has_start)
            return self.coefficients.strategy(chosen, self.preset)
        chosen = choose(self.preset, statistics, has_start=has_start)
        if self.plain:
            return self._for_tilts(chosen) if self.preset.update_tilts else chosen
        return replace(chosen, coherence=replace(chosen.coherence, modes=1), start_from_map=False, probe_sweeps=0)

    def _for_tilts(self, chosen: Strategy) -> Strategy:
        """Slices must come free of each other: no anchor to where sweeps left them."""
        return replace(chosen, anchor=0.0) if isinstance(self.preset.anchor, str) else chosen

    def start_modes(self, strategy: Strategy, counts: float) -> ComplexPlane:
        """(modes, P, P) in Fourier space, ``counts`` in all."""
        if self.preset.recon_type == "near_field":
            return plane_wave(self.model.size, counts)
        asked = StartIllumination.of(self.preset, self.dataset, self.window, self.model)
        if asked is not None:
            return asked.modes(self.probe, self.model, strategy.coherence, counts)
        return start_modes(self.probe, self.model, strategy.coherence, counts)


def _size(dataset: Dataset, preset: Preset) -> int:
    """Pixels of the detector's window."""
    if not isinstance(preset.window_px, str):
        return preset.window_px
    return padded_size(max(dataset.bad_pixels.shape))


def _check_near(dataset: Dataset, preset: Preset) -> None:
    """What makes no sense of images under a plane wave."""
    for name in ("update_probe_pos", "update_aberrations", "flip_ky"):
        if getattr(preset, name):
            raise MetadataError(f"{name} has no meaning in the near field", "leave it out")
    if dataset.masks is not None or preset.upsample_pattern > 1:
        raise MetadataError("the near field takes images as they are", "no coefficients, upsample_pattern = 1")
    if not isinstance(preset.probe_modes, str) and preset.probe_modes > 1:
        raise MetadataError("the near field has one illumination", "leave probe_modes out")
    if preset.update_probe and not np.ptp(dataset.positions_A, axis=0).any():
        raise MetadataError(
            "all images show one place: object and illumination cannot be told apart", "set update_probe=false"
        )
