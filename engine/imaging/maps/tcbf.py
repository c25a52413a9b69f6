"""Tilt-corrected bright field: every bright-field pixel's image shifted back in place and summed.

W_k(Q) = exp(-i Q . grad chi(k)); the aligned sum is phi times t(Q) = sum_k W_k Gamma(k, Q), close to 2 sin chi(Q)
times an envelope. Multiplying by the sign of t (phase flip) makes denser matter bright at every frequency; a weight
per ring of |Q|, the share of its power that is not noise, keeps upsampled and low-dose pictures from drowning in it.
Yu et al. 2022 (tcBF); Varnavides et al. 2023 (parallax); docs/theory/live-maps.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.declaration import UPSAMPLE, MapSetting, MapWords, Method, Needs, live_map, with_deviation
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.noise import TRUSTED_SHARE, ring_quality, rings
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray

IN_FOCUS = 0.1
"""Largest |t| below which there is no phase contrast to flip: the plain bright field is shown."""


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
        },
    )
)
@dataclass(frozen=True, eq=False)
class TiltCorrected:
    """Filters of the aligned bright field: weights (nb, N), flip (nb,) of -1, 1."""

    band: Band
    weights: ComplexArray
    flip: FloatArray
    ring: IndexArray
    flipped: bool

    @classmethod
    def build(cls, conditions: ImagingConditions, _mean: DoubleArray) -> TiltCorrected:
        """Filters for some imaging conditions."""
        band = conditions.band(conditions.finer("tcbf"))
        weights, t = band.evaluate_with_response(lambda q: (conditions.aligned_shifts(q), conditions.transfer(q)))
        flipped = bool(np.abs(t).max() > IN_FOCUS) and bool(conditions.settings.get("tcbf.flip", 1))
        flip = np.where(t < 0, -1.0, 1.0) if flipped else np.ones(len(t))
        return cls(band, weights, flip.astype(np.float32), rings(band.q, conditions.step_A), flipped)

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """The map ``tcbf``: relative modulation of the bright field."""
        spectrum, shifted = spectra.contract_with_noise(self.band, self.weights)
        quality = ring_quality(spectrum, shifted, self.ring, spectra.conditions.step_A)
        weight = self.flip / np.float32(max(spectra.conditions.basis.bright_sum(spectra.mean), 1e-12))
        if self.flipped and spectra.visited_share >= TRUSTED_SHARE:
            weight = weight * quality.signal_share[self.ring].astype(np.float32)
        image = spectra.image(self.band, spectrum * weight)
        method = "tilt-corrected bright field" + (", phase-flipped" if self.flipped else "")
        said = {"upsample": self.band.grid.upsample, "flip": int(spectra.conditions.settings.get("tcbf.flip", 1))}
        noise = partial(self._noise, spectra, shifted, weight)
        yield Picture("tcbf", image, "relative", method, said, quality, noise)

    def _noise(self, spectra: Spectra, shifted: ComplexArray, weight: FloatArray) -> FloatArray:
        return spectra.image(self.band, shifted * weight)
