"""Single-sideband ptychography: only frequencies seen by exactly one overlap of the discs, Wiener-weighted.

W = Gamma_s* / (sum_k |Gamma_s|^2 + eps max), Gamma_s the single-overlap part of the weak-phase transfer, or of the
weak-amplitude transfer: object = amplitude exp(i phase). Rodenburg, McCallum & Nellist 1993; Pennycook et al. 2015;
docs/theory/live-maps.md. In focus the phase is that of the optimum bright field; out of focus it leaves the triple
overlap unused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.declaration import (
    DEPTH,
    THRESHOLD,
    WIENER,
    MapSetting,
    MapWords,
    Method,
    Needs,
    in_use,
    live_map,
    with_deviation,
)
from ptylive.engine.imaging.imaging_conditions import ImagingConditions, Part
from ptylive.pictures.colours import ColourMap
from ptylive.schema import MetadataError
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray

EPSILON = 0.01
"""Default regularisation, as a share of the largest power of the transfer: noise of weaker frequencies is damped."""
BOTH = 2
"""Number of sidebands used unless a user wants one."""
WINDOW = 1.5
"""Side of the square of the detector used, in diameters of the disc, as in WDD: covers the whole disc."""
TINY = 1e-30
"""Power below which a transfer counts as zero; its inverse is still finite in single precision."""


@live_map(
    Method(
        "ssb",
        title="single-sideband ptychography",
        needs=Needs.FILTERS,
        linear=True,
        maps=(
            *with_deviation(
                MapWords(
                    "ssb",
                    label="SSB phase",
                    units="rad",
                    shows="the phase from those overlaps of discs that contain a single sideband",
                    trust="in focus, where it equals obf: for comparison with other programs",
                    colours=ColourMap.MAGMA,
                    place=120,
                )
            ),
            *with_deviation(
                MapWords(
                    "ssb_amplitude",
                    label="SSB amplitude",
                    units="relative",
                    shows="the corresponding modulus, with mean 1, from the sum of both sidebands",
                    trust="as its phase; even where aberrations are right, and mixed with the phase where they are not",
                    place=125,
                )
            ),
        ),
        order=40,
        afterwards=True,
        settings={
            "epsilon": MapSetting(
                EPSILON, 1e-6, 1e3, "added to the power of the transfer, as a fraction of its maximum", also=WIENER
            ),
            "threshold": THRESHOLD,
            "depth_A": DEPTH,
            "sidebands": MapSetting(BOTH, 1, BOTH, "of the phase: both, or one alone, which is noisier", whole=True),
            "crop": MapSetting(
                WINDOW,
                0.1,
                4,
                "side of the detector square used, in diameters of the disc; from 1 on it contains the whole disc",
            ),
        },
    )
)
@dataclass(frozen=True, eq=False)
class SingleSideband:
    """Ingredients of the phase and amplitude filters, made only when needed, so that one reuses the other's memory."""

    band: Band
    conditions: ImagingConditions
    settings: dict[str, float]
    """Settings in use."""

    @classmethod
    def build(cls, conditions: ImagingConditions, _mean: DoubleArray) -> SingleSideband:
        """Make filters; mean coefficients (N,) are not needed. Raises MetadataError for a crop that leaves no pixel."""
        settings = in_use("ssb", conditions.settings, epsilon=EPSILON, sidebands=BOTH, crop=WINDOW)
        if not conditions.in_square(settings["crop"]).any():
            raise MetadataError(f"ssb.crop={settings['crop']:g} leaves no pixel of the detector", "give a larger one")
        return cls(conditions.band(), conditions, settings)

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """Make the maps ``ssb`` (rad) and ``ssb_amplitude`` (mean 1)."""
        part = Part.SIDEBANDS if self.settings["sidebands"] == BOTH else Part.ONE_SIDEBAND
        for name, sideband, units, mean in (("ssb", part, "rad", 0), ("ssb_amplitude", Part.AMPLITUDE, "relative", 1)):
            spectrum, shifted = spectra.contract_with_noise(self.band, self._weights(sideband))
            image = self._image(spectra, spectrum) + np.float32(mean)
            noise = partial(self._image, spectra, shifted)
            yield Picture(name, image, units, "single-sideband ptychography", self.settings, noise=noise)

    def _image(self, spectra: Spectra, spectrum: ComplexArray) -> FloatArray:
        return spectra.image(self.band, spectrum / np.float32(spectra.density))

    def _weights(self, part: Part) -> ComplexArray:
        """Return the weights (nb, N) for a part of the transfer, normalisation included."""
        pixels = self.conditions.in_square(self.settings["crop"]) if self.settings["crop"] < WINDOW else None

        def matched(q: DoubleArray) -> tuple[ComplexArray, ComplexArray]:
            transfer = self.conditions.transfer(q, part, pixels)
            return self.conditions.basis.dual(transfer).conj(), transfer

        weights, power = self.band.evaluate_with_response(matched)
        largest, threshold = max(float(power.max()), TINY), self.settings.get("threshold")
        if threshold is None:
            factor = 1.0 / (power + self.settings["epsilon"] * largest)
        else:
            factor = np.where(power >= threshold * largest, 1.0 / np.maximum(power, TINY), 0.0)
        weights *= factor.astype(np.float32)[:, None]
        return weights
