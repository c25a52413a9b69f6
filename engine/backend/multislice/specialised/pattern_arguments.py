"""Pattern-specific arguments of the fused kernel: phases of the blocks as factors along the axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.description import CompressedPatterns, ForwardModel
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.fused.order import SCRATCH_SHARE, KernelOrder
from ptylive.engine.backend.multislice.problem import MultisliceProblem
from ptylive.engine.backend.multislice.specialised.batch import Blocks
from ptylive.schema.model import IndexArray


class PatternArguments(NamedTuple):
    """Arguments for the patterns of a launch, None for absent ones; shapes as in ``General`` of ``general.cuh``."""

    first_probe: Any
    entries: Any
    exits: Any
    spaces: Any
    lenses: Any
    lens: Any
    aberrations: Any
    rates: Any
    plates: Any
    varied: Any
    components: Any
    band: Any


class PatternArgumentsFactory:
    """Factory of :class:`PatternArguments`, on the device."""

    def __init__(
        self,
        kit: ArrayKit,
        problem: MultisliceProblem,
        model: ForwardModel,
        blocks: Blocks,
        order: KernelOrder,
        free_bytes: Callable[[], int],
    ) -> None:
        """``free_bytes``: free device memory, of which phase plates may permanently take a share."""
        xp, groups, near_field = kit.xp, model.aberrations, model.near_field
        self._kit, self._model, self._blocks, self._order = kit, model, blocks, order
        self.group = None if groups is None else xp.asarray(groups.group)
        """(N,) group of aberrations of each pattern."""
        self.aberration_count = 0 if groups is None else len(groups.phase_per_A)
        """Number of these aberrations."""
        self._rates = None if groups is None else order.ordered(groups.phase_per_A, np.float32)
        self._lens: Any = None
        if near_field is not None:
            lens = kit.phase_factor(blocks.detector.spherical_phase(near_field)) / problem.window**2
            lens = lens if model.band is None else lens * xp.asarray(model.band, dtype=np.float32)
            self._lens = order.moved(lens, np.complex64)
        self._band = None if model.band is None else order.ordered(model.band, np.float32)
        marker = np.zeros(problem.count) if model.probe_marker is None else model.probe_marker
        self._marker = xp.asarray(marker.astype(np.int32))
        self._all_plates: Any = None
        plates_bytes = 8 * problem.count * problem.window**2
        if model.phase_plates is not None and plates_bytes <= SCRATCH_SHARE * free_bytes():
            self._all_plates = order.uploaded_planes(model.phase_plates, problem.count, np.complex64)

    def of(self, values: Values, batch: Any, components: Any) -> PatternArguments:
        """Arguments for the patterns ``batch``; ``components``: those of the varying probe, passed on unchanged."""
        xp, count, blocks, axis_order = self._kit.xp, len(batch), self._blocks, self._order.axis_order
        aberrations = lenses = varied = None
        if self.group is not None:
            aberrations = xp.ascontiguousarray(values.aberrations_A[self.group[batch]], dtype=np.float32)
        if values.varied is not None:
            varied = xp.ascontiguousarray(values.varied.coefficients[batch], dtype=np.float32)
        if self._model.near_field is not None:
            lenses = self._phasors(blocks.detector.lens_phases(values, batch)[:, :, axis_order], count)
        return PatternArguments(
            self._marker[batch] * np.int32(values.modes),
            self._phasors(blocks.illumination.tilt_phases(values, batch), count),
            self._phasors(blocks.detector.exit_phases(values, batch), count),
            self._spaces(values, batch),
            lenses,
            self._lens,
            aberrations,
            self._rates,
            self._plates(batch),
            varied,
            components,
            self._band,
        )

    def _spaces(self, values: Values, batch: Any) -> Any:
        """(n, spaces, 2, P): spaces of equal length share the computed factors; None if all patterns have the same."""
        factors: dict[Any, Any] = {}
        for step in self._blocks.program.spaces:
            if step.shares not in factors:
                phases = self._blocks.specimen.own_space(step, values, batch)
                if phases is None:
                    return None
                factors[step.shares] = self._phasors(phases[:, :, self._order.axis_order], len(batch))
        if not factors:
            return None
        return self._kit.xp.stack([factors[step.shares] for step in self._blocks.program.spaces], axis=1)

    def _plates(self, batch: Any) -> Any:
        """(n, P * P) phase plates: from the device or, if they do not fit, from the host."""
        if self._model.phase_plates is None:
            return None
        if self._all_plates is not None:
            return self._all_plates[batch]
        indices = batch.get() if hasattr(batch, "get") else batch
        return self._order.ordered(np.asarray(self._model.phase_plates[indices]), np.complex64)

    def _phasors(self, phases: Any, count: int) -> Any:
        """exp(i phase) of phases (count or 1, 2, P), for each pattern; None if there are none."""
        if phases is None:
            return None
        xp, factors = self._kit.xp, self._kit.phase_factor(phases)
        return xp.ascontiguousarray(factors if len(factors) == count else xp.repeat(factors, count, axis=0))


def in_order(compressed: CompressedPatterns | None, gather: IndexArray) -> CompressedPatterns | None:
    """The same data for planes in another order; ``gather`` (P * P,): natural index of each of their pixels."""
    if compressed is None:
        return None
    lengths = tuple(replace(term, region=term.region[gather]) for term in compressed.perpendicular)
    edge = None if compressed.edge is None else compressed.edge[gather]
    return replace(compressed, masks=compressed.masks[:, gather], edge=edge, perpendicular=lengths)
