"""Tilt-corrected bright field: every bright-field pixel's image shifted back in place and summed.

W_k(Q) = exp(-i Q . grad chi(k)); the aligned sum is phi times t(Q) = sum_k W_k Gamma(k, Q), close to 2 sin chi(Q)
times an envelope. Multiplying by the sign of t (phase flip) makes denser matter bright at every frequency; a weight
per ring of |Q|, the share of its power that is not noise, keeps upsampled and low-dose pictures from drowning in it.
Divided by t in place of that (Wiener), the sum is the phase in rad.
Yu et al. 2022 (tcBF); Varnavides et al. 2023 (parallax); docs/theory/live-maps.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np

from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.declaration import (
    UPSAMPLE,
    MapSetting,
    MapWords,
    Method,
    Needs,
    in_use,
    live_map,
    with_deviation,
)
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.kernel_density import kernel_band, normalised
from ptylive.engine.imaging.noise import TRUSTED_SHARE, ring_quality, rings
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray

IN_FOCUS = 0.1
"""Largest |t| below which there is no phase contrast to flip: the plain bright field is shown."""


class Correction(Enum):
    """What is done about the transfer, as the name of the method says it."""

    NONE = ""
    FLIPPED = ", phase-flipped"
    DIVIDED = ", transfer divided out"


@live_map(
    Method(
        "tcbf",
        title="the tilt-corrected bright field",
        needs=Needs.FILTERS,
        maps=with_deviation(
            MapWords(
                "tcbf",
                label="tilt-corrected BF",
                units="relative",
                shows="the bright field, every pixel's image moved back into place; denser is brighter out of focus",
                trust="on defocused scans, thick specimens too; sharp means that the defocus is right",
                place=20,
            )
        ),
        order=20,
        finer=True,
        settings={
            "upsample": UPSAMPLE,
            "flip": MapSetting(1, 0, 1, "1: phases flipped where the transfer is negative; 0: as they are", whole=True),
            "epsilon": MapSetting(
                None, 1e-6, 1e3, "in place of flip: transfer divided out, this added to its power, in its strongest"
            ),
            "kernel_steps": MapSetting(
                None,
                0.05,
                2,
                "points spread by a Gaussian of this width (kernel density); chosen: Fourier shifts",
                also=("kde_sigma_px",),
            ),
        },
        also=("parallax",),
    )
)
@dataclass(frozen=True, eq=False)
class TiltCorrected:
    """Filters of the aligned bright field: weights (nb, N), gain (nb,) of -1, 1 or of the transfer's inverse."""

    band: Band
    weights: ComplexArray
    gain: FloatArray
    ring: IndexArray
    correction: Correction
    kernel_steps: float | None
    said: dict[str, float]
    """The settings."""

    @classmethod
    def build(cls, conditions: ImagingConditions, _mean: DoubleArray) -> TiltCorrected:
        """Filters for some imaging conditions."""
        upsample = conditions.finer("tcbf")
        said = {**in_use("tcbf", conditions.settings, flip=1), "upsample": upsample}
        kernel_steps, epsilon = said.get("kernel_steps"), said.get("epsilon")
        spread = kernel_steps is not None
        band = kernel_band(conditions, upsample, "tcbf.kernel_steps") if spread else conditions.band(upsample)
        weights, t = band.evaluate_with_response(lambda q: (conditions.aligned_shifts(q), conditions.transfer(q)))
        correction = Correction.NONE
        if np.abs(t).max() > IN_FOCUS and (epsilon is not None or said["flip"]):
            correction = Correction.FLIPPED if epsilon is None else Correction.DIVIDED
        gain = _gain(t, correction, epsilon).astype(np.float32)
        return cls(band, weights, gain, rings(band.q, conditions.step_A), correction, kernel_steps, said)

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """The map ``tcbf``: relative modulation of the bright field, or the phase in rad, its transfer divided out."""
        spectrum, shifted = spectra.contract_with_noise(self.band, self.weights)
        quality = ring_quality(spectrum, shifted, self.ring, spectra.conditions.step_A)
        weight = self.gain
        if self.correction is not Correction.NONE and spectra.visited_share >= TRUSTED_SHARE:
            weight = weight * quality.signal_share[self.ring].astype(np.float32)
        units = "rad" if self.correction is Correction.DIVIDED else "relative"
        method = f"tilt-corrected bright field{self.correction.value}"
        noise = partial(self._image, spectra, shifted, weight)
        yield Picture("tcbf", self._image(spectra, spectrum, weight), units, method, self.said, quality, noise)

    def _image(self, spectra: Spectra, spectrum: ComplexArray, weight: FloatArray) -> FloatArray:
        """The picture of a sum: over the mean of the bright field, where it is not divided by its transfer."""
        level = np.float32(max(spectra.conditions.basis.bright_sum(spectra.mean), 1e-12))
        if self.kernel_steps is None:
            relative = spectrum / level
        else:
            relative = normalised(spectra, self.band, self.weights, spectrum, self.kernel_steps)
        weight = weight * level if self.correction is Correction.DIVIDED else weight
        return spectra.image(self.band, relative * weight)


def _gain(t: DoubleArray, correction: Correction, epsilon: float | None) -> DoubleArray:
    """What corrects the transfer t (nb,)."""
    if correction is Correction.FLIPPED:
        return np.where(t < 0, -1.0, 1.0)
    if correction is Correction.DIVIDED and epsilon is not None:
        return np.asarray(t / (t**2 + epsilon * (t**2).max()))
    return np.ones(len(t))
