"""Through the specimen and back: transmission of slices, free space between them, tilted and band-limited on demand.

phi = O^p psi                       p: share of the slice in a split step; 1 in the plain one
psi = F^H (A H F phi)               H = exp(i d (-pi lam q^2 + 2 pi q . tan)),  A the band limit

With a band limit the windows of the object are filtered by A too, as PyPty does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.forward.arrays import ArrayKit
from ptylive.engine.backend.forward.description import ForwardModel, SplitStep
from ptylive.engine.backend.forward.split_step import Propagate, Transmit, program
from ptylive.engine.backend.forward.values import Sums, Values
from ptylive.engine.backend.multislice import Corrections
from ptylive.schema.model import DoubleArray


class Passage(NamedTuple):
    """The waves of a batch on their way through one object mode."""

    kept: tuple[Any, ...]
    """Of each step: the wave that entered it (transmission), or the spectrum behind it (free space)."""
    exit: Any
    """(n, modes, P, P)."""


class Specimen:
    """The slices of every object mode."""

    def __init__(self, kit: ArrayKit, model: ForwardModel, phase_per_A: DoubleArray, slices: int) -> None:
        self._kit, self._model = kit, model
        xp = kit.xp
        self._steps = program(model.split, slices, to_exit_face=model.near_field is not None)
        self._phase_per_A = xp.asarray(phase_per_A, dtype=np.float64)
        self._q = xp.asarray(np.fft.fftfreq(phase_per_A.shape[0], model.pixel_A))
        self._band = None if model.band is None else xp.asarray(model.band, dtype=kit.real)
        self._tilted = model.tilts is not None and model.tilts.inside

    @property
    def waves(self) -> int:
        """Planes kept for each pattern and mode."""
        return len(self._steps)

    def propagators(self, values: Values) -> tuple[Any, ...]:
        """H of each step of free space, untilted, (P, P); None for transmissions. Made once an evaluation."""
        made: list[Any] = []
        for step in self._steps:
            if isinstance(step, Transmit):
                made.append(None)
                continue
            factor = self._kit.phase_factor(self._phase_per_A * _length(step, values))
            made.append(factor if self._band is None else factor * self._band)
        return tuple(made)

    def forward(self, mode: int, values: Values, propagators: tuple[Any, ...], wave: Any, place: Place) -> Passage:
        """Through one object mode."""
        kit, kept = self._kit, []
        for step, propagator in zip(self._steps, propagators, strict=True):
            if isinstance(step, Transmit):
                kept.append(wave)
                wave = wave * self._window(values.objects[mode, step.slice], step, place)[:, None]
            else:
                spectrum = kit.fft(wave) * self._tilt(step, values, place, propagator)
                kept.append(spectrum)
                wave = kit.inverse(spectrum)
        return Passage(tuple(kept), wave)

    def adjoint(
        self, mode: int, values: Values, propagators: tuple[Any, ...], passage: Passage, gradient: Any, place: Place
    ) -> Any:
        """The gradient in front of the specimen; those of slices, tilts and distances are added to ``place.total``."""
        kit, total = self._kit, place.total
        for step, propagator, kept in zip(
            reversed(self._steps), reversed(propagators), reversed(passage.kept), strict=True
        ):
            if isinstance(step, Transmit):
                plane = values.objects[mode, step.slice]
                self._add_to_slice(mode, step, plane, (kept.conj() * gradient).sum(axis=1), place)
                gradient = gradient * self._window(plane, step, place).conj()[:, None]
            else:
                spectrum = kit.fft(gradient)
                self._add_free_space(step, (spectrum.conj() * kept).imag.sum(axis=1), values, place, total.corrections)
                gradient = kit.inverse(spectrum * self._tilt(step, values, place, propagator).conj())
        return gradient

    def _window(self, plane: Any, step: Transmit, place: Place) -> Any:
        """What a window sees of a slice, (n, P, P)."""
        window = plane[place.where]
        if step.power != 1:
            window = self._kit.xp.exp(step.power * self._kit.xp.log(window))
        return window if self._band is None else self._filtered(window)

    def _filtered(self, windows: Any) -> Any:
        return self._kit.inverse(self._kit.fft(windows) * self._band)

    def _add_to_slice(self, mode: int, step: Transmit, plane: Any, gradient: Any, place: Place) -> None:
        if self._band is not None:
            gradient = self._filtered(gradient)
        if step.power != 1:  # d O^p = p O^p / O dO
            window = plane[place.where]
            log = self._kit.xp.log(window)
            gradient = gradient * (step.power * self._kit.xp.exp((step.power - 1) * log)).conj()
        planes = place.total.objects[:, mode, step.slice]
        self._kit.xp.add.at(planes[0], place.where.ravel(), gradient.real.ravel())
        self._kit.xp.add.at(planes[1], place.where.ravel(), gradient.imag.ravel())

    def _tilt(self, step: Propagate, values: Values, place: Place, propagator: Any) -> Any:
        if not self._tilted:
            return propagator
        slope = 2 * np.pi * _length(step, values) * values.tilts_of(place.batch)[:, 2:4]
        return propagator * self._kit.plane_ramp(slope, self._q)

    def _add_free_space(self, step: Propagate, turning: Any, values: Values, place: Place, total: Corrections) -> None:
        """D psi / d length = i (phase_per_A + 2 pi q . tan) psi and d psi / d tan = 2 pi i length q psi."""
        kit = self._kit
        if total.tilts is None and total.distances_A is None:
            return
        by_q = 2 * np.pi * kit.moments(turning, self._q)
        if total.tilts is not None and self._tilted:
            values.add_tilts(total.tilts, place.batch, slice(2, 4), -_length(step, values) * by_q)
        if total.distances_A is not None:
            slope = float((turning * self._phase_per_A).sum(dtype=np.float64))
            if self._tilted:
                slope += float((by_q * values.tilts_of(place.batch)[:, 2:4]).sum())
            for z, share in step.shares:
                total.distances_A[min(z, len(total.distances_A) - 1)] -= share * slope

    @property
    def takes_powers(self) -> bool:
        """Whether powers of the transmission are taken, so that phases of a slice must stay within pi."""
        return self._model.split is SplitStep.FOURTH_ORDER


class Place(NamedTuple):
    """Which patterns a batch holds, where they look, and where their gradients go."""

    batch: Any
    """(n,) pattern numbers."""
    where: Any
    """(n, P, P) flat object index of every pixel of the windows."""
    total: Sums


def _length(step: Propagate, values: Values) -> float:
    return sum(share * values.thickness_A[z] for z, share in step.shares)
