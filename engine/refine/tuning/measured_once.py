"""Cache of the prepared and measured patterns of a scan, for all trials and for the run.

Trials change calibration, positions and slices; patterns, beam centre and bad pixels stay the same. The window and its
statistics are therefore made for the whole scan, and parts are cut from it: dose and noise are those of the scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.selection import central
from ptylive.engine.refine.data.start_probe import nominal_probe
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import measure
from ptylive.schema.model import Array, IndexArray
from ptylive.schema.preset import Preset

MOST_PARTS = 3
"""Maximum number of parts of a scan that are kept, the latest ones."""
SAME = ("energy_eV", "convergence_semiangle_mrad", "counts_per_electron", "detector_pixel_invA")
"""Calibration entries that the statistics depend on."""


@dataclass(frozen=True)
class _Part:
    """Patterns in the middle of a scan."""

    whole: Dataset
    chosen: IndexArray
    patterns: Array
    laid_out: Array | None = None
    """The same patterns in the model's window."""


class MeasuredOnce:
    """Measurements of one scan; those of another scan replace them."""

    def __init__(self) -> None:
        self._whole: tuple[Dataset, Preset, Measurement] | None = None
        self._parts: list[_Part] = []

    def forget(self) -> None:
        """Release its memory: a run that has begun needs none of it."""
        self._whole, self._parts = None, []

    def central_part(self, dataset: Dataset, most: int) -> Dataset:
        """Square of patterns in the middle of the scan (:func:`central`); the whole data set if it has few."""
        if len(dataset.patterns) <= most:
            return dataset
        chosen = central(dataset, most)
        for part in self._parts:
            if part.whole.patterns is dataset.patterns and np.array_equal(part.chosen, chosen):
                return dataset.part(chosen, part.patterns)
        middle = dataset.part(chosen)
        self._parts = [*self._parts[1 - MOST_PARTS :], _Part(dataset, chosen, middle.patterns)]
        return middle

    def measure(self, dataset: Dataset, preset: Preset) -> Measurement:
        """As :func:`~ptylive.engine.refine.problem.prepare.measure`, without a new pass over known patterns."""
        plain = preset.model_copy(update={"refine_drift": False})
        number = next((k for k, part in enumerate(self._parts) if part.patterns is dataset.patterns), None)
        if _measured_alone(dataset, preset):
            measured = measure(dataset, plain)
        elif number is None:
            measured = self._derived(dataset, plain, None)
        else:
            measured = self._derived(dataset, plain, number)
        requested = preset.start.refine_drift
        return measured.without_drift(certain=requested == "auto") if requested and measured.plain else measured

    def _derived(self, dataset: Dataset, plain: Preset, number: int | None) -> Measurement:
        """Derive a measurement from that of the whole scan."""
        whole = self._of_whole(dataset if number is None else self._parts[number].whole, dataset, plain)
        if whole is None:
            return measure(dataset, plain)
        window = whole.window
        if number is not None:
            part = self._parts[number]
            cut = part.laid_out
            if cut is None:  # keep the memory transposed, as the compiled backend reads it
                cut = np.swapaxes(np.swapaxes(window.patterns, 1, 2)[part.chosen], 1, 2)
                self._parts[number] = replace(part, laid_out=cut)
            window = replace(window, patterns=cut)
        probe = nominal_probe(dataset.calibration, whole.model, single_slice=plain.object.slices == 1)
        return replace(whole, dataset=dataset, window=window, probe=probe)

    def _of_whole(self, whole: Dataset, dataset: Dataset, plain: Preset) -> Measurement | None:
        """The measurement of the whole scan, if it covers all of ``dataset`` except its probe and positions."""
        if self._whole is None or self._whole[0].patterns is not whole.patterns:
            if not _alike(whole, plain, dataset, plain):
                return None
            self._whole = (whole, plain, measure(whole, plain))
        first, preset, measured = self._whole
        return measured if _alike(first, preset, dataset, plain) else None


def _measured_alone(dataset: Dataset, preset: Preset) -> bool:
    """Whether the model does not see the patterns unchanged."""
    moved = preset.patterns.flip_ky or any(preset.patterns.data_shift_vector_px)
    return dataset.masks is not None or preset.propagation.near_field or moved


def _alike(first: Dataset, first_preset: Preset, second: Dataset, second_preset: Preset) -> bool:
    """Whether window and statistics of two data sets and presets are the same except for the choice of patterns."""
    calibrations = first.calibration, second.calibration
    return (
        first_preset.patterns == second_preset.patterns
        and first_preset.propagation == second_preset.propagation
        and all(calibrations[0].get(name) == calibrations[1].get(name) for name in SAME)
        and np.array_equal(first.bad_pixels, second.bad_pixels)
        and np.array_equal(first.beam_center_px, second.beam_center_px)
    )
