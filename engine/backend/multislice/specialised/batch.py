"""Arguments of the kernel for the patterns of one call, such as phases of the model's blocks as rows and columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.description import ForwardModel
from ptylive.engine.backend.multislice.forward.detection import Detector
from ptylive.engine.backend.multislice.forward.illumination import Illumination
from ptylive.engine.backend.multislice.forward.specimen import Specimen
from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.kernel_parts.arguments import (
    NONE_2,
    NONE_3,
    NONE_4,
    NONE_5,
    Patterns,
    in_precision,
)
from ptylive.engine.backend.multislice.kernel_parts.planes import Real, laid_out
from ptylive.engine.backend.multislice.specialised.program import Program
from ptylive.schema.model import Array, DoubleArray, IndexArray


class RecordedData(NamedTuple):
    """The recorded data in the form of compiled code; patterns have no bytes if it does not compare them."""

    patterns: Array
    counts_type: int
    weights: Array
    corners: IndexArray


class Blocks(NamedTuple):
    """The model, and the blocks that provide its phases; ``real``: type of the kernel's arguments."""

    real: Real
    model: ForwardModel
    program: Program
    illumination: Illumination
    specimen: Specimen
    detector: Detector

    def patterns(self, values: Values, batch: IndexArray, recorded: RecordedData) -> Patterns:
        """The patterns ``batch``, renumbered from 0."""
        count, model = len(batch), self.model
        amplitudes = np.ones(count, self.real) if values.root_current is None else values.root_current[batch]
        marker = np.zeros(count, np.int64) if model.probe_marker is None else model.probe_marker[batch]
        is_near_field = model.near_field is not None
        patterns = Patterns(
            np.arange(count),
            recorded.patterns[batch],
            recorded.counts_type,
            recorded.weights,
            recorded.corners[batch],
            np.ascontiguousarray(values.shifts_px[batch], dtype=np.float64),
            self._cast(amplitudes),
            self._phasors_or_none(self.detector.exit_phases(values, batch), count),
            np.ascontiguousarray(marker * values.modes, dtype=np.int64),
            self._phasors_or_none(self.illumination.tilt_phases(values, batch), count),
            self._spaces(values, batch),
            self._phasors(self.detector.lens_phases(values, batch)[:, ::-1], count) if is_near_field else NONE_4,
            self._aberrations(values, batch),
            self._plates(batch),
            self._cast(values.varied.coefficients[batch] if values.varied is not None else np.zeros((count, 0))),
        )
        return in_precision(patterns, self.real)

    def _spaces(self, values: Values, batch: IndexArray) -> Array:
        """(n, spaces, 2, 2, P), column first: spaces of equal length share the computed factors."""
        factors: dict[Any, Array] = {}
        for step in self.program.spaces:
            if step.shares not in factors:
                phases = self.specimen.own_space(step, values, batch)
                if phases is None:
                    return NONE_5
                factors[step.shares] = self._phasors(phases[:, ::-1], len(batch))
        if not factors:
            return NONE_5
        return np.stack([factors[step.shares] for step in self.program.spaces], axis=1)

    def _aberrations(self, values: Values, batch: IndexArray) -> Array:
        groups = self.model.aberrations
        return NONE_2 if groups is None else self._cast(values.aberrations_A[groups.group[batch]])

    def _plates(self, batch: IndexArray) -> Array:
        if self.model.phase_plates is None:
            return NONE_3
        plates = np.swapaxes(np.asarray(self.model.phase_plates[batch]), 1, 2)
        return laid_out(np.stack([plates.real, plates.imag], axis=1), self.real)

    def _cast(self, values: Any) -> Array:
        return np.ascontiguousarray(values, dtype=self.real)

    def _phasors_or_none(self, phases: DoubleArray | None, count: int) -> Array:
        return NONE_4 if phases is None else self._phasors(phases, count)

    def _phasors(self, phases: DoubleArray, count: int) -> Array:
        """exp(i phase) of phases (count or 1, 2, P): (count, 2, part, P)."""
        turns = phases / (2 * np.pi)
        # within half a turn single precision is exact enough, and its cosine four times faster
        remainder = ((turns - np.rint(turns)) * (2 * np.pi)).astype(self.real)
        phasors = np.empty((count, 2, 2, phases.shape[-1]), self.real)
        phasors[:, :, 0], phasors[:, :, 1] = np.cos(remainder), np.sin(remainder)
        return phasors
