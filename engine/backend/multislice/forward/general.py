"""The general backend: illumination, specimen, detector and comparison as blocks, each with its adjoint.

Everything of :class:`~ptylive.engine.backend.multislice.description.ForwardModel`, on whole arrays of numpy or cupy.
In double precision it agrees with central differences and, where both can, with the reference of the plain model.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.comparison import comparison
from ptylive.engine.backend.multislice.forward.detection import Detector
from ptylive.engine.backend.multislice.forward.illumination import Illumination
from ptylive.engine.backend.multislice.forward.specimen import Place, Prepared, Specimen
from ptylive.engine.backend.multislice.forward.values import Sums, Values
from ptylive.engine.backend.multislice.problem import HELD, Corrections, LossGradient, MultisliceProblem
from ptylive.schema.model import Array, IndexArray

BATCH_BYTES = {"numpy": 4 << 20, "cupy": 1 << 30}
"""Work memory of one batch: about the cache on a CPU, a comfortable share of a card on a GPU."""


class GeneralMultislice:
    """:class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` for every forward model."""

    def __init__(self, problem: MultisliceProblem, xp: ModuleType, dtype: str, name: str, threads: int = 1) -> None:
        if problem.model is None or problem.phase_per_A is None:
            raise ValueError("the general backend needs problem.model and problem.phase_per_A")
        self.name, self.xp = name, xp
        self._problem, self._model = problem, problem.model
        self._kit = kit = ArrayKit(xp, np.dtype(dtype))
        model, window = problem.model, problem.window
        self._illumination = Illumination(kit, model, window)
        self._specimen = Specimen(kit, model, problem.phase_per_A, problem.object_shape[0])
        self._detector = Detector(kit, model, problem.phase_per_A)
        self._comparison = comparison(kit, problem, model.compressed)
        self._offsets = xp.asarray(np.arange(window)[:, None] * problem.object_shape[2] + np.arange(window))
        self._corners = xp.asarray(problem.corners @ np.array([problem.object_shape[2], 1]))
        self._shifts = xp.asarray(problem.shifts_px)
        tilts, groups = model.tilts, model.aberrations
        self._tilts: Any = None if tilts is None else xp.asarray(tilts.tangents, dtype=np.float64)
        self._aberrations_A: Any = None if groups is None else xp.asarray(groups.values_A, dtype=np.float64)
        self._threads = max(1, threads) if xp is np else 1
        self._pool = ThreadPoolExecutor(self._threads, "refine") if self._threads > 1 else None

    def loss_and_gradient(
        self,
        object_planes: Any,
        probe_planes: Any,
        indices: IndexArray | None = None,
        *,
        probe_gradient: bool = True,
        corrections: Corrections = HELD,
    ) -> LossGradient:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        chosen = np.arange(self._problem.count) if indices is None else np.asarray(indices)
        values = self._values(object_planes, probe_planes, corrections)

        def evaluate(part: IndexArray) -> LossGradient:
            return self._evaluate(values, part, corrections, probe_gradient=probe_gradient)

        if self._pool is None:
            return evaluate(chosen)
        parts = list(self._pool.map(evaluate, np.array_split(chosen, self._threads)))
        return sum(parts[1:], parts[0])

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> Any:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        xp = self.xp
        _, rows, columns = self._problem.object_shape
        nothing = xp.ones((2, self._problem.object_shape[0], rows, columns), self._kit.real)
        values = self._values(nothing, probe_planes, HELD)
        total = xp.zeros(rows * columns, self._kit.real)
        for batch in self._batches(np.arange(self._problem.count) if indices is None else indices, values.modes):
            where = self._where(batch)
            light = self._illumination.power(values, batch)
            xp.add.at(total, where.ravel(), xp.broadcast_to(light, where.shape).astype(self._kit.real).ravel())
        return total.reshape(rows, columns)

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        return np.asarray(array.get() if hasattr(array, "get") else array)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _values(self, object_planes: Any, probe_planes: Any, corrections: Corrections) -> Values:
        xp, model, kit = self.xp, self._model, self._kit
        slices, rows, columns = self._problem.object_shape
        thickness = model.thickness_A
        if corrections.distances_A is not None:
            distances = xp.asarray(corrections.distances_A, dtype=np.float64)
            thickness = (*distances, distances[-1])
        tilts = self._tilts if corrections.tilts is None else corrections.tilts
        added = self._aberrations_A if corrections.aberrations_A is None else corrections.aberrations_A
        objects = (object_planes[0] + 1j * object_planes[1]).astype(kit.complex)
        return Values(
            objects=objects.reshape(-1, slices, rows * columns),
            probe=(probe_planes[0] + 1j * probe_planes[1]).astype(kit.complex),
            modes=probe_planes.shape[1] // model.probes,
            thickness_A=thickness,
            shifts_px=self._shifts if corrections.shifts_px is None else xp.asarray(corrections.shifts_px),
            root_current=None if corrections.current is None else xp.sqrt(xp.asarray(corrections.current, kit.real)),
            background=corrections.background,
            tilts=None if tilts is None else xp.asarray(tilts, dtype=np.float64),
            aberrations_A=None if added is None else xp.asarray(added, dtype=np.float64),
        )

    def _evaluate(
        self, values: Values, chosen: IndexArray, corrections: Corrections, *, probe_gradient: bool
    ) -> LossGradient:
        """Loss and gradient of some patterns, one thread."""
        xp = self.xp
        double = {
            name: None if value is None else xp.zeros(value.shape, np.float64)
            for name, value in vars(corrections).items()
        }
        total = Sums(
            xp.zeros((len(self._specimen.powers), 2, *values.objects.shape), self._kit.real),
            xp.zeros_like(values.probe),
            Corrections(**double),
        )
        prepared = self._specimen.prepared(values)
        planes = values.modes * len(values.objects) * (self._specimen.waves + 4)
        loss = sum(
            self._add_batch(values, prepared, Place(batch, self._where(batch), total), probe_gradient=probe_gradient)
            for batch in self._batches(chosen, planes)
        )
        slices = self._specimen.object_gradient(values, total.objects)
        slices = slices.reshape(2, -1, *self._problem.object_shape[1:])
        return LossGradient(loss, slices, xp.stack([total.probe.real, total.probe.imag]), total.corrections)

    def _add_batch(self, values: Values, prepared: Prepared, place: Place, *, probe_gradient: bool) -> Any:
        """Loss of a batch; its gradient is added to ``place.total``."""
        batch, total = place.batch, place.total
        light = self._illumination.forward(values, batch)
        modes = range(len(values.objects))
        passages = [self._specimen.forward(mode, values, prepared, light.wave, place) for mode in modes]
        exposures = [self._detector.forward(passage.exit, values, batch) for passage in passages]
        loss, slope = self._comparison.compare(self._detector.intensity(exposures, values, batch), batch)
        if total.corrections.background is not None:
            total.corrections.background[...] += slope.sum(axis=0)
        pull = (2 / len(modes) * self._detector.slope_of_waves(slope, batch))[:, None]
        behind: Any = 0.0
        for mode in modes:
            exposure = exposures[mode]
            gradient = self._detector.adjoint(exposure, exposure.wave * pull, values, batch, total.corrections)
            behind = behind + self._specimen.adjoint(mode, values, prepared, passages[mode], gradient, place)
        if probe_gradient or self._refines_light(total.corrections):
            of_probe = self._illumination.adjoint(light, behind, batch, values, total.corrections)
            if probe_gradient:
                self._illumination.add_to_probe(of_probe, batch, values.modes, total.probe)
        return loss

    def _refines_light(self, asked: Corrections) -> bool:
        before = self._model.tilts is not None and self._model.tilts.before and asked.tilts is not None
        return before or any(part is not None for part in (asked.shifts_px, asked.current, asked.aberrations_A))

    def _where(self, batch: Any) -> Any:
        return self._corners[batch][:, None, None] + self._offsets

    def _batches(self, chosen: IndexArray, planes: int) -> list[Any]:
        """Pattern numbers in portions whose waves fit the work memory."""
        bytes_each = planes * self._problem.window**2 * self._kit.complex.itemsize
        size = max(1, BATCH_BYTES.get(self.xp.__name__, BATCH_BYTES["numpy"]) // bytes_each)
        return [self.xp.asarray(chosen[i : i + size]) for i in range(0, len(chosen), size)]
