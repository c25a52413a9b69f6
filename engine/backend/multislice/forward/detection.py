"""From the exit wave to the detector's counts, and back.

far field    I = sum over modes |A F (tilt turn psi)|^2          tilt = exp(2 pi i r . tan / lam) shifts the pattern
near field   I = E sum over modes |F^H (A L F (tilt psi))|^2     L the lens, E the blur by incident angles

turn = exp(2 pi i x . offset / P) is a known, constant shift of each pattern (descan).

Several object modes are averaged. Upsampled models are binned to the detector's pixels, counts are spread over
neighbouring pixels (``point_spread``), and a background is added.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.description import ForwardModel, NearField
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.point_spread import PointSpreadBlock
from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.problem import Corrections
from ptylive.schema.model import DoubleArray


class Exposure(NamedTuple):
    """The waves of one object mode at the detector."""

    wave: Any
    """(n, modes, P, P)."""
    exit: Any
    """(n, modes, P, P) behind the tilt; None if there is no tilt."""
    tilt: Any
    lens: Any


class Detector:
    """The block behind the specimen."""

    def __init__(self, kit: ArrayKit, model: ForwardModel, size: int, offsets_px: DoubleArray | None = None) -> None:
        """``size``: side length of the window in pixels; ``offsets_px`` (N, 2) of the patterns of a far field."""
        self._kit, self._model = kit, model
        xp = kit.xp
        q = np.fft.fftfreq(size, model.pixel_A)
        q_squared = q[:, None] ** 2 + q[None, :] ** 2
        self._q = xp.asarray(q)
        self._q_squared = xp.asarray(q_squared)
        self._turn_per_px = 2 * np.pi / model.wavelength_A * model.pixel_A * xp.asarray(np.arange(size) - size // 2)
        self._band = None if model.band is None else xp.asarray(model.band, dtype=kit.real)
        self._offsets: Any = None if offsets_px is None else xp.asarray(offsets_px, dtype=np.float64)
        self._turn_per_offset = 2 * np.pi / size * xp.arange(size)
        near_field, spread = model.near_field, model.spread
        self._defocus: Any = None if near_field is None else xp.asarray(near_field.defocus_A)
        self._spread = None if spread is None else PointSpreadBlock(kit, spread, size // model.upsampling)

    def forward(self, exit_wave: Any, values: Values, batch: Any) -> Exposure:
        """Return the waves in the plane of the detector."""
        kit, tilts, tilt = self._kit, self._model.tilts, None
        if self._offsets is not None:
            exit_wave = exit_wave * self._turn(batch)
        if tilts is not None and tilts.after:
            tilt = kit.plane_ramp(values.tilts_of(batch)[:, 4:6], self._turn_per_px)
            exit_wave = exit_wave * tilt
        spectrum, lens = kit.fft(exit_wave), None
        if self._band is not None:
            spectrum = spectrum * self._band
        if self._model.near_field is not None:
            lens = self._lens(self._model.near_field, values, batch)
            spectrum = spectrum * lens
        wave = spectrum if lens is None else kit.inverse(spectrum)
        return Exposure(wave, None if tilt is None else exit_wave, tilt, lens)

    def adjoint(self, exposure: Exposure, gradient: Any, values: Values, batch: Any, total: Corrections) -> Any:
        """Return the gradient behind the specimen."""
        kit, tilts = self._kit, self._model.tilts
        if exposure.lens is not None:
            gradient = kit.fft(gradient)
            if total.tilts is not None and tilts is not None and tilts.inside:
                turning = (gradient.conj() * kit.fft(exposure.wave)).imag.sum(axis=1)
                self.add_lens_tilts(kit.moments(turning, self._q), values, batch, total)
            gradient = gradient * exposure.lens.conj()
        if self._band is not None:
            gradient = gradient * self._band
        gradient = kit.inverse(gradient)
        if exposure.tilt is not None:
            if total.tilts is not None:
                turning = (gradient.conj() * exposure.exit).imag.sum(axis=1)
                values.add_tilts(total.tilts, batch, slice(4, 6), -kit.moments(turning, self._turn_per_px))
            gradient = gradient * exposure.tilt.conj()
        return gradient if self._offsets is None else gradient * self._turn(batch).conj()

    def exit_phases(self, values: Values, batch: Any) -> Any:
        """(n or 1, 2, P) phase of turn and tilt along rows and columns of real space; None if there is neither."""
        tilts, phases = self._model.tilts, None
        if self._offsets is not None:
            phases = self._offsets[batch][:, :, None] * self._turn_per_offset
        if tilts is None or not tilts.after:
            return phases
        tilted = values.tilts_of(batch)[:, 4:6, None] * self._turn_per_px
        return tilted if phases is None else phases + tilted

    def lens_phases(self, values: Values, batch: Any) -> Any:
        """(n, 2, P) phase of the defocus, tilted with the specimen; without the phase common to all lenses."""
        defocus, tilts = self._defocus[batch][:, None, None], self._model.tilts
        phases = np.pi * self._model.wavelength_A * defocus * self._q**2
        if tilts is not None and tilts.inside:
            return phases - 2 * np.pi * defocus * values.tilts_of(batch)[:, 2:4, None] * self._q
        return self._kit.xp.repeat(phases, 2, axis=1)

    def spherical_phase(self, near_field: NearField) -> Any:
        """(P, P) phase common to the lenses of all patterns."""
        return -0.5 * np.pi * near_field.Cs_A * self._model.wavelength_A**3 * self._q_squared**2

    def add_lens_tilts(self, by_q: Any, values: Values, batch: Any, total: Corrections) -> None:
        """Add derivatives by the tilts; by_q (n, 2): sums over frequencies of Im(conj(gradient) psi) q."""
        length = -self._defocus[batch][:, None]
        values.add_tilts(total.tilts, batch, slice(2, 4), -2 * np.pi * length * by_q)

    def _turn(self, batch: Any) -> Any:
        """(n, 1, P, P) factors that shift the patterns of a batch by their offsets."""
        return self._kit.plane_ramp(self._offsets[batch], self._turn_per_offset)

    def intensity(self, exposures: list[Exposure], values: Values, batch: Any) -> Any:
        """Counts (n, p, p) in the detector's pixels."""
        waves = [exposure.wave for exposure in exposures]
        total = sum((wave.real**2 + wave.imag**2).sum(axis=1) for wave in waves) / len(waves)
        return self.counts_of(total, values, batch)

    def counts_of(self, total: Any, values: Values, batch: Any) -> Any:
        """Counts (n, p, p) from the intensity in the pixels of the model (n, P, P)."""
        if self._model.near_field is not None:
            total = self._kit.xp.maximum(self._smeared(total, batch), 0)  # rounding may leave negative values
        u = self._model.upsampling
        if u > 1:
            n, size = total.shape[0], total.shape[1] // u
            total = total.reshape(n, size, u, size, u).sum(axis=(2, 4))
        if self._spread is not None:
            total = self._spread.spread(total, values.spread_px2)
        return total if values.background is None else total + values.background

    def counted(self, planes: Any, values: Values) -> Any:
        """Changes (n, p, p) of the counts, from changes of the intensity in the detector's pixels."""
        return planes if self._spread is None else self._spread.spread_any(planes, values.spread_px2)

    def add_of_counts(self, derivative: Any, intensity: Any, values: Values, total: Corrections) -> None:
        """Add derivatives by the detector's quantities from dL/dI (n, p, p); intensity as from :meth:`intensity`."""
        if total.background is not None:
            total.background[...] += derivative.sum(axis=0)
        if total.spread_px2 is not None and self._spread is not None:
            counts = intensity if values.background is None else intensity - values.background
            total.spread_px2[...] += self._spread.by_variance(derivative, counts)

    def derivative_of_waves(self, derivative: Any, values: Values, batch: Any) -> Any:
        """dL/d|wave|^2 (n, P, P) from dL/dI (n, p, p), not yet divided among the object modes."""
        if self._spread is not None:
            derivative = self._spread.adjoint(derivative, values.spread_px2)
        u = self._model.upsampling
        if u > 1:
            derivative = self._kit.xp.repeat(self._kit.xp.repeat(derivative, u, axis=1), u, axis=2)
        return self._smeared(derivative, batch)  # the envelope is real and even: its own adjoint

    def _smeared(self, image: Any, batch: Any) -> Any:
        near_field = self._model.near_field
        if near_field is None or near_field.alpha_rad == 0:
            return image
        width = (np.pi * near_field.alpha_rad * self._defocus[batch]) ** 2
        damping = self._kit.xp.exp(-width[:, None] * self._q**2).astype(self._kit.real)
        return self._kit.filtered(image, damping[:, :, None] * damping[:, None, :])

    def _lens(self, near_field: NearField, values: Values, batch: Any) -> Any:
        """(n, 1, P, P) lens factor; underfocus is backward free space, tilted with the specimen."""
        kit, wavelength = self._kit, self._model.wavelength_A
        defocus = self._defocus[batch]
        blur = np.pi * wavelength * defocus[:, None, None] * self._q_squared
        lens = kit.phase_factor(blur + self.spherical_phase(near_field))[:, None]
        tilts = self._model.tilts
        if tilts is None or not tilts.inside:
            return lens
        return lens * kit.plane_ramp(-2 * np.pi * defocus[:, None] * values.tilts_of(batch)[:, 2:4], self._q)
