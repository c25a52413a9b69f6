"""The GPU backend for every forward model: the blocks of ``forward`` have the formulas, the fused kernel the waves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.data_terms import PIXEL_TERMS
from ptylive.engine.backend.multislice.forward.comparison import Comparison, comparison
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.forward.specimen import SpecimenArrays
from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.fused.order import SCRATCH_SHARE, KernelOrder
from ptylive.engine.backend.multislice.fused.plan import PLAIN, Feature, Plan
from ptylive.engine.backend.multislice.fused_backend import NOTHING, Kernels
from ptylive.engine.backend.multislice.kernel_parts.arguments import ENTRY, EXIT, LENS, SPACES
from ptylive.engine.backend.multislice.problem import (
    HELD,
    Corrections,
    DataTermKind,
    LossGradient,
    MultisliceProblem,
)
from ptylive.engine.backend.multislice.specialised.batch import Blocks
from ptylive.engine.backend.multislice.specialised.derivatives import Moments, add_moments, add_of_aperture
from ptylive.engine.backend.multislice.specialised.features import IN_STAGES, compares_in_kernel
from ptylive.engine.backend.multislice.specialised.pattern_arguments import (
    PatternArguments,
    PatternArgumentsFactory,
    in_order,
)
from ptylive.engine.backend.multislice.specialised.program import Program
from ptylive.engine.backend.repeated import Step
from ptylive.schema.model import IndexArray

OWN_BYTES = 1 << 28
"""Memory for the pattern-specific arrays of one launch."""
KernelsFor = Callable[[Plan], Kernels]


class _Task(NamedTuple):
    """One evaluation: parameters in the kernel's layout, and sums of gradients."""

    values: Values
    requested: Corrections
    objects: Any
    """(object modes * slices * Y * X, 2)."""
    probe: Any
    """(probes * modes, P * P, 2) over P, in the kernel's order."""
    propagators: Any
    """(slices - 1, P * P) over P^2, in the kernel's order."""
    background: Any
    components: Any
    """(components * varying modes, P * P, 2), as the probe."""
    of_object: Any
    of_probe: Any
    of_components: Any
    of_background: Any


class _OfPatterns(NamedTuple):
    """Arguments and sums for the patterns of a launch, in either direction."""

    own: PatternArguments
    moments: Any
    aperture: Any
    light: Any
    """(N, 3) of all patterns: shifts and beam current."""


