"""Tilt-corrected bright field: every bright-field pixel's image shifted back in place and summed.

W_k(Q) = exp(-i Q . grad chi(k)); the aligned sum is phi times t(Q) = sum_k W_k Gamma(k, Q), close to 2 sin chi(Q)
times an envelope. Multiplying by the sign of t (phase flip) makes denser matter bright at every frequency. A weight per
ring of |Q|, the share of its power that is not noise, prevents noise from swamping upsampled and low-dose pictures.
Divided by t instead (Wiener), the sum is the phase in rad.
Yu et al. 2022 (tcBF); Varnavides et al. 2023 (parallax); docs/theory/live-maps.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

import numpy as np

from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.declaration import (
    DEPTH,
    UPSAMPLE,
    MapSetting,
    MapWords,
    Method,
    Needs,
    in_use,
    live_map,
    with_deviation,
)
from ptylive.engine.imaging.equivalents import share_of_strongest
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.kernel_density import kernel_band, normalised
from ptylive.engine.imaging.noise.rings import TRUSTED_SHARE, passed_signal, power_of, ring_quality, ring_sum, rings
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray

IN_FOCUS = 0.1
"""Largest |t| below which there is no phase contrast to flip, so that the plain bright field is shown."""


PER_RING, TURNED_OVER = 16, 0.3
"""Frequencies per ring used to determine its sign, and the correlation with OBF below which it is inverted."""
GROWN = 1.5
"""Growth in the number of points after which ring signs are determined again."""


class Correction(Enum):
    """Treatment of the transfer; the value is its part of the method's name."""

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
                shows="the bright field, each pixel's image shifted into place; denser is brighter out of focus",
                trust="on defocused scans of thin specimens (others may be inverted); sharp if the defocus is right",
                place=20,
            )
        ),
        order=20,
        finer=True,
        settings={
            "upsample": UPSAMPLE,
            "depth_A": DEPTH,
            "flip": MapSetting(1, 0, 1, "1: flip phases where the transfer is negative; 0: do not flip", whole=True),
            "epsilon": MapSetting(
                None,
                1e-6,
                1e3,
                "instead of flip: divide by the transfer, this fraction of its maximum added to its power",
            ),
            "kernel_steps": MapSetting(
                None,
                0.05,
                2,
                "points spread by a Gaussian of this width (kernel density); chosen: Fourier shifts",
                also=("kde_sigma_px",),
            ),
            "align_order": MapSetting(
                None,
                1,
                3,
                "aligned images: highest order fitted, from 1 (defocus and astigmatism) to 3 (all)",
                whole=True,
            ),
            "align_bin_px": MapSetting(
                None, 0.5, 1000, "aligned images: detector pixels along the smallest bins", also=("min_alignment_bin",)
            ),
            "align_rounds": MapSetting(
                None, 1, 100, "aligned images: rounds with the smallest bins", whole=True, also=("num_iter_at_min_bin",)
            ),
            "align_reference": MapSetting(
                None, 0, 1, "aligned images: reference", whole=True, words=("mean", "centre")
            ),
            "align_free": MapSetting(
                None, 0, 1, "aligned images: 1 searches everywhere, 0 near the calibration", whole=True
            ),
        },
        also=("parallax",),
    )
)
@dataclass(frozen=True, eq=False)
class TiltCorrected:
    """Filters of the aligned bright field: weights (nb, N); gain (nb,), which is -1 or 1, or the inverse transfer."""

    band: Band
    weights: ComplexArray
    gain: FloatArray
    ring: IndexArray
    response: DoubleArray
    """(rings,) summed squares of the transfer."""
    correction: Correction
    kernel_steps: float | None
    settings: dict[str, float]
    """Settings in use."""
    _stored: dict[str, tuple[int, FloatArray]] = field(default_factory=dict, repr=False)

    @classmethod
    def build(cls, conditions: ImagingConditions, _mean: DoubleArray) -> TiltCorrected:
        """Make filters for the given imaging conditions; the mean coefficients (N,) are not needed."""
        upsample = conditions.finer("tcbf")
        settings = {**in_use("tcbf", conditions.settings, flip=1), "upsample": upsample}
        settings |= {f"aligned_{name}": value for name, value in conditions.fitted_values.items()}
        kernel_steps, epsilon = settings.get("kernel_steps"), settings.get("epsilon")
        spread = kernel_steps is not None
        band = kernel_band(conditions, upsample, "tcbf.kernel_steps") if spread else conditions.band(upsample)
        weights, t = band.evaluate_with_response(lambda q: (conditions.aligned_shifts(q), conditions.transfer(q)))
        correction = Correction.NONE
        if np.abs(t).max() > IN_FOCUS and (epsilon is not None or settings["flip"]):
            correction = Correction.FLIPPED if epsilon is None else Correction.DIVIDED
        gain = _gain(t, correction, epsilon).astype(np.float32)
        ring = rings(band.q, conditions.step_A)
        response = ring_sum(ring, np.square(t, dtype=float))
        return cls(band, weights, gain, ring, response, correction, kernel_steps, settings)

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """Make the map ``tcbf``: relative modulation of the bright field, or phase in rad with transfer divided out."""
        spectrum, shifted = spectra.contract_with_noise(self.band, self.weights)
        quality = ring_quality(spectrum, shifted, self.ring, spectra.conditions.step_A)
        weight = self.gain
        if self.correction is Correction.FLIPPED and spectra.visited_share >= TRUSTED_SHARE:
            weight = weight * self._uprightness(spectra, spectrum)[self.ring]
        if self.correction is not Correction.NONE and spectra.visited_share >= TRUSTED_SHARE:
            weight = weight * quality.signal_share[self.ring].astype(np.float32)
        steady = self.correction is Correction.NONE or spectra.visited_share < TRUSTED_SHARE

        def noise() -> FloatArray:
            noise_weight = weight if steady else self._noise_weight(spectra, spectrum, shifted)
            return self._image(spectra, shifted, noise_weight)

        units = "rad" if self.correction is Correction.DIVIDED else "relative"
        method = f"tilt-corrected bright field{self.correction.value}"
        picture = self._image(spectra, spectrum, weight)
        yield Picture(
            "tcbf",
            picture,
            units,
            method,
            self.settings,
            quality,
            noise,
            finer=self.band.grid.finer,
            even=partial(self._even, spectra, spectrum, shifted),
            share_of_strongest=partial(share_of_strongest, spectra),
        )

    def _noise_weight(self, spectra: Spectra, spectrum: ComplexArray, shifted: ComplexArray) -> FloatArray:
        """Return the gain for noise alone that reproduces the map's scatter between scans, including its weights."""
        power = power_of(shifted)
        floor, squares = ring_sum(self.ring, power), ring_sum(self.ring, power**2)
        count = 2 * floor**2 / np.maximum(squares, 1e-30)  # exponential power: mean square = twice the squared mean
        excess = ring_sum(self.ring, power_of(spectrum)) - floor
        repeats = passed_signal(excess, floor, count * spectra.independent_share, self.response).repeats()
        observed = np.maximum(repeats.found, 0.0)[..., None]
        gain = repeats.noise_gain(observed / (1 + observed))[:, 0].astype(np.float32)
        return np.asarray(self.gain * gain[self.ring])

    def _even(self, spectra: Spectra, spectrum: ComplexArray, shifted: ComplexArray) -> tuple[FloatArray, FloatArray]:
        """Return the map with only its signs corrected, and its noise."""
        sign = np.where(self.gain < 0, np.float32(-1), np.float32(1))
        return spectra.image(self.band, spectrum * sign), spectra.image(self.band, shifted * sign)

    def _uprightness(self, spectra: Spectra, spectrum: ComplexArray) -> FloatArray:
        """Return -1 for each ring whose phase-contrast sign disagrees with OBF, and 1 for all others.

        Heavy atoms and crystals remove electrons from the disc. If the phase contrast is weak, this absorption decides
        the sign of the aligned bright field. OBF separates phase from absorption by the two sidebands of each pixel.
        Noise makes both agree, since their common noise has the sign of the phase contrast. While a scan grows, the
        result is kept until there are half as many points again.
        """
        visited = int(spectra.visited.sum())
        previous, signs = self._stored.get("upright", (0, None))
        if signs is not None and previous <= visited < GROWN * previous:
            return signs
        signs = self._measured_uprightness(spectra, spectrum)
        self._stored["upright"] = visited, signs
        return signs

    def _measured_uprightness(self, spectra: Spectra, spectrum: ComplexArray) -> FloatArray:
        chosen = _brightest(spectrum, self.ring)
        conditions = spectra.conditions
        matched = conditions.basis.per_noise(spectra.mean)(conditions.transfer(self.band.q[chosen])).conj()
        index, sign = self.band.kept
        numerator = spectra.contraction.contract(
            np.ascontiguousarray(matched.T), spectra.planes, (index[chosen], sign[chosen]), spectra.scale
        )
        flipped, ring = (spectrum * self.gain)[chosen], self.ring[chosen]
        agree = ring_sum(ring, (flipped * numerator.conj()).real.astype(float))
        power = ring_sum(ring, np.abs(flipped) ** 2) * ring_sum(ring, np.abs(numerator) ** 2)
        out = np.ones(int(self.ring.max()) + 1, np.float32)
        out[: len(agree)][agree < -TURNED_OVER * np.sqrt(power)] = -1.0
        return out

    def _image(self, spectra: Spectra, spectrum: ComplexArray, weight: FloatArray) -> FloatArray:
        """Return the picture of a sum, relative to the mean bright field unless it is divided by its transfer."""
        level = np.float32(max(spectra.conditions.basis.bright_sum(spectra.mean), 1e-12))
        if self.kernel_steps is None:
            relative = spectrum / level
        else:
            relative = normalised(spectra, self.band, self.weights, spectrum, self.kernel_steps)
        weight = weight * level if self.correction is Correction.DIVIDED else weight
        return spectra.image(self.band, relative * weight)


def _brightest(spectrum: ComplexArray, ring: IndexArray) -> IndexArray:
    """Return the PER_RING brightest frequencies of each ring."""
    order = np.lexsort((-np.abs(spectrum), ring))
    rank = np.arange(len(ring)) - np.searchsorted(ring[order], ring[order])
    return np.asarray(np.sort(order[rank < PER_RING]))


def _gain(t: DoubleArray, correction: Correction, epsilon: float | None) -> DoubleArray:
    """Return the gain that corrects the transfer t (nb,)."""
    if correction is Correction.FLIPPED:
        return np.where(t < 0, -1.0, 1.0)
    if correction is Correction.DIVIDED and epsilon is not None:
        return np.asarray(t / (t**2 + epsilon * (t**2).max()))
    return np.ones(len(t))
