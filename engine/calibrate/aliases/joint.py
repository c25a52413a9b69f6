"""What all aliases of a frequency explain together (docs/theory/calibration.md).

Steps of several times the resolution fold dozens of the object's frequencies onto each one of the scan, and an
amorphous specimen has energy at all of them: one alias explains a few percent, and wrong optics explain as much. The
bright field has hundreds of coefficients that distinguish aliases, so the phases of all aliases are fitted together.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lapack

from ptylive.engine.calibrate.criteria import CLEAR_OF_NOISE, REGULARISATION, Criteria
from ptylive.engine.calibrate.modulation import FIT_FREQUENCIES
from ptylive.schema.model import ComplexArray, DoubleArray

LARGEST_SHARE = 0.25
"""Largest number of aliases of a frequency as a share of the coefficients: that share of noise would be explained."""
MOST_TOGETHER, LEAST_FREQUENCIES = 2500, 24
"""Number of aliases of the brightest frequencies examined together, and least number of these frequencies."""


class JointCriteria(Criteria):
    """Criteria in which a frequency is the sum of its aliases, instead of the best one of them."""

    @classmethod
    def of(cls, criteria: Criteria) -> JointCriteria | None:
        """Make it from criteria without aliases; None if there are hardly any, or too many for the coefficients."""
        aliases = criteria.possible_aliases(LARGEST_SHARE * criteria.coefficients)
        return None if aliases is None else cls.among(criteria, aliases, MOST_TOGETHER, LEAST_FREQUENCIES)

    def over_chance(self, share: float) -> float:
        """Return a share of the energy relative to chance: noise explains one coefficient's worth per alias."""
        return share * self.coefficients / self.aliases.each

    @property
    def above_chance(self) -> float:
        """Ratio to chance that a fit must reach, given as many noise terms as there are aliases."""
        return 1.0 + CLEAR_OF_NOISE / math.sqrt(len(self.aliases.q))

    def evenly_explained(self, parameters: DoubleArray, frequencies: int = FIT_FREQUENCIES) -> float:
        """J4: like J3, with what all aliases explain together."""
        return super().evenly_explained(parameters, frequencies)

    def _explained(self, parameters: DoubleArray, frequencies: int) -> DoubleArray:
        """Return the energy (nq,) that the aliases of each frequency explain together, with free phases."""
        aliases = self.aliases.of_first(frequencies)
        transfer = self.transfer(parameters, aliases.q)
        weights = self.per_noise(transfer)
        energy = np.empty(len(aliases.first))
        ends = np.append(aliases.first[1:], len(aliases.q))
        for n, (start, end) in enumerate(zip(aliases.first, ends, strict=True)):
            weight = weights[:, start:end].conj().T
            image = weight @ self.modulation.spectra[:, n]
            information = weight @ transfer[:, start:end]
            information.flat[:: end - start + 1] += REGULARISATION
            energy[n] = np.vdot(image, solved(information, image)).real
        return energy


def solved(information: ComplexArray, image: ComplexArray) -> ComplexArray:
    """Solve for the phases of aliases (n,) by Cholesky in single precision, or in double if that fails."""
    _, phases, failed = lapack.cposv(information, image)
    if failed:
        return np.asarray(np.linalg.lstsq(information.astype(np.complex128), image, rcond=None)[0])
    return np.asarray(phases)
