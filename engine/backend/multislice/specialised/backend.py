"""The CPU backend for every forward model: the blocks of ``forward`` have the formulas, the compiled kernel the waves.

Phases, propagators, comparisons and derivatives come from the blocks of
:class:`~ptylive.engine.backend.multislice.forward.general.GeneralMultislice`; waves are computed by the kernel of
:class:`~ptylive.engine.backend.multislice.compiled_backend.CompiledMultislice`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.compiled_backend import (
    term_of,
    transposed_patterns,
    transposed_propagators,
)
from ptylive.engine.backend.multislice.compiled_kernel import (
    add_gradient,
    add_loss_and_gradient,
    add_loss_of_coefficients,
    fill_waves,
)
from ptylive.engine.backend.multislice.fast_sizes import is_fast
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.forward.specimen import SpecimenArrays
from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.kernel_parts.arguments import (
    ENTRY,
    EXIT,
    LENS,
    SPACES,
    Gradient,
    Model,
    Work,
)
from ptylive.engine.backend.multislice.kernel_parts.buffers import aligned, plane_shapes
from ptylive.engine.backend.multislice.kernel_parts.planes import laid_out, plane_size, unlaid, zeros_at_a_line
from ptylive.engine.backend.multislice.planes_fft import turn_of
from ptylive.engine.backend.multislice.problem import HELD, Corrections, LossGradient, MultisliceProblem
from ptylive.engine.backend.multislice.specialised.batch import Blocks, RecordedData
from ptylive.engine.backend.multislice.specialised.derivatives import Moments, add_moments, add_of_aperture
from ptylive.engine.backend.multislice.specialised.intensity_comparison import IntensityComparison, in_the_kernel
from ptylive.engine.backend.multislice.specialised.program import Program, space_is_of_rows_and_columns
from ptylive.engine.backend.multislice.specialised.projection import of_patterns, projection_of
from ptylive.engine.backend.multislice.window import window_of
from ptylive.engine.memory import expect_rows
from ptylive.schema.model import Array, IndexArray

WORK_BYTES = 4 << 20
"""Size of a batch's waves when the kernel does not do the comparison: one core's share of the last-level cache."""
SHARED = ("a", "b", "counts", "ramp", "pulled", "lens")
"""Buffers that a batch has only once, as they hold nothing between waves and gradient."""
MOST_PATTERNS = 64
"""Largest batch: enough patterns that calls cost nothing, few enough that their ramps stay in the cache."""


def is_possible(problem: MultisliceProblem) -> bool:
    """Whether the window has a fast size, and the varying free-space phase is a sum of a row and a column phase."""
    return is_fast(problem.window) and space_is_of_rows_and_columns(problem)


class _Task(NamedTuple):
    """One evaluation."""

    values: Values
    model: Model
    requested: Corrections
    probe_gradient: bool


class SpecialisedMultislice(GeneralMultislice):
    """A :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` for windows of a fast size."""

    def __init__(self, problem: MultisliceProblem, name: str, threads: int = 1) -> None:
        super().__init__(problem, np, problem.precision.complex.name, name, threads)
        model, size, real = self._model, problem.window, problem.precision.real
        self._real = real
        self._program = Program.of(self._specimen.steps)
        self._blocks = Blocks(real, model, self._program, self._illumination, self._specimen, self._detector)
        self._compiled_window = window_of(size, real.name, banded=model.band is not None)
        self._in_natural_order = model.near_field is not None
        self._own_probe = any(
            part is not None for part in (model.aberrations, model.phase_plates, model.varying_modes or None)
        )
        no_patterns = np.zeros((problem.count, 0), np.uint8)
        recorded, kind, weights = no_patterns, 0, np.zeros(0, real)
        self._term, self._counting = (0, 0.0, 0), None
        self._projection = projection_of(problem, model)
        if in_the_kernel(problem, model):
            natural = self._in_natural_order
            self._term = term_of(problem.data_term, real)
            patterns = np.swapaxes(problem.patterns, 1, 2) if natural else problem.patterns
            recorded, kind = transposed_patterns(patterns, real)
            weights = laid_out(problem.weights if natural else problem.weights.T, real)
        elif self._projection is None:
            self._counting = IntensityComparison(self._kit, problem, model)
        self._recorded = RecordedData(recorded, kind, weights, np.ascontiguousarray(problem.corners, dtype=np.int64))
        phase = problem.phase_per_A
        self._kernel_phase = laid_out((np.zeros((size, size)) if phase is None else np.asarray(phase)).T, real)
        self._frequencies = np.fft.fftfreq(size).astype(real)
        self._places = np.arange(size, dtype=real) - size // 2
        self._buffers: list[Work] = []

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
        expect_rows(self._recorded.patterns, chosen)
        values = self._values(object_planes, probe_planes, corrections)
        prepared = self._specimen.prepared(values, corrections)
        task = _Task(values, self._kernel_model(values, prepared, probe_planes), corrections, probe_gradient)
        if not self._buffers:
            self._buffers = [self._work(task) for _ in range(self._shares.count)]
        parts = self._shares.each(partial(self._share, task), chosen)
        loss, gradient, total = parts[0]
        for share_loss, of_share, corrected in parts[1:]:
            loss, total = loss + share_loss, total + corrected
            for name in ("slices", "probe", "components"):
                getattr(gradient, name)[...] += getattr(of_share, name)
        return self._result(task, loss, gradient, total)

    def _result(self, task: _Task, loss: Any, gradient: Gradient, total: Corrections) -> LossGradient:
        """Sums in the form of the backend interface."""
        slices, rows, columns = self._problem.object_shape
        powers = self._program.gradient(gradient.slices, self._specimen.powers, slices)
        planes = self._specimen.object_gradient(task.values, powers).reshape(2, -1, rows, columns)
        probe = np.zeros((2, *task.values.probe.shape), self._real)
        if task.probe_gradient:
            probe[...] = self._natural(gradient.probe)
        if total.opr_components is not None:
            total.opr_components[...] = self._natural(gradient.components)
        return LossGradient(loss, planes, probe, total)

    def _natural(self, planes: Array) -> Array:
        size = self._problem.window
        return np.swapaxes(unlaid(planes, size), 2, 3)

    def _kernel_model(self, values: Values, prepared: SpecimenArrays, probe_planes: Any) -> Model:
        """The parameters in the kernel's layout."""
        size, near_field, real = self._problem.window, self._model.near_field, self._real
        spaces = [prepared.propagators[place] for place in self._program.places]
        propagators = transposed_propagators(np.array(spaces).reshape(-1, size, size), size, real)
        background = zeros_at_a_line((plane_size(size, real),), real)
        if self._counting is None and values.background is not None:
            plane = np.asarray(values.background)
            background = laid_out(plane if self._in_natural_order else plane.T, real)
            background *= real.type(len(values.objects) * size**2)
        lens, rates = np.zeros((2, 0), real), np.zeros((0, 0), real)
        if near_field is not None:
            common = self._kit.phase_factor(self._detector.spherical_phase(near_field)).T / size
            lens = laid_out(np.stack([common.real, common.imag]), real)
        if self._model.aberrations is not None:
            rates = laid_out(np.swapaxes(self._model.aberrations.phase_per_A, 1, 2), real)
        components = np.zeros((2, 0, 0), real)
        if values.varied is not None:
            planes = values.varied.components.reshape(-1, size, size).swapaxes(1, 2)
            components = laid_out(np.stack([planes.real, planes.imag]), real)
        return Model(
            self._program.planes(prepared.powers, self._specimen.powers, real),
            self._problem.object_shape[2],
            laid_out(np.swapaxes(probe_planes, 2, 3), real),
            propagators,
            background,
            self._frequencies,
            self._kernel_phase,
            self._places,
            *self._filter(propagators),
            lens,
            rates,
            components,
            self._model.varying_modes if values.varied is not None else 0,
        )

    def _filter(self, propagators: Array) -> tuple[Array, Array, Array, int]:
        """The band, the filter and propagators with columns rotated, and how many columns of the filter are not 0."""
        band, size = self._model.band, self._problem.window
        if band is None:
            return np.zeros(0, self._real), np.zeros(0, self._real), np.zeros((2, 0, 0), self._real), 0
        turned = np.roll(band.T.astype(self._real), turn_of(size), axis=1)
        nonzero = np.flatnonzero(turned.any(axis=0))
        count = int(nonzero[-1]) + 1 if len(nonzero) else 0
        spaces = laid_out(np.roll(unlaid(propagators, size), turn_of(size), axis=-1), self._real)
        return laid_out(band.T, self._real), laid_out(turned / size**2, self._real), spaces, count

    def _work(self, task: _Task) -> Work:
        """Buffers of one thread; with an axis of patterns if several are kept between waves and gradient."""
        size, modes, slices = self._problem.window, task.values.modes, len(self._program.slices)
        pairs, plane = modes * len(task.values.objects), plane_size(size, self._real)
        windows = 0 if self._model.band is None else len(task.values.objects) * slices
        own = modes if self._own_probe else 0
        counts = 1
        if self._counting is not None:
            counts = max(
                1,
                min(
                    MOST_PATTERNS,
                    WORK_BYTES // (2 * self._real.itemsize * plane * (pairs * (slices + 1) + windows + own + 1)),
                ),
            )

        def allocated(name: str, *shape: int) -> Array:
            leading = () if self._counting is None else (1 if name in SHARED else counts,)
            return aligned((*leading, *shape), name, self._real)

        shapes = {
            **plane_shapes(size, slices, pairs, self._real),
            "windows": (windows, 2, plane),
            "pulled": (windows, 2, plane),
            "own": (own, 2, plane),
            "plate": (2, plane if own else 0),
            "lens": (2, plane if self._in_natural_order else 0),
        }
        return Work(**{name: allocated(name, *shape) for name, shape in shapes.items()})

    def _share(self, task: _Task, share: IndexArray, thread: int) -> tuple[Any, Gradient, Corrections]:
        """Loss and sums of some patterns, on one thread."""
        requested, work, values = task.requested, self._buffers[thread], task.values
        double = {name: None if value is None else np.zeros(value.shape) for name, value in vars(requested).items()}
        total, loss = Corrections(**double), 0.0
        size = MOST_PATTERNS if self._counting is None else len(work.waves)
        share_gradient = self._empty_gradient(task)
        for start in range(0, len(share), size):
            batch = share[start : start + size]
            gradient = share_gradient._replace(**self._pattern_gradients(task, len(batch)))
            patterns = self._blocks.patterns(values, batch, self._recorded)
            window, arguments = self._compiled_window, (patterns, task.model, gradient, work)
            if self._projection is not None:
                loss += add_loss_of_coefficients(window, of_patterns(self._projection, batch), *arguments)
            elif self._counting is None:
                loss += add_loss_and_gradient(window, self._term, *arguments)
            else:
                fill_waves(self._compiled_window, patterns, task.model, work)
                intensity = unlaid(work.intensity[: len(batch)], self._problem.window)
                batch_loss, pull = self._counting.compare(intensity, values, batch, total)
                factor = 2 / (len(values.objects) * self._problem.window**2)
                intensity[...] = factor * pull
                add_gradient(self._compiled_window, patterns, task.model, gradient, work)
                loss += batch_loss
            self._add_corrections(values, batch, gradient, total)
        if self._counting is None and total.background is not None:
            size = self._problem.window
            plane = unlaid(share_gradient.background, size) * (0.5 * size**2 * len(values.objects))
            total.background[...] += plane if self._in_natural_order else plane.T
        return loss, share_gradient, total

    def _empty_gradient(self, task: _Task) -> Gradient:
        """Zeros for the requested sums over patterns."""
        model, requested, plane = task.model, task.requested, plane_size(self._problem.window, self._real)
        background = self._counting is None and requested.background is not None
        return Gradient(
            np.zeros(model.slices.shape, self._real),
            zeros_at_a_line((2, model.probe.shape[1] if task.probe_gradient else 0, plane), self._real),
            np.zeros((0, 3)),
            np.zeros(plane if background else 0),
            np.zeros(0),
            components=np.zeros(model.components.shape, self._real),
        )

    def _pattern_gradients(self, task: _Task, count: int) -> dict[str, Any]:
        """Zeros for the requested gradients that each pattern has separately."""
        requested, model = task.requested, task.model
        light = requested.shifts_px is not None or requested.current is not None
        moments = any(part is not None for part in (requested.tilts, requested.distances_A, requested.stretch))
        aperture = requested.aberrations_A is not None or requested.opr_components is not None
        columns = len(model.rates) + (0 if task.values.varied is None else task.values.varied.coefficients.shape[1])
        return {
            "patterns": np.zeros((count if light else 0, 3)),
            "moments": np.zeros((count if moments else 0, SPACES + len(self._program.spaces), 3)),
            "aperture": np.zeros((count if aperture else 0, columns)),
        }

    def _add_corrections(self, values: Values, batch: IndexArray, gradient: Gradient, total: Corrections) -> None:
        """Turn the kernel's sums of each pattern into derivatives."""
        if total.shifts_px is not None:
            total.shifts_px[batch] += gradient.patterns[:, :2]
        if total.current is not None:
            total.current[batch] += gradient.patterns[:, 2]
        if len(gradient.aperture):
            groups = self._model.aberrations
            group, aberrations = (None, 0) if groups is None else (groups.group, len(groups.phase_per_A))
            add_of_aperture(np, group, aberrations, gradient.aperture, batch, values, total)
        if not len(gradient.moments):
            return
        moments = gradient.moments
        # planes are transposed, and the transforms on both sides of the product are not normalised
        spectra = moments[:, :, [0, 2, 1]] / self._problem.window**2
        sums = Moments(moments[:, ENTRY, 1:], moments[:, EXIT, 1:], spectra[:, LENS, 1:], spectra[:, SPACES:])
        add_moments(self._blocks, sums, values, batch, total)
