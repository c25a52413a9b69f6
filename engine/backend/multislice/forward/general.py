"""Multislice on whole arrays: illumination, specimen, detector and comparison as blocks, each with its adjoint.

Supports everything in :class:`~ptylive.engine.backend.multislice.description.ForwardModel`, and the plain far field
without one, with numpy or cupy. In double precision its gradients agree with central differences, and it is the
reference for all other backends. In single precision it runs whatever no compiled or fused backend supports.
"""

from __future__ import annotations

from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.backend.device import on_host
from ptylive.engine.backend.multislice.data_terms import TINY_COUNTS
from ptylive.engine.backend.multislice.description import ForwardModel
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.comparison import Comparison, comparison
from ptylive.engine.backend.multislice.forward.detection import Detector, Exposure
from ptylive.engine.backend.multislice.forward.illumination import Illumination
from ptylive.engine.backend.multislice.forward.specimen import Kept, Place, Specimen, SpecimenArrays
from ptylive.engine.backend.multislice.forward.values import ProbeVariation, Sums, Values
from ptylive.engine.backend.multislice.problem import HELD, Corrections, LossGradient, MultisliceProblem
from ptylive.engine.backend.shares import Shares
from ptylive.schema.model import Array, IndexArray

BATCH_BYTES = {"numpy": 4 << 20, "cupy": 1 << 30}
"""Work memory of one batch: about the cache on a CPU, a comfortable share of the memory on a GPU."""


