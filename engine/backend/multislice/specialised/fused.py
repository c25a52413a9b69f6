"""The GPU backend of every forward model but those of a band: the blocks of ``forward`` know the formulas, the fused
kernel the waves (``fused/general.cuh``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.data_terms import PIXEL_TERMS
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.fused.order import SCRATCH_SHARE, KernelOrder
from ptylive.engine.backend.multislice.fused.plan import Plan
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
from ptylive.engine.backend.multislice.specialised.counting import compared_by_pixel
from ptylive.engine.backend.multislice.specialised.derivatives import Moments, add_moments, add_of_aperture
from ptylive.engine.backend.multislice.specialised.program import Program
from ptylive.engine.backend.repeated import Step
from ptylive.schema.model import IndexArray

WHOLE_WAY, TO_DETECTOR, FROM_DETECTOR = (np.int32(stage) for stage in range(3))
"""Stages of a launch (``kernel.cu``)."""
OWN_BYTES = 1 << 28
"""Of what the patterns of one launch have of their own."""


class _Task(NamedTuple):
    """One evaluation: parameters as the kernel reads them, and sums of gradients."""

    values: Values
    asked: Corrections
    objects: Any
    """(object modes * slices * Y * X, 2)."""
    probe: Any
    """(probes * modes, P * P, 2) over P, in the kernel's order."""
    propagators: Any
    """(slices - 1, P * P) over P^2, in the kernel's order."""
    background: Any
    components: Any
    """(components * modes that vary, P * P, 2), as the probe."""
    of_object: Any
    of_probe: Any
    of_components: Any
    of_background: Any


class _OfPatterns(NamedTuple):
    """The same of the patterns of a launch."""

    moments: Any
    aperture: Any
    light: Any
    """(N, 3) of all patterns: shifts and beam current."""