class SpecialisedFused(GeneralMultislice):
    """A :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` on a GPU, in single precision."""

    def __init__(self, problem: MultisliceProblem, plan: Plan, kernels_for: KernelsFor, name: str) -> None:
        """``plan.features`` as returned by :func:`features_of`; ``kernels_for`` compiles on first use."""
        self._plan, self._compiled = plan, cache(kernels_for)
        first_features = self._features(Feature.TO_DETECTOR) if plan.features & IN_STAGES else self._features()
        kernels = self._compiled(replace(plan, features=first_features))
        super().__init__(problem, kernels.xp, "complex64", name)
        xp, size, model = self.xp, problem.window, self._model
        order = self._order = KernelOrder(xp, plan)
        self._kernels, self._is_near_field = kernels, bool(plan.features & Feature.NEAR_FIELD)
        self._program = Program.of(self._specimen.steps)
        single = np.dtype(np.float32)
        self._blocks = Blocks(single, model, self._program, self._illumination, self._specimen, self._detector)
        self._compares = compares_in_kernel(problem)
        self._counts, self._kernel_weights = self._recorded()
        self._pattern_corners = xp.asarray(problem.corners.astype(np.int32, order="C"))
        phase = problem.phase_per_A
        self._kernel_phase = order.ordered(np.zeros((size, size)) if phase is None else phase, single)
        self._own = PatternArgumentsFactory(self._kit, problem, model, self._blocks, order, kernels.free_bytes)
        self._scratch: Any = xp.empty(0, np.complex64)
        self._fixed_propagators: Any = None  # used as long as no distance is refined

    def _recorded(self) -> tuple[Any, Any]:
        """Counts and weights in the order in which the kernel reads them; empty if it does not compare."""
        problem, order = self._problem, self._order
        if not self._compares:
            return self.xp.zeros(1, np.uint8), self.xp.zeros(1, np.float32)
        if not self._is_near_field:
            return order.uploaded(problem.patterns), order.ordered(problem.weights, np.float32)
        weights = self.xp.asarray(problem.weights.astype(np.float32).ravel())
        return order.uploaded(problem.patterns, in_order=False), weights

    @cached_property
    def _comparison_in_order(self) -> Comparison:
        """Comparison for planes in the kernel's order."""
        return comparison(self._kit, self._problem, in_order(self._model.compressed, self._plan.gather()))

    @property
    def _in_order(self) -> bool:
        """Whether intensities are compared in the kernel's order: only a few masks are then in natural order."""
        model = self._model
        natural_order = self._is_near_field or model.spread is not None or model.upsampling > 1
        return model.compressed is not None and not natural_order

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
        xp = self.xp
        chosen = xp.arange(self._problem.count) if indices is None else xp.asarray(indices)
        task = self._task(object_planes, probe_planes, corrections, probe_gradient=probe_gradient)
        double = {name: None if at is None else xp.zeros(at.shape) for name, at in vars(corrections).items()}
        total, loss = Corrections(**double), xp.zeros(())
        light = corrections.shifts_px is not None or corrections.current is not None
        of_light = xp.zeros((self._problem.count, 3), np.float32) if light else None
        portion = self._portion(task)
        for start in range(0, len(chosen), portion):
            loss = loss + self._add(task, chosen[start : start + portion], of_light, total)
        return self._result(task, loss, of_light, total)

    def record(self, step: Step, arrays: tuple[Any, ...]) -> Step:
        """See :class:`~ptylive.engine.backend.repeated.Recorder`."""
        return self._kernels.record(step, arrays, (self._scratch,))

    def close(self) -> None:
        """Release the scratch memory."""
        self._scratch = self.xp.empty(0, np.complex64)
        super().close()

    def _task(self, object_planes: Any, probe_planes: Any, requested: Corrections, *, probe_gradient: bool) -> _Task:
        xp, order, size = self.xp, self._order, self._problem.window
        values = self._values(object_planes, probe_planes, requested)
        planes, propagators = object_planes, None if requested.distances_A is not None else self._fixed_propagators
        if not self._passed_once or propagators is None:
            prepared = self._specimen.prepared(values, requested)
            propagators = self._in_kernel(prepared)
            self._fixed_propagators = propagators if requested.distances_A is None else self._fixed_propagators
            if not self._passed_once:
                planes = self._program.planes(prepared.powers, self._specimen.powers, self._kit.real, xp)
        objects, probe = order.object_planes(planes), order.probe_planes(probe_planes)
        components = None if values.varied is None else order.probe_planes(requested.opr_components)
        background = None
        if self._compares and values.background is not None:
            flat = xp.asarray(values.background, dtype=np.float32).ravel()
            background = xp.ascontiguousarray(flat if self._is_near_field else flat[order.gather])
        return _Task(
            values,
            requested,
            objects,
            probe,
            propagators,
            background,
            components,
            xp.zeros_like(objects),
            xp.zeros_like(probe) if probe_gradient else None,
            None if components is None else xp.zeros_like(components),
            None if background is None else xp.zeros(size**2),
        )

    @cached_property
    def _passed_once(self) -> bool:
        """Whether the kernel's slices are the object's: no split step takes powers of them, no vacuum is inserted."""
        return self._specimen.powers == (1.0,) and None not in self._program.slices

    def _in_kernel(self, prepared: SpecimenArrays) -> Any:
        """Propagators over P^2 in the kernel's order."""
        xp, pixels = self.xp, self._problem.window**2
        spaces = [prepared.propagators[place] / pixels for place in self._program.places]
        return self._order.moved(xp.stack(spaces), np.complex64) if spaces else xp.empty((0, pixels), np.complex64)

    def _portion(self, task: _Task) -> int:
        """Number of patterns per launch."""
        size, model = self._problem.window, self._model
        argument_bytes = 16 * size * (len(self._program.spaces) + 3) + (
            8 * size**2 if model.phase_plates is not None else 0
        )
        if self._compares:
            return max(1, OWN_BYTES // argument_bytes)
        # the last part: intensities and the arrays made from them
        pattern_bytes = argument_bytes + 8 * self._scratch_size(task) + 24 * size**2
        limit_bytes = min(16 * OWN_BYTES, int(SCRATCH_SHARE * self._kernels.free_bytes()) + self._scratch.nbytes)
        return max(1, int(limit_bytes) // pattern_bytes)

    def _scratch_size(self, task: _Task) -> int:
        """Complex numbers kept per block or, in two stages, per pattern (``kernel.cu``: place_scratch)."""
        pixels, slices = self._problem.window**2, len(self._program.slices)
        pairs = task.values.modes * len(task.values.objects)
        size = self._plan.kept_pixels + pairs * slices * pixels + pairs * pixels + pixels // 2
        size += pairs * (slices - 1) * pixels if _needs_moments(task.requested) else 0
        size += 2 * len(task.values.objects) * slices * pixels if self._model.band is not None else 0
        return size + (pixels + pixels // 2 if _needs_aperture(task.requested) else 0)

    def _allocate_scratch(self, task: _Task, kernels: Kernels, patterns: int) -> tuple[int, int]:
        """Number of blocks to start, and the result of :meth:`_scratch_size`."""
        size = self._scratch_size(task)
        blocks = min(kernels.resident, patterns)
        spaces = blocks if self._compares else patterns
        if spaces * size > len(self._scratch):
            self._scratch = self.xp.empty(0, np.complex64)  # freed before more is allocated
            if self._compares:
                spaces = max(1, min(spaces, int(SCRATCH_SHARE * self._kernels.free_bytes()) // (8 * size)))
            self._scratch = self.xp.empty(spaces * size, np.complex64)
        return min(blocks, len(self._scratch) // size), size

    def _add(self, task: _Task, batch: Any, of_light: Any, total: Corrections) -> Any:
        """Loss of some patterns; their gradients are added to the sums of the task and to ``total``."""
        xp, values, count = self.xp, task.values, len(batch)
        rows = SPACES + len(self._program.spaces)
        moments = xp.zeros((count, rows, 3)) if _needs_moments(task.requested) else None
        aperture = (
            xp.zeros((count, self._own.aberration_count + _components(values)))
            if _needs_aperture(task.requested)
            else None
        )
        sums = _OfPatterns(self._own.of(values, batch, task.components), moments, aperture, of_light)
        if self._compares:
            loss = self._launch(task, batch, sums).sum(dtype=np.float64)
        else:
            loss = self._compare_outside(task, batch, sums, total)
        if moments is not None:
            places, spectra = moments[:, :, 1:], moments[:, SPACES:]
            kernel_moments = Moments(places[:, ENTRY], places[:, EXIT], places[:, LENS], spectra)
            add_moments(self._blocks, kernel_moments, values, batch, total)
        if aperture is not None:
            add_of_aperture(xp, self._own.group, self._own.aberration_count, aperture, batch, values, total)
        return loss

    def _compare_outside(self, task: _Task, batch: Any, sums: _OfPatterns, total: Corrections) -> Any:
        """Loss compared on whole arrays: the kernel runs once to the detector, and once back from it."""
        size, modes = self._problem.window, len(task.values.objects)
        intensities = self.xp.empty((len(batch), size**2), np.float32)
        self._launch(task, batch, sums, Feature.TO_DETECTOR, intensities)
        in_place = self._is_near_field or self._in_order
        planes = intensities if in_place else intensities[:, self._order.restore]
        counts = self._detector.counts_of(planes.reshape(-1, size, size), task.values, batch)
        comparator = self._comparison_in_order if self._in_order else self._comparison
        loss, derivative = comparator.compare(counts, batch)
        self._detector.add_of_counts(derivative, counts, task.values, total)
        pull = self._detector.derivative_of_waves(derivative, task.values, batch).reshape(len(batch), -1)
        factor = np.float32(2 / modes if self._is_near_field else 2 / modes / size**2)
        self.xp.multiply(pull if in_place else pull[:, self._order.gather], factor, out=intensities)
        self._launch(task, batch, sums, Feature.FROM_DETECTOR, intensities)
        return loss

    def _features(self, stage: Feature = PLAIN) -> Feature:
        """Features of the model, and the stage that a launch computes."""
        return self._plan.features & ~IN_STAGES | stage

    def _launch(
        self, task: _Task, batch: Any, sums: _OfPatterns, stage: Feature = PLAIN, intensities: Any = None
    ) -> Any:
        """Launch the kernel on some patterns; return their losses, if it compares."""
        xp, values, model, order = self.xp, task.values, self._model, self._order
        kernels = self._compiled(replace(self._plan, features=self._features_now(sums, stage)))
        blocks, each = self._allocate_scratch(task, kernels, len(batch))
        losses = xp.empty(len(batch), np.float32)
        _, rows, columns = self._problem.object_shape
        term = self._problem.data_term
        number = PIXEL_TERMS[DataTermKind(str(term.kind))].number if self._compares else 0
        numbers = (len(self._program.slices), values.modes, len(values.objects), rows, columns, number)
        current = None if values.root_current is None else xp.ascontiguousarray(values.root_current, dtype=np.float32)
        shifts = xp.ascontiguousarray(values.shifts_px, dtype=np.float32)
        patterns = [np.int32(len(batch)), batch.astype(np.int32), self._counts, self._pattern_corners, shifts]
        sizes = [*(np.int32(value) for value in numbers), np.float32(term.offset)]
        parameters = [task.objects, task.probe, task.propagators, self._kernel_phase, self._kernel_weights]
        tables = [task.background, order.frequencies, order.roots, self._scratch, np.int64(each)]
        gradients = [losses, task.of_object, task.of_probe, sums.light, task.of_background, None]
        counts = (self._own.aberration_count, _components(values), 0 if values.varied is None else model.varying_modes)
        of_own = [*(np.int32(value) for value in counts), sums.moments, sums.aperture, task.of_components]
        optional_arguments = [
            *patterns,
            None,
            current,
            *sizes,
            *parameters,
            *tables,
            *gradients,
            intensities,
            *sums.own,
            *of_own,
        ]
        arguments = tuple(NOTHING if value is None else value for value in optional_arguments)
        assert all(value.flags.c_contiguous for value in arguments)  # noqa: S101  (the kernel sees addresses only)
        kernels.launch("loss_and_gradient", blocks, arguments)
        return losses

    def _features_now(self, sums: _OfPatterns, stage: Feature) -> Feature:
        """Features without absent ones, plus the refined ones; moments need data kept on the way to the detector."""
        features = self._features(stage)
        if sums.own.spaces is None:
            features &= ~Feature.OWN_SPACES
        if sums.own.components is None:
            features &= ~Feature.VARIED
        if sums.moments is not None:
            features |= Feature.MOMENTS
        if sums.aperture is not None and stage is not Feature.TO_DETECTOR:
            features |= Feature.OF_APERTURE
        return features

    def _result(self, task: _Task, loss: Any, of_light: Any, total: Corrections) -> LossGradient:
        """Sums in the form of the backend interface."""
        xp, order, size = self.xp, self._order, self._problem.window
        slices, rows, columns = self._problem.object_shape
        planes = task.of_object.T.reshape(2, -1, rows, columns)
        if not self._passed_once:
            flat = planes.reshape(2, -1, rows * columns)
            powers = self._program.gradient(flat, self._specimen.powers, slices, xp)
            planes = self._specimen.object_gradient(task.values, powers).reshape(2, -1, rows, columns)
        probe = xp.zeros((2, *task.values.probe.shape), np.float32)
        if task.of_probe is not None:
            probe[...] = order.natural_planes(task.of_probe).reshape(probe.shape)
        if total.opr_components is not None and task.of_components is not None:
            total.opr_components[...] = order.natural_planes(task.of_components).reshape(total.opr_components.shape)
        if total.background is not None and task.of_background is not None:
            flat = task.of_background if self._is_near_field else task.of_background[order.restore]
            total.background[...] = flat.reshape(size, size)
        if total.shifts_px is not None:
            total.shifts_px[...] = of_light[:, :2]
        if total.current is not None:
            total.current[...] = of_light[:, 2]
        return LossGradient(loss, planes, probe, total)


def _components(values: Values) -> int:
    """Number of components of the varying probe."""
    return 0 if values.varied is None else int(values.varied.coefficients.shape[1])


def _needs_moments(requested: Corrections) -> bool:
    return any(part is not None for part in (requested.tilts, requested.distances_A, requested.stretch))


def _needs_aperture(requested: Corrections) -> bool:
    return requested.aberrations_A is not None or requested.opr_components is not None
