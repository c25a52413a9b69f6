"""Single-sideband ptychography: only frequencies seen by exactly one overlap of the discs, Wiener-weighted.

W = Gamma_s* / (sum_k |Gamma_s|^2 + eps max), Gamma_s the single-overlap part of the weak-phase transfer.
Rodenburg, McCallum & Nellist 1993; Pennycook et al. 2015; docs/theory/live-maps.md. In focus this is the optimum bright
field; out of focus it leaves the triple overlap unused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.declaration import MapSetting, MapWords, Method, Needs, live_map, with_deviation
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.pictures.colours import ColourMap
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray

EPSILON = 0.01


@live_map(
    Method(
        "ssb",
        title="single-sideband ptychography",
        needs=Needs.FILTERS,
        maps=with_deviation(
            MapWords(
                "ssb",
                label="SSB phase",
                units="rad",
                shows="the phase from those overlaps of the discs in which one sideband is alone",
                trust="in focus, where it is what obf is: to compare with other programs",
                colours=ColourMap.MAGMA,
                place=120,
            )
        ),
        order=40,
        afterwards=True,
        settings={"epsilon": MapSetting(EPSILON, 1e-6, 1e3, "added to the power of the transfer, in its strongest")},
    )
)
@dataclass(frozen=True, eq=False)
class SingleSideband:
    """Filters: weights (nb, N) in which the division is done already."""

    band: Band
    weights: ComplexArray
    epsilon: float

    @classmethod
    def build(cls, conditions: ImagingConditions, _mean: DoubleArray, epsilon: float | None = None) -> SingleSideband:
        """Filters for some imaging conditions."""
        epsilon = conditions.settings.get("ssb.epsilon", EPSILON) if epsilon is None else epsilon

        def matched(q: DoubleArray) -> tuple[ComplexArray, ComplexArray]:
            transfer = conditions.transfer(q, sidebands_only=True)
            return conditions.basis.dual(transfer).conj(), transfer

        band = conditions.band()
        weights, power = band.evaluate_with_response(matched)
        weights /= (power + epsilon * power.max()).astype(np.float32)[:, None]
        return cls(band, weights, epsilon)

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """The map ``ssb``: phase in rad."""
        spectrum = spectra.contract(self.band, self.weights) / np.float32(spectra.density)
        phase = spectra.image(self.band, spectrum)
        method, said = "single-sideband ptychography", {"epsilon": self.epsilon}
        yield Picture("ssb", phase, "rad", method, said, noise=partial(self._noise, spectra))

    def _noise(self, spectra: Spectra) -> FloatArray:
        return spectra.image(self.band, spectra.contract_noise(self.band, self.weights) / np.float32(spectra.density))