class GeneralMultislice:
    """:class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` for every forward model.

    Patterns are processed in batches; arrays are (pattern, mode, row, column). ``dtype``: complex64 or complex128.
    """

    def __init__(self, problem: MultisliceProblem, xp: ModuleType, dtype: str, name: str, threads: int = 1) -> None:
        if problem.model is not None and problem.phase_per_A is None:
            raise ValueError("a forward model needs problem.phase_per_A")
        self.name, self.xp = name, xp
        model, window, slices = problem.model or _plain(problem), problem.window, problem.object_shape[0]
        self._problem, self._model = problem, model
        self._kit = kit = ArrayKit(xp, np.dtype(dtype))
        self._illumination = Illumination(kit, model, window)
        propagators = problem.propagators if problem.model is None else None
        self._specimen = Specimen(kit, model, problem.phase_per_A, window, slices, propagators)
        self._detector = Detector(kit, model, window, problem.offsets_px)
        self._offsets = xp.asarray(np.arange(window)[:, None] * problem.object_shape[2] + np.arange(window))
        self._corners = xp.asarray(problem.corners @ np.array([problem.object_shape[2], 1]))
        self._covers_object = problem.object_shape[1:] == (window, window) and not problem.corners.any()
        self._shifts = xp.asarray(problem.shifts_px)
        current = problem.current
        self._root_current: Any = None if current is None else xp.asarray(np.sqrt(current), dtype=kit.real)
        tilts, groups = model.tilts, model.aberrations
        self._tilts: Any = None if tilts is None else xp.asarray(tilts.tangents, dtype=np.float64)
        self._aberrations_A: Any = None if groups is None else xp.asarray(groups.values_A, dtype=np.float64)
        self._shares = Shares(threads if xp is np else 1)

    @cached_property
    def _comparison(self) -> Comparison:
        """Created on first use: a backend whose kernel compares has the patterns in the kernel's order instead."""
        return comparison(self._kit, self._problem, self._model.compressed)

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

        def evaluate(part: IndexArray, _: int) -> LossGradient:
            return self._evaluate(values, part, corrections, probe_gradient=probe_gradient)

        parts = self._shares.each(evaluate, chosen)
        return sum(parts[1:], parts[0])

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None, shares: Any = None) -> Any:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`.

        ``shares`` (N,): factor of each pattern's illumination; None: 1.
        """
        xp = self.xp
        _, rows, columns = self._problem.object_shape
        vacuum = xp.ones((2, self._problem.object_shape[0], rows, columns), self._kit.real)
        values = self._values(vacuum, probe_planes, HELD)
        total = xp.zeros(rows * columns, self._kit.real)
        for batch in self._batches(np.arange(self._problem.count) if indices is None else indices, values.modes):
            pixels = self._pixel_indices(batch)
            light = self._illumination.power(values, batch)
            light = light if shares is None else light * shares[batch][:, None, None]
            xp.add.at(total, pixels.ravel(), xp.broadcast_to(light, pixels.shape).astype(self._kit.real).ravel())
        return total.reshape(rows, columns)

    def light_in_slices(self, object_planes: Any, probe_planes: Any, indices: IndexArray) -> Any:
        """Sum over the patterns ``indices`` and their modes of the intensity that enters each slice, (slices, Y, X).

        Computed at the sub-pixel positions, behind the preceding slices; the mean over several object modes.
        """
        xp, values = self.xp, self._values(object_planes, probe_planes, HELD)
        slices, rows, columns = self._problem.object_shape
        total, prepared = xp.zeros((slices, rows * columns), self._kit.real), self._specimen.prepared(values, HELD)
        for batch in self._batches(indices, self._specimen.waves(HELD) * values.modes):
            place, pixels = self._forward_place(batch), self._pixel_indices(batch).ravel()
            wave = self._illumination.forward(values, batch).wave
            for mode in range(len(values.objects)):
                stored, _ = self._specimen.forward(mode, values, prepared, wave, place)
                for number, share, entering in self._specimen.entering(stored):
                    light = share / len(values.objects) * (entering.real**2 + entering.imag**2).sum(axis=1)
                    xp.add.at(total[number], pixels, light.astype(self._kit.real).ravel())
        return total.reshape(slices, rows, columns)

    def expected_patterns(self, object_planes: Any, probe_planes: Any) -> Any:
        """Intensities (N, p, p) of the model at the problem's positions, frequency 0 at [0, 0]."""
        values, intensities = self._values(object_planes, probe_planes, HELD), []
        prepared = self._specimen.prepared(values, HELD)
        for batch in self._batches(np.arange(self._problem.count), values.modes * len(values.objects)):
            light = self._illumination.forward(values, batch)
            _, exposures = self._exposures(values, prepared, light.wave, self._forward_place(batch))
            intensities.append(self._detector.intensity(exposures, values, batch))
        return self.xp.concatenate(intensities)

    def waves(self, object_planes: Any, probe_planes: Any, indices: IndexArray) -> Any:
        """Waves (n, object modes, modes, P, P) of the patterns ``indices`` at the detector, frequency 0 at [0, 0]."""
        return self.corrected_waves(object_planes, probe_planes, indices, compare=False)[0]

    def corrected_waves(
        self, object_planes: Any, probe_planes: Any, indices: IndexArray, *, compare: bool = True
    ) -> tuple[Any, Any]:
        """The waves, and the change of each that the data suggest: -dL/dI times the wave; None without ``compare``.

        For lsq_sqrt with offset 0 the change brings every wave to the measured modulus.
        """
        xp, values = self.xp, self._values(object_planes, probe_planes, HELD)
        prepared, waves, changes = self._specimen.prepared(values, HELD), [], []
        for batch in self._batches(indices, 2 * values.modes * len(values.objects)):
            light = self._illumination.forward(values, batch)
            _, exposures = self._exposures(values, prepared, light.wave, self._forward_place(batch))
            wave = xp.stack([exposure.wave for exposure in exposures], axis=1)
            waves.append(wave)
            if compare:
                _, derivative = self._comparison.compare(self._detector.intensity(exposures, values, batch), batch)
                pull = self._detector.derivative_of_waves(derivative, values, batch)
                changes.append(-pull[:, None, None] * wave)
        return xp.concatenate(waves), xp.concatenate(changes) if compare else None

    def position_information(self, object_planes: Any, probe_planes: Any, indices: IndexArray) -> Any:
        """Fisher information of the positions of the patterns ``indices`` for a known object, (n, 2, 2) per pixel^2.

        sum_k w dI_k/dx_a dI_k/dx_b / (I_k + c): independent counting, I the model and c its offset. Far fields only.
        """
        if self._model.near_field is not None or self._model.upsampling > 1 or self._model.compressed is not None:
            raise ValueError("the information on positions is only available for patterns in the far field")
        xp, values, information = self.xp, self._values(object_planes, probe_planes, HELD), []
        prepared = self._specimen.prepared(values, HELD)
        weights = xp.asarray(self._problem.weights, dtype=self._kit.real)
        for batch in self._batches(indices, 3 * values.modes * len(values.objects)):
            place = self._forward_place(batch)
            light = self._illumination.forward(values, batch)
            _, waves = self._exposures(values, prepared, light.wave, place)
            derivatives = []
            for moved in self._illumination.moved(light, values, batch):
                _, turned = self._exposures(values, prepared, moved, place)
                changes = ((a.wave.conj() * b.wave).real.sum(axis=1) for a, b in zip(waves, turned, strict=True))
                derivatives.append(self._detector.counted(2 * sum(changes) / len(waves), values))
            intensity = self._detector.intensity(waves, values, batch)
            weight = weights / (intensity + (self._problem.data_term.offset + TINY_COUNTS))
            jacobian = xp.stack(derivatives, axis=1)
            information.append(xp.einsum("naij,nbij,nij->nab", jacobian, jacobian, weight))
        return xp.concatenate(information)

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        return on_host(array)

    def close(self) -> None:
        """Stop the threads."""
        self._shares.close()

    def _values(self, object_planes: Any, probe_planes: Any, corrections: Corrections) -> Values:
        xp, model, kit = self.xp, self._model, self._kit
        slices, rows, columns = self._problem.object_shape
        thickness = model.thickness_A
        if corrections.distances_A is not None:
            distances = xp.asarray(corrections.distances_A, dtype=np.float64)
            thickness = (*distances, distances[-1] if len(distances) else thickness[-1])
        tilts = self._tilts if corrections.tilts is None else corrections.tilts
        added = self._aberrations_A if corrections.aberrations_A is None else corrections.aberrations_A
        current, root_current = corrections.current, self._root_current
        objects = (object_planes[0] + 1j * object_planes[1]).astype(kit.complex)
        return Values(
            objects=objects.reshape(-1, slices, rows * columns),
            probe=(probe_planes[0] + 1j * probe_planes[1]).astype(kit.complex),
            modes=probe_planes.shape[1] // model.probes,
            thickness_A=thickness,
            shifts_px=self._shifts if corrections.shifts_px is None else xp.asarray(corrections.shifts_px),
            root_current=root_current if current is None else xp.sqrt(xp.asarray(current, kit.real)),
            background=corrections.background,
            tilts=None if tilts is None else xp.asarray(tilts, dtype=np.float64),
            aberrations_A=None if added is None else xp.asarray(added, dtype=np.float64),
            spread_px2=self._spread_px2(corrections),
            varied=self._varied(corrections),
            stretch=None if corrections.stretch is None else xp.asarray(corrections.stretch, dtype=np.float64),
        )

    def _varied(self, corrections: Corrections) -> ProbeVariation | None:
        planes, modes = corrections.opr_components, self._model.varying_modes
        if planes is None or not modes:
            return None
        components = (planes[0] + 1j * planes[1]).astype(self._kit.complex)
        coefficients = self.xp.asarray(corrections.opr_coefficients, dtype=self._kit.real)
        return ProbeVariation(components.reshape(-1, modes, *components.shape[1:]), coefficients)

    def _spread_px2(self, corrections: Corrections) -> Any:
        if corrections.spread_px2 is not None:
            return self.xp.asarray(corrections.spread_px2, dtype=np.float64)[0]
        return None if self._model.spread is None else self._model.spread.variance_px2

    def _evaluate(
        self, values: Values, chosen: IndexArray, corrections: Corrections, *, probe_gradient: bool
    ) -> LossGradient:
        """Loss and gradient of some patterns, on one thread."""
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
        prepared = self._specimen.prepared(values, corrections)
        planes = values.modes * len(values.objects) * (self._specimen.waves(corrections) + 3)
        loss = sum(
            self._add_batch(
                values, prepared, Place(batch, self._window_of(batch), total, {}), probe_gradient=probe_gradient
            )
            for batch in self._batches(chosen, planes)
        )
        slices = self._specimen.object_gradient(values, total.objects)
        slices = slices.reshape(2, -1, *self._problem.object_shape[1:])
        return LossGradient(loss, slices, xp.stack([total.probe.real, total.probe.imag]), total.corrections)

    def _add_batch(self, values: Values, prepared: SpecimenArrays, place: Place, *, probe_gradient: bool) -> Any:
        """Return the loss of a batch and add its gradient to ``place.total``."""
        batch, total = place.batch, place.total
        light = self._illumination.forward(values, batch)
        stored, exposures = self._exposures(values, prepared, light.wave, place)
        intensity = self._detector.intensity(exposures, values, batch)
        loss, derivative = self._comparison.compare(intensity, batch)
        self._detector.add_of_counts(derivative, intensity, values, total.corrections)
        pull = (2 / len(exposures) * self._detector.derivative_of_waves(derivative, values, batch))[:, None]
        behind: Any = None
        for mode, exposure in enumerate(exposures):
            gradient = self._detector.adjoint(exposure, exposure.wave * pull, values, batch, total.corrections)
            gradient = self._specimen.adjoint(mode, values, prepared, stored[mode], gradient, place)
            behind = gradient if behind is None else behind + gradient
        if probe_gradient or self._refines_light(total.corrections):
            of_probe = self._illumination.adjoint(light, behind, batch, values, total.corrections)
            if probe_gradient:
                self._illumination.add_to_probe(of_probe, batch, values.modes, total.probe)
        return loss

    def _forward_place(self, batch: Any) -> Place:
        """Place of a batch for which only waves are needed."""
        return Place(batch, self._window_of(batch), Sums(None, None, HELD), {})

    def _exposures(
        self, values: Values, prepared: SpecimenArrays, wave: Any, place: Place
    ) -> tuple[list[Kept], list[Exposure]]:
        """For each object mode: the data kept on the way from the probe, and the waves at the detector.

        Nothing else stays in memory: fresh memory pages cost as much as the arithmetic.
        """
        stored, exposures = [], []
        for mode in range(len(values.objects)):
            mode_waves, exit_wave = self._specimen.forward(mode, values, prepared, wave, place)
            stored.append(mode_waves)
            exposures.append(self._detector.forward(exit_wave, values, place.batch))
        return stored, exposures

    def _refines_light(self, requested: Corrections) -> bool:
        entrance_tilts = self._model.tilts is not None and self._model.tilts.before and requested.tilts is not None
        return entrance_tilts or any(
            part is not None
            for part in (requested.shifts_px, requested.current, requested.aberrations_A, requested.opr_components)
        )

    def _pixel_indices(self, batch: Any) -> Any:
        return self._corners[batch][:, None, None] + self._offsets

    def _window_of(self, batch: Any) -> Any:
        """See :class:`Place`: if all patterns have the same window, no index is needed."""
        return None if self._covers_object else self._pixel_indices(batch)

    def _batches(self, chosen: IndexArray, planes: int) -> list[Any]:
        """Split pattern numbers into batches whose waves fit the work memory."""
        bytes_each = planes * self._problem.window**2 * self._kit.complex.itemsize
        size = max(1, BATCH_BYTES.get(self.xp.__name__, BATCH_BYTES["numpy"]) // bytes_each)
        return [self.xp.asarray(chosen[i : i + size]) for i in range(0, len(chosen), size)]


def _plain(problem: MultisliceProblem) -> ForwardModel:
    """The plain far field. Lengths are in the propagators, so pixel and wavelength are not used."""
    return ForwardModel(pixel_A=1.0, wavelength_A=1.0, thickness_A=(0.0,) * problem.object_shape[0])