class SpecialisedFused(GeneralMultislice):
    """A :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` on a GPU, in single precision."""

    def __init__(self, problem: MultisliceProblem, plan: Plan, kernels: Kernels, name: str) -> None:
        super().__init__(problem, kernels.xp, "complex64", name)
        xp, size, model = self.xp, problem.window, self._model
        order = self._order = KernelOrder(xp, plan)
        self._kernels, self._kept_pixels, self._near = kernels, plan.kept_pixels, plan.near
        self._program = Program.of(self._specimen.steps)
        single = np.dtype(np.float32)
        self._blocks = Blocks(single, model, self._program, self._illumination, self._specimen, self._detector)
        self._compares = compared_by_pixel(model) and isinstance(problem.data_term.kind, DataTermKind)
        in_order = not self._near
        counts = problem.patterns if self._compares else np.zeros((1, size, size), np.uint8)
        weights = problem.weights if self._compares else np.zeros((size, size))
        self._counts = order.uploaded(counts, in_order=in_order)
        self._kernel_weights = (
            order.ordered(weights, single) if in_order else xp.asarray(weights.astype(single).ravel())
        )
        self._pattern_corners = xp.asarray(problem.corners.astype(np.int32, order="C"))
        phase, near, groups = problem.phase_per_A, model.near_field, model.aberrations
        self._kernel_phase = order.ordered(np.zeros((size, size)) if phase is None else phase, single)
        self._rates = None if groups is None else order.ordered(groups.phase_per_A, single)
        self._group = None if groups is None else xp.asarray(groups.group)
        self._known = 0 if groups is None else len(groups.phase_per_A)
        self._lens: Any = None
        if near is not None:
            lens = self._kit.phase_factor(self._detector.spherical_phase(near)) / size**2
            self._lens = order.moved(lens, np.complex64)
        marker = np.zeros(problem.count) if model.probe_marker is None else model.probe_marker
        self._marker = xp.asarray(marker.astype(np.int32))
        self._scratch: Any = xp.empty(0, np.complex64)

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
        """Give the scratch memory back."""
        self._scratch = self.xp.empty(0, np.complex64)
        super().close()

    def _task(self, object_planes: Any, probe_planes: Any, asked: Corrections, *, probe_gradient: bool) -> _Task:
        xp, order, size = self.xp, self._order, self._problem.window
        values = self._values(object_planes, probe_planes, asked)
        prepared = self._specimen.prepared(values, asked)
        planes = self._program.planes(prepared.powers, self._specimen.powers, self._kit.real, xp)
        spaces = [prepared.propagators[place] / size**2 for place in self._program.places]
        propagators = order.moved(xp.stack(spaces), np.complex64) if spaces else xp.empty((0, size**2), np.complex64)
        objects, probe = order.object_planes(planes), order.probe_planes(probe_planes)
        components = None if values.varied is None else order.probe_planes(asked.opr_components)
        background = None
        if self._compares and values.background is not None:
            flat = xp.asarray(values.background, dtype=np.float32).ravel()
            background = xp.ascontiguousarray(flat if self._near else flat[order.gather])
        return _Task(
            values,
            asked,
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

    def _portion(self, task: _Task) -> int:
        """How many patterns a launch takes."""
        size, model = self._problem.window, self._model
        own = 16 * size * (len(self._program.spaces) + 3) + (8 * size**2 if model.phase_plates is not None else 0)
        if self._compares:
            return max(1, OWN_BYTES // own)
        each = own + 8 * self._kept_each(task) + 24 * size**2  # intensities, and what becomes of them
        most = min(4 * OWN_BYTES, int(SCRATCH_SHARE * self._kernels.free_bytes()) + self._scratch.nbytes)
        return max(1, int(most) // each)

    def _kept_each(self, task: _Task) -> int:
        """Complex numbers that a block, or, in two stages, a pattern keeps (``kernel.cu``: place_scratch)."""
        pixels, slices = self._problem.window**2, len(self._program.slices)
        pairs = task.values.modes * len(task.values.objects)
        each = self._kept_pixels + pairs * slices * pixels + pairs * pixels + pixels // 2
        each += pairs * (slices - 1) * pixels if _asks_for_moments(task.asked) else 0
        return each + (pixels + pixels // 2 if _asks_for_aperture(task.asked) else 0)

    def _room(self, task: _Task, patterns: int) -> tuple[int, int]:
        """Blocks to start, and what :meth:`_kept_each` says."""
        each = self._kept_each(task)
        blocks = min(self._kernels.resident, patterns)
        wanted = blocks if self._compares else patterns
        if wanted * each > len(self._scratch):
            self._scratch = self.xp.empty(0, np.complex64)  # given back before more is asked for
            if self._compares:
                wanted = max(1, min(wanted, int(SCRATCH_SHARE * self._kernels.free_bytes()) // (8 * each)))
            self._scratch = self.xp.empty(wanted * each, np.complex64)
        return min(blocks, len(self._scratch) // each), each

    def _add(self, task: _Task, batch: Any, of_light: Any, total: Corrections) -> Any:
        """Loss of some patterns; their gradients are added to the sums of the task and to ``total``."""
        xp, values, count = self.xp, task.values, len(batch)
        rows = SPACES + len(self._program.spaces)
        moments = xp.zeros((count, rows, 3)) if _asks_for_moments(task.asked) else None
        aperture = xp.zeros((count, self._known + _components(values))) if _asks_for_aperture(task.asked) else None
        sums = _OfPatterns(moments, aperture, of_light)
        if self._compares:
            loss = self._launch(task, batch, sums, WHOLE_WAY, None).sum(dtype=np.float64)
        else:
            loss = self._compared(task, batch, sums, total)
        if moments is not None:
            places, spectra = moments[:, :, 1:], moments[:, SPACES:]
            found = Moments(places[:, ENTRY], places[:, EXIT], places[:, LENS], spectra)
            add_moments(self._blocks, found, values, batch, total)
        if aperture is not None:
            add_of_aperture(xp, self._group, self._known, aperture, batch, values, total)
        return loss

    def _compared(self, task: _Task, batch: Any, sums: _OfPatterns, total: Corrections) -> Any:
        """The loss where whole arrays compare: the kernel once to the detector, and once from there."""
        size, modes = self._problem.window, len(task.values.objects)
        intensities = self.xp.empty((len(batch), size**2), np.float32)
        self._launch(task, batch, sums, TO_DETECTOR, intensities)
        natural = intensities if self._near else intensities[:, self._order.restore]
        counts = self._detector.counts_of(natural.reshape(-1, size, size), task.values, batch)
        loss, derivative = self._comparison.compare(counts, batch)
        self._detector.add_of_counts(derivative, counts, task.values, total)
        pull = self._detector.derivative_of_waves(derivative, task.values, batch).reshape(len(batch), -1)
        pull = pull * np.float32(2 / modes if self._near else 2 / modes / size**2)
        intensities[...] = pull if self._near else pull[:, self._order.gather]
        self._launch(task, batch, sums, FROM_DETECTOR, intensities)
        return loss

    def _launch(self, task: _Task, batch: Any, sums: _OfPatterns, stage: np.int32, intensities: Any) -> Any:
        """The kernel on some patterns; their losses, where it compares."""
        xp, values, model, order = self.xp, task.values, self._model, self._order
        blocks, each = self._room(task, len(batch))
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
        counts = (self._known, _components(values), 0 if values.varied is None else model.varying_modes)
        own = [stage, intensities, *self._own(values, batch, task.components), *(np.int32(value) for value in counts)]
        of_own = [sums.moments, sums.aperture, task.of_components]
        given = [*patterns, None, current, *sizes, *parameters, *tables, *gradients, *own, *of_own]
        arguments = tuple(NOTHING if value is None else value for value in given)
        assert all(value.flags.c_contiguous for value in arguments)  # noqa: S101  (the kernel sees addresses only)
        self._kernels.launch("loss_and_gradient", blocks, arguments)
        return losses

    def _own(self, values: Values, batch: Any, components: Any) -> list[Any]:
        """What the patterns of a launch have of their own, as ``kernel.cu`` takes it."""
        xp, count, blocks = self.xp, len(batch), self._blocks
        aberrations = varied = None
        if self._group is not None:
            aberrations = xp.ascontiguousarray(values.aberrations_A[self._group[batch]], dtype=np.float32)
        if values.varied is not None:
            varied = xp.ascontiguousarray(values.varied.coefficients[batch], dtype=np.float32)
        near = self._model.near_field is not None
        return [
            self._marker[batch] * np.int32(values.modes),
            self._unit(blocks.illumination.tilt_phases(values, batch), count),
            self._unit(blocks.detector.exit_phases(values, batch), count),
            self._spaces(values, batch),
            self._unit(blocks.detector.lens_phases(values, batch)[:, :, self._order.along], count) if near else None,
            self._lens,
            aberrations,
            self._rates,
            self._plates(batch),
            varied,
            components,
        ]

    def _spaces(self, values: Values, batch: Any) -> Any:
        """(n, spaces, 2, P): spaces of one length share what is reckoned; None where all have the same."""
        made: dict[Any, Any] = {}
        for step in self._program.spaces:
            if step.shares not in made:
                phases = self._specimen.own_space(step, values, batch)
                if phases is None:
                    return None
                made[step.shares] = self._unit(phases[:, :, self._order.along], len(batch))
        if not made:
            return None
        return self.xp.stack([made[step.shares] for step in self._program.spaces], axis=1)

    def _plates(self, batch: Any) -> Any:
        if self._model.phase_plates is None:
            return None
        where = batch.get() if hasattr(batch, "get") else batch
        return self._order.ordered(np.asarray(self._model.phase_plates[where]), np.complex64)

    def _unit(self, phases: Any, count: int) -> Any:
        """exp(i phase) of phases (count or 1, 2, P), for each pattern; None where there are none."""
        if phases is None:
            return None
        made = self._kit.phase_factor(phases)
        return self.xp.ascontiguousarray(made if len(made) == count else self.xp.repeat(made, count, axis=0))

    def _result(self, task: _Task, loss: Any, of_light: Any, total: Corrections) -> LossGradient:
        """Sums as the interface has them."""
        xp, order, size = self.xp, self._order, self._problem.window
        slices, rows, columns = self._problem.object_shape
        of_object = task.of_object.T.reshape(2, -1, rows * columns)
        powers = self._program.gradient(of_object, self._specimen.powers, slices, xp)
        planes = self._specimen.object_gradient(task.values, powers).reshape(2, -1, rows, columns)
        probe = xp.zeros((2, *task.values.probe.shape), np.float32)
        if task.of_probe is not None:
            probe[...] = order.natural_planes(task.of_probe).reshape(probe.shape)
        if total.opr_components is not None and task.of_components is not None:
            total.opr_components[...] = order.natural_planes(task.of_components).reshape(total.opr_components.shape)
        if total.background is not None and task.of_background is not None:
            flat = task.of_background if self._near else task.of_background[order.restore]
            total.background[...] = flat.reshape(size, size)
        if total.shifts_px is not None:
            total.shifts_px[...] = of_light[:, :2]
        if total.current is not None:
            total.current[...] = of_light[:, 2]
        return LossGradient(loss, planes, probe, total)


def _components(values: Values) -> int:
    """By how many the probe varies."""
    return 0 if values.varied is None else int(values.varied.coefficients.shape[1])


def _asks_for_moments(asked: Corrections) -> bool:
    return any(part is not None for part in (asked.tilts, asked.distances_A, asked.stretch))


def _asks_for_aperture(asked: Corrections) -> bool:
    return asked.aberrations_A is not None or asked.opr_components is not None
