"""Through the specimen and back: transmission of slices, free space between them, with optional tilt and band limit.

phi = O^p psi                       p: share of the slice in a split step; 1 in the plain one
psi = F^H (A H F phi)               H = exp(i d (-pi lam q^2 + 2 pi q . tan)),  A the band limit

With a band limit the windows of the object are also filtered by A, as in PyPty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.description import ForwardModel
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.split_step import Propagate, Step, Transmit, program
from ptylive.engine.backend.multislice.forward.values import Sums, Values
from ptylive.engine.backend.multislice.problem import Corrections
from ptylive.schema.model import Array, DoubleArray

Kept = tuple[Any, ...]
"""Per step of a batch's path through one object mode: the wave entering a transmission, or the spectrum behind free
space (None if derivatives by it are not requested)."""


class SpecimenArrays(NamedTuple):
    """Arrays of the specimen that one evaluation needs for every batch."""

    propagators: tuple[Any, ...]
    """H of each step of free space, untilted, (P, P); None for transmissions."""
    powers: tuple[Any, ...]
    """(object modes, slices, Y * X) for each power used."""


class Specimen:
    """The slices of every object mode; ``propagators`` (slices - 1, P, P) of a plain model, from the problem."""

    def __init__(
        self,
        kit: ArrayKit,
        model: ForwardModel,
        phase_per_A: DoubleArray | None,
        window: int,
        slices: int,
        propagators: Array | None = None,
    ) -> None:
        self._kit, self._model = kit, model
        xp = kit.xp
        self._given_propagators: Any = None if propagators is None else xp.asarray(propagators, dtype=kit.complex)
        self._steps = program(model.split, slices, to_exit_face=model.near_field is not None)
        self.powers = tuple(sorted({step.power for step in self._steps if isinstance(step, Transmit)}))
        self._phase_per_A: Any = None if phase_per_A is None else xp.asarray(phase_per_A, dtype=np.float64)
        self._q = xp.asarray(np.fft.fftfreq(window, model.pixel_A))
        self._band = None if model.band is None else xp.asarray(model.band, dtype=kit.real)
        self._tilted = model.tilts is not None and model.tilts.inside

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that a wave passes, in order."""
        return self._steps

    def waves(self, requested: Corrections) -> int:
        """Planes kept per pattern and mode; free-space spectra only if derivatives by free space are ``requested``."""
        transmissions = sum(isinstance(step, Transmit) for step in self._steps)
        return len(self._steps) if _needs_free_space(requested) else transmissions

    def prepared(self, values: Values, requested: Corrections) -> SpecimenArrays:
        """Propagators and powers of the transmission, computed once per evaluation."""
        propagators: list[Any] = []
        for step in self._steps:
            if isinstance(step, Transmit):
                propagators.append(None)
                continue
            if self._given_propagators is not None and requested.distances_A is None:
                propagators.append(self._given_propagators[step.shares[0][0]])
                continue
            factor = self._kit.phase_factor(self._phase_per_A * _length(step, values))
            propagators.append(factor if self._band is None else factor * self._band)
        return SpecimenArrays(tuple(propagators), tuple(self._power(values.objects, power) for power in self.powers))

    def object_gradient(self, values: Values, sums: Any) -> Any:
        """(2, object modes, slices, Y * X) from the gradients by each power: d O^p = p O^(p - 1) dO."""
        xp, total = self._kit.xp, 0.0
        for power, gradient in zip(self.powers, sums, strict=True):
            if power == 1:
                total = total + gradient
                continue
            chained = (gradient[0] + 1j * gradient[1]) * (power * self._power(values.objects, power - 1)).conj()
            total = total + xp.stack([chained.real, chained.imag])
        return total

    def _power(self, objects: Any, power: float) -> Any:
        """O^p on the principal branch: phases of a slice must stay within pi."""
        return objects if power == 1 else self._kit.xp.exp(power * self._kit.xp.log(objects))

    def forward(self, mode: int, values: Values, prepared: SpecimenArrays, wave: Any, place: Place) -> tuple[Kept, Any]:
        """Pass one object mode: return the data needed for the way back, and the exit wave (n, modes, P, P)."""
        kit = self._kit
        kept: list[Any] = []
        for step, propagator in zip(self._steps, prepared.propagators, strict=True):
            if isinstance(step, Transmit):
                kept.append(wave)
                wave = wave * self._window(mode, step, prepared, place)[:, None]
            else:
                spectrum = kit.fft(wave) * self._tilt(step, values, place, propagator)
                kept.append(spectrum if _needs_free_space(place.total.corrections) else None)
                wave = kit.inverse(spectrum)
        return tuple(kept), wave

    def entering(self, kept: Kept) -> Iterator[tuple[int, float, Any]]:
        """From the result of :meth:`forward`: each slice, the share of it in that step, and the wave before it."""
        for step, wave in zip(self._steps, kept, strict=True):
            if isinstance(step, Transmit):
                yield step.slice, step.power, wave

    def adjoint(
        self, mode: int, values: Values, prepared: SpecimenArrays, stored: Kept, gradient: Any, place: Place
    ) -> Any:
        """Return the gradient in front of the specimen; add those of slices, tilts and distances to ``place.total``."""
        kit, total = self._kit, place.total
        for step, propagator, wave in zip(
            reversed(self._steps), reversed(prepared.propagators), reversed(stored), strict=True
        ):
            if isinstance(step, Transmit):
                self._add_to_slice(mode, step, (wave.conj() * gradient).sum(axis=1), place)
                gradient = gradient * self._window(mode, step, prepared, place).conj()[:, None]
            else:
                spectrum = kit.fft(gradient)
                if wave is not None:
                    turning = (spectrum.conj() * wave).imag.sum(axis=1)
                    self._add_free_space(step, turning, values, place, total.corrections)
                gradient = kit.inverse(spectrum * self._tilt(step, values, place, propagator).conj())
        return gradient

    def _window(self, mode: int, step: Transmit, prepared: SpecimenArrays, place: Place) -> Any:
        """A slice in the patterns' windows, (n, P, P)."""
        plane = prepared.powers[self.powers.index(step.power)][mode, step.slice]
        window = plane.reshape(1, len(self._q), -1) if place.where is None else plane[place.where]
        return window if self._band is None else self._filtered(window)

    def _filtered(self, windows: Any) -> Any:
        return self._kit.inverse(self._kit.fft(windows) * self._band)

    def _add_to_slice(self, mode: int, step: Transmit, gradient: Any, place: Place) -> None:
        if self._band is not None:
            gradient = self._filtered(gradient)
        planes = place.total.objects[self.powers.index(step.power)][:, mode, step.slice]
        if place.where is None:
            summed = gradient.sum(axis=0).ravel()
            planes[0] += summed.real
            planes[1] += summed.imag
            return
        self._kit.xp.add.at(planes[0], place.where.ravel(), gradient.real.ravel())
        self._kit.xp.add.at(planes[1], place.where.ravel(), gradient.imag.ravel())

    def _tilt(self, step: Propagate, values: Values, place: Place, propagator: Any) -> Any:
        if not self._tilted and values.stretch is None:
            return propagator
        length = _length(step, values)
        # slices of equal thickness share one ramp, and only one is kept in memory; the value of a length on a device
        # would have to be waited for
        key = length if isinstance(length, float) else step.shares
        if key not in place.ramps:
            place.ramps.clear()
            place.ramps[key] = propagator * self._pattern_factor(length, values, place.batch)
        return place.ramps[key]

    def _pattern_factor(self, length: Any, values: Values, batch: Any) -> Any:
        """(n or 1, 1, P, P) factor of each pattern's free space relative to the untilted one over a length."""
        factor: Any = None
        if self._tilted:
            rate = 2 * np.pi * values.longer(length, batch) * values.tilts_of(batch)[:, 2:4]
            factor = self._kit.plane_ramp(rate, self._q)
        if values.stretch is None:
            return factor
        extra_length = (length * values.stretch[batch])[:, None, None]
        stretched = self._kit.phase_factor(extra_length * self._phase_per_A)[:, None]
        return stretched if factor is None else factor * stretched

    def own_space(self, step: Propagate, values: Values, batch: Any) -> Any:
        """Phases (n or 1, 2, P) along rows and columns that make up :meth:`_pattern_factor`; None if there are none.

        For free space whose phase is the sum of a row phase and a column phase.
        """
        length, phases = _length(step, values), None
        if self._tilted:
            phases = (2 * np.pi * values.longer(length, batch) * values.tilts_of(batch)[:, 2:4])[:, :, None] * self._q
        if values.stretch is None:
            return phases
        offset = self._phase_per_A[0, 0] / 2
        axis_phases = self._kit.xp.stack([self._phase_per_A[:, 0] - offset, self._phase_per_A[0, :] - offset])
        stretch_phases = (length * values.stretch[batch])[:, None, None] * axis_phases
        return stretch_phases if phases is None else phases + stretch_phases

    def _add_free_space(self, step: Propagate, turning: Any, values: Values, place: Place, total: Corrections) -> None:
        by_q = self._kit.moments(turning, self._q) if self._tilted else None
        needed = total.distances_A is not None or total.stretch is not None
        by_phase = (turning * self._phase_per_A).sum(axis=(1, 2), dtype=np.float64) if needed else None
        self.add_free_space(step, (by_phase, by_q), values, place.batch, total)

    def add_free_space(
        self, step: Propagate, moments: tuple[Any, Any], values: Values, batch: Any, total: Corrections
    ) -> None:
        """D psi / d length = i (phase_per_A + 2 pi q . tan) psi and d psi / d tan = 2 pi i length q psi.

        moments: sums over pixels of Im(conj(gradient) psi) times phase_per_A (n,), and times q (n, 2).
        """
        by_q = 2 * np.pi * moments[1] if self._tilted else None
        if total.tilts is not None and by_q is not None:
            length = values.longer(_length(step, values), batch)
            values.add_tilts(total.tilts, batch, slice(2, 4), -length * by_q)
        if total.distances_A is None and total.stretch is None:
            return
        each = moments[0]
        if by_q is not None:
            each = each + (by_q * values.tilts_of(batch)[:, 2:4]).sum(axis=1)
        if total.stretch is not None:
            total.stretch[batch] -= _length(step, values) * each
        if total.distances_A is not None:
            derivative = (each if values.stretch is None else each * (1 + values.stretch[batch])).sum()
            for z, share in step.shares:
                total.distances_A[min(z, len(total.distances_A) - 1)] -= share * derivative


class Place(NamedTuple):
    """The patterns of a batch, their windows, and the sums of their gradients."""

    batch: Any
    """(n,) pattern numbers."""
    where: Any
    """(n, P, P) flat object index of every pixel of the windows; None if each window is the whole object."""
    total: Sums
    ramps: dict[Any, Any]
    """Tilted free space of this batch over the length used last."""


def _needs_free_space(requested: Corrections) -> bool:
    return requested.tilts is not None or requested.distances_A is not None or requested.stretch is not None


def _length(step: Propagate, values: Values) -> Any:
    return sum(share * values.thickness_A[z] for z, share in step.shares)
