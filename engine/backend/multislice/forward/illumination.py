"""From the refined probe to the wave entering the specimen, and back.

psi = tilt_n(r) F^H (probe_n * sqrt(current_n) * plate_n * exp(-i chi_g(n)) * ramp_n)

probe_n is one of several probes, or one whose first modes vary over the scan, P + sum_j c_nj V_j.

ramp_n moves the probe by the sub-pixel remainder of position n, plate_n is a phase plate, chi_g the aberrations of the
group, tilt_n(r) = exp(2 pi i r . tan / lam) tilts the beam, which shifts the aperture.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.description import ForwardModel
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.values import ProbeVariation, Values
from ptylive.engine.backend.multislice.problem import Corrections


class Light(NamedTuple):
    """The illumination of a batch."""

    wave: Any
    """(n, modes, P, P) real space."""
    factor: Any
    """(n, 1, P, P) factor on the probe."""
    tilt: Any
    """(n or 1, 1, P, P), or None."""


class Illumination:
    """The block in front of the specimen."""

    def __init__(self, kit: ArrayKit, model: ForwardModel, window: int) -> None:
        self._kit, self._model = kit, model
        xp = kit.xp
        self._frequencies = xp.asarray(np.fft.fftfreq(window))
        self._turn_per_px = 2 * np.pi / model.wavelength_A * model.pixel_A * xp.asarray(np.arange(window) - window // 2)
        groups = model.aberrations
        self._rates = None if groups is None else xp.asarray(groups.phase_per_A, dtype=np.float64)
        self._group = None if groups is None else xp.asarray(groups.group)
        self._marker = None if model.probe_marker is None else xp.asarray(model.probe_marker)

    def forward(self, values: Values, batch: Any) -> Light:
        """Return the wave entering the specimen."""
        kit = self._kit
        factor = self._factor(values, batch)
        wave, tilt = kit.inverse(self._probes(values, batch) * factor), None
        if self._model.tilts is not None and self._model.tilts.before:
            tilt = kit.plane_ramp(values.tilts_of(batch)[:, 0:2], self._turn_per_px)
            wave = wave * tilt
        return Light(wave, factor, tilt)

    def tilt_phases(self, values: Values, batch: Any) -> Any:
        """(n or 1, 2, P) phase of the tilt along rows and columns of real space; None if the beam is not tilted."""
        if self._model.tilts is None or not self._model.tilts.before:
            return None
        return values.tilts_of(batch)[:, 0:2, None] * self._turn_per_px

    def moved(self, light: Light, values: Values, batch: Any) -> tuple[Any, Any]:
        """Derivatives of the wave by the position along rows and columns, per object pixel."""
        kit, derivatives = self._kit, []
        spectrum = self._probes(values, batch) * light.factor
        for frequency in (self._frequencies[:, None], self._frequencies[None, :]):
            wave = kit.inverse(spectrum * (-2j * np.pi * frequency).astype(kit.complex))
            derivatives.append(wave if light.tilt is None else wave * light.tilt)
        return derivatives[0], derivatives[1]

    def power(self, values: Values, batch: Any) -> Any:
        """|psi|^2 summed over modes, (n or 1, P, P), without the sub-pixel shift to the positions."""
        plates = self._plates(values, batch)
        probes = self._probes(values, batch)
        wave = self._kit.inverse(probes if plates is None else probes * plates)
        return (wave.real**2 + wave.imag**2).sum(axis=1)

    def adjoint(self, light: Light, gradient: Any, batch: Any, values: Values, total: Corrections) -> Any:
        """dL/d(probe), (n, modes, P, P) of the probes used, from the gradient behind the block."""
        kit = self._kit
        if light.tilt is not None:
            if total.tilts is not None:
                turning = (gradient.conj() * light.wave).imag.sum(axis=1)
                values.add_tilts(total.tilts, batch, slice(0, 2), -kit.moments(turning, self._turn_per_px))
            gradient = gradient * light.tilt.conj()
        spectrum = kit.fft(gradient)
        if any(part is not None for part in (total.shifts_px, total.current, total.aberrations_A)):
            entered = self._probes(values, batch) * light.factor
            self._add_per_pattern((spectrum.conj() * entered).sum(axis=1), batch, values, total)
        of_probe = light.factor.conj() * spectrum
        if values.varied is not None and total.opr_components is not None:
            self._add_variation(of_probe, values.varied, batch, total)
        return of_probe

    def _add_variation(self, of_probe: Any, varied: ProbeVariation, batch: Any, total: Corrections) -> None:
        """Add dL/d(probe) of each pattern to the gradients by components and coefficients."""
        coefficients, gradient = varied.coefficients[batch], of_probe[:, : self._model.varying_modes]
        flat, components = gradient.reshape(len(gradient), -1), varied.components.reshape(len(varied.components), -1)
        total.opr_coefficients[batch] += (flat.conj() @ components.T).real
        by_component = (coefficients.T.astype(flat.dtype) @ flat).reshape(-1, *gradient.shape[2:])
        total.opr_components[0] += by_component.real
        total.opr_components[1] += by_component.imag

    def add_to_probe(self, gradient: Any, batch: Any, modes: int, total: Any) -> None:
        """Add gradients (n, modes, P, P) to those of the patterns' probes, (probes * modes, P, P)."""
        if self._marker is None:
            total += gradient.sum(axis=0)
            return
        marker = self._marker[batch]
        probes = total.reshape(-1, modes, *total.shape[1:])
        for probe in range(len(probes)):
            selected = marker == probe
            if bool(selected.any()):
                probes[probe] += gradient[selected].sum(axis=0)

    def _probes(self, values: Values, batch: Any) -> Any:
        """(n or 1, modes, P, P) probe of each pattern."""
        if values.varied is not None:
            return self._varied(values.probe, values.varied, batch)
        if self._marker is None:
            return values.probe[None]
        return values.probe.reshape(-1, values.modes, *values.probe.shape[1:])[self._marker[batch]]

    def _varied(self, probe: Any, varied: ProbeVariation, batch: Any) -> Any:
        """(n, modes, P, P): P + sum_j c_nj V_j in the varying modes."""
        xp, modes = self._kit.xp, self._model.varying_modes
        probes = xp.repeat(probe[None], len(batch), axis=0)
        probes[:, :modes] += xp.tensordot(varied.coefficients[batch].astype(probe.dtype), varied.components, 1)
        return probes

    def _factor(self, values: Values, batch: Any) -> Any:
        kit = self._kit
        factor = kit.plane_ramp(-2 * np.pi * values.shifts_px[batch], self._frequencies)
        if values.root_current is not None:
            factor = factor * values.root_current[batch][:, None, None, None]
        plates = self._plates(values, batch)
        return factor if plates is None else factor * plates

    def _plates(self, values: Values, batch: Any) -> Any:
        """(n, 1, P, P) factor in the aperture plane, apart from the probe; None if there is none."""
        kit, xp, factor = self._kit, self._kit.xp, None
        if self._model.phase_plates is not None:
            indices = batch.get() if hasattr(batch, "get") else batch
            factor = xp.asarray(self._model.phase_plates[indices], dtype=kit.complex)[:, None]
        if values.aberrations_A is not None and self._rates is not None and self._group is not None:
            # for the groups or, if there are fewer of them, for the patterns, as when each pattern is its own group
            group, per_pattern = self._group[batch], len(batch) < len(values.aberrations_A)
            coefficients = values.aberrations_A[group] if per_pattern else values.aberrations_A
            turned = kit.phase_factor(-xp.tensordot(coefficients, self._rates, 1))
            turned = (turned if per_pattern else turned[group])[:, None]
            factor = turned if factor is None else factor * turned
        return factor

    def _add_per_pattern(self, overlap: Any, batch: Any, values: Values, total: Corrections) -> None:
        """Add derivatives: factors are diagonal in the aperture plane, so each is a sum over conj(gradient) * wave."""
        xp = self._kit.xp
        if total.shifts_px is not None:
            total.shifts_px[batch] += 2 * np.pi * self._kit.moments(overlap.imag, self._frequencies)
        if total.current is not None and values.root_current is not None:
            total.current[batch] += 0.5 * overlap.real.sum(axis=(1, 2)) / values.root_current[batch] ** 2
        if total.aberrations_A is not None and self._rates is not None and self._group is not None:
            derivatives = xp.tensordot(overlap.imag.astype(np.float64), self._rates, ((1, 2), (1, 2)))
            xp.add.at(total.aberrations_A, self._group[batch], derivatives)
