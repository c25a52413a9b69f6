"""A live map as it is transferred: the image, its scale and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray

LEAST_CORRELATION = 0.143
"""Correlation of two halves at which the correlation of their sum with the truth is one half."""
DOSES = (1.0, 2.0, 4.0)
"""Multiples of the dose for which information limits are given."""
SURE_ERRORS = 3.0
"""Standard errors by which the correlation of a ring exceeds LEAST_CORRELATION where it surely carries signal."""
LINE_ERRORS = 5.0
"""Like SURE_ERRORS, for a ring judged alone: beams of a lattice may lie in one of three rings, whose mean they hardly
raise. Of maps with a hundred rings of noise, one in 30 000 has such a ring.
"""
LEAST_BEAMS = 2
"""Beams by which a ring surely carries signal: a single frequency may be interference in the scan."""
FAINT = 3.0
"""Standard deviations of the noise by which a pixel must differ from the median of its map to be significant."""
NOTHING_BUT_NOISE = "nothing but noise"
NO_PIXEL_SURE = f"no pixel stands out of the noise by {FAINT:g} standard deviations"
STRONG_MODULATION, ASKED_MODULATION, LEAST_EXPLAINED = 0.55, 0.4, 0.37
"""Thresholds above which a specimen is not weak (:class:`Strength`)."""
TOO_THICK = "too thick for this map"
MOST_DOUBT = 0.25
"""Relative uncertainty up to which an information limit is worth reporting."""


@dataclass(frozen=True)
class InformationLimit:
    """Finest period that a map carries, and its standard error, Å; `finer`: it carries all that its step can show."""

    period_A: float
    uncertainty_A: float
    finer: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the data determine the limit."""
        return self.uncertainty_A <= MOST_DOUBT * self.period_A

    @property
    def words(self) -> str:
        """The limit with its uncertainty, as reported in results."""
        if not self.is_known:
            return "cannot tell"
        if self.finer:
            return f"all that the step shows ({self.period_A:.3g} Å)"
        return f"{self.period_A:.3g} ± {self.uncertainty_A:.2g} Å"


@dataclass(frozen=True, eq=False)
class RingQuality:
    """What a map carries per spatial frequency, measured on the data: one value for each ring of |Q|."""

    frequency_invA: DoubleArray
    signal_share: DoubleArray
    """Share of the ring's power that is not noise."""
    half_data_correlation: DoubleArray
    """Fourier ring correlation of the maps of two halves of the frames, split like a checkerboard."""
    transfer: DoubleArray | None = None
    """Fraction of the phase that the map shows at each ring, 1 being all of it; None where it shows no phase."""
    independent: DoubleArray | None = None
    """Number of independent frequencies of each ring, 0 for rings beyond what the map can show; None: not counted."""
    beams: DoubleArray | None = None
    """Number of single frequencies that no noise explains, in a half plane: those of a ring and, if it has any, of its
    neighbours; None: not counted."""

    @property
    def signal_to_noise(self) -> DoubleArray:
        """Signal power over noise power of each ring."""
        return self.signal_share / np.maximum(1.0 - self.signal_share, 1e-6)

    @property
    def is_noise(self) -> bool:
        """Whether the two halves of the data agree at no spatial frequency: in no three rings, without the first.

        With fewer rings this cannot be determined.
        """
        rings = self.half_data_correlation[1:]
        return len(rings) >= 3 and bool((np.convolve(rings, np.ones(3) / 3, "valid") < LEAST_CORRELATION).all())

    def expected(self, dose: float, area_A2: float) -> InformationLimit:
        """Limit at which two halves of a scan with ``dose`` times as many electrons on ``area_A2`` no longer agree.

        That is where their correlation, a mean over three rings, first falls to LEAST_CORRELATION, interpolated between
        rings, beyond the last ring that surely agrees, either with its neighbours or alone, as beams of a lattice do:
        between these, and where the transfer of an aberrated probe is zero, there is no signal that could agree. If no
        ring is sure, it is where the halves first disagree; the first ring, which contains little but the shape of the
        field, does not count. The signal's power grows with the square of the number of electrons and that of the noise
        with the number, so that the ratio of the two, r / (1 - r) for a correlation r of halves, grows with the dose. A
        ring of n independent frequencies determines r to (1 - r^2) / sqrt(2 n); the uncertainty is half the distance
        between the limits with all rings one such error higher and lower.
        """
        found, low, high = self.crossings(dose, area_A2)
        return InformationLimit(1 / found, abs(1 / low - 1 / high) / 2, bool(found >= self.finest_invA))

    @property
    def rings_shown(self) -> int:
        """Number of rings the map can show: those with independent frequencies, at least two where there are two."""
        if self.independent is None:
            return len(self.frequency_invA)
        return min(max(int(np.count_nonzero(self.independent)), 2), len(self.frequency_invA))

    @property
    def finest_invA(self) -> float:
        """Frequency of the last ring that the map can show."""
        return float(self.frequency_invA[self.rings_shown - 1])

    def crossings(self, dose: float, area_A2: float, errors: float = 1.0) -> tuple[float, float, float]:
        """Frequencies of the limit that :meth:`expected` finds, and of rings ``errors`` errors lower and higher, 1/Å.

        The first ring's frequency where nothing is carried, ``finest_invA`` where everything is.
        """
        count, each = self._counted(area_A2)[: self.rings_shown], self.half_data_correlation[: self.rings_shown]
        mean = np.convolve(np.pad(each, 1, mode="edge"), np.ones(3) / 3, "valid")
        error, own_error = _standard_error(mean, 3 * count), _standard_error(each, count)
        alone = each - LINE_ERRORS * own_error >= LEAST_CORRELATION
        if self.beams is not None:
            alone |= (each >= LEAST_CORRELATION) & (self.beams[: self.rings_shown] >= LEAST_BEAMS)
        line = (mean - SURE_ERRORS * error < LEAST_CORRELATION) & alone
        mean, error = np.where(line, each, mean), np.where(line, own_error, error)
        sure = np.flatnonzero((mean - SURE_ERRORS * error >= LEAST_CORRELATION) | line)
        start = int(sure[-1]) if len(sure) else 0
        spread = errors * error
        found, low, high = (
            self._crossing(_at_dose(values, dose), start) for values in (mean, mean - spread, mean + spread)
        )
        return found, low, high

    def _counted(self, area_A2: float) -> DoubleArray:
        """Independent frequencies of each ring, in a half plane."""
        if self.independent is not None:
            return self.independent
        spacing = self.frequency_invA[1] - self.frequency_invA[0] if len(self.frequency_invA) > 1 else 0.0
        return np.asarray(np.pi * self.frequency_invA * spacing * area_A2)

    def _crossing(self, correlation: DoubleArray, start: int) -> float:
        """Frequency at which a correlation first falls to LEAST_CORRELATION beyond the ring ``start``."""
        below = np.flatnonzero(correlation[start + 1 :] < LEAST_CORRELATION) + start + 1
        if not len(below):
            return float(self.frequency_invA[len(correlation) - 1])
        last = below[0]
        if last == 1:
            return float(self.frequency_invA[0])
        pair = slice(last - 1, last + 1)
        return float(np.interp(-LEAST_CORRELATION, -correlation[pair], self.frequency_invA[pair]))


def _standard_error(correlation: DoubleArray, count: DoubleArray) -> DoubleArray:
    """Standard error of the correlation of rings of ``count`` independent frequencies."""
    return np.asarray((1 - np.clip(correlation, 0, 1) ** 2) / np.sqrt(2 * np.maximum(count, 1.0)))


@dataclass(frozen=True)
class LiveMap:
    """One map on the scan grid (or an upsampled one); pixel (0, 0) is scan point (0, 0), unless points were placed."""

    name: str
    data: FloatArray
    units: str
    sampling_A: tuple[float, float] | None
    frames: int
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: RingQuality | None = None
    deviation: float | None = None
    """Standard deviation of a pixel due to noise, in ``units``, the median of all; None where it was not measured."""
    visited: float = 1.0
    """Fraction of its points that the scan has reached."""
    buried: bool = False
    """Whether the map is noise, as far as two halves of the data show: they agree at no spatial frequency."""
    faint: bool = False
    """Whether no pixel differs from the map's median by more than noise explains (FAINT deviations; more of many)."""

    limit: InformationLimit | None = None
    """Its information limit as it was stored, where ``quality`` was not read."""
    modulation: float | None = None
    """Relative variation of the bright field; for maps that assume a weak specimen, only if it is not weak."""

    @property
    def caveat(self) -> str:
        """Reason why the map means little although it is not noise, in words; empty if there is none."""
        return "" if self.modulation is None else f"{TOO_THICK}: {scattering(self.modulation)}"

    @property
    def doubt(self) -> str:
        """Why the map is shown greyed, in words; empty where it is not."""
        return doubt_of(buried=self.buried, faint=self.faint)

    def information_limits(self) -> dict[float, InformationLimit]:
        """Its information limit, and the limit with more electrons, by DOSES; empty where not known."""
        if self.buried:
            return {}
        if self.quality is None or self.sampling_A is None:
            return {} if self.limit is None else {1.0: self.limit}
        if len(self.quality.frequency_invA) < 2:  # the first ring does not count
            return {}
        area = float(np.prod(self.sampling_A)) * self.data.size * self.visited
        return {dose: self.quality.expected(dose, area) for dose in DOSES}

    def certainty(self) -> list[str]:
        """Certainty of the map in words: scatter of a pixel by noise, finest period; unknown values are left out."""
        statements = [] if self.deviation is None else [f"± {self.deviation:.2g} {self.units} (a pixel, by noise)"]
        limit = self.information_limits().get(1.0)
        return statements if limit is None else [*statements, f"information limit: {limit.words}"]

    @property
    def is_placed(self) -> bool:
        """Whether its pixels are not scan points, because these were placed on a separate grid."""
        return self.settings.get("points") == "placed"

    def frame(self, rotation_deg: float) -> tuple[tuple[float, float], float]:
        """Position of pixel (0, 0) in the detector's frame, Å, and the angle of its axes to the detector's, degrees.

        rotation_deg: of the scan's axes, which apply unless its pixels are not scan points.
        """
        if not self.is_placed:
            return (0.0, 0.0), rotation_deg
        row, col = self.settings.get("origin_A", (0.0, 0.0))
        listed = bool(row or col)  # points without a grid, in files that do not describe the position of their maps
        return (float(row), float(col)), float(self.settings.get("axes_deg", 0.0 if listed else rotation_deg))


@dataclass(frozen=True)
class Strength:
    """How strongly a specimen scatters. modulation: relative variation of the bright field over the scan, standard
    deviation, without counting noise; explained: the fraction of it that a phase explains linearly. None where
    unknown.

    The larger the modulation, the more weight terms have that are not linear in the potential, and the less is
    explained. Maps that assume a weak specimen mean little where the modulation is above ASKED_MODULATION and less than
    LEAST_EXPLAINED is explained; where the latter is unknown, above STRONG_MODULATION. How often that is right:
    docs/measured/strong-specimens.md.
    """

    modulation: float | None = None
    explained: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the explained fraction matters."""
        return self.modulation is not None and self.modulation > ASKED_MODULATION

    @property
    def is_strong(self) -> bool:
        """Whether maps that assume a weak specimen mean little."""
        if self.modulation is None or not self.is_asked:
            return False
        if self.explained is None:
            return self.modulation > STRONG_MODULATION
        return self.explained < LEAST_EXPLAINED


def scattering(modulation: float) -> str:
    """Describe in words that a specimen scatters more than once."""
    return f"multiple scattering (bright field ± {100 * modulation:.0f} %)"


def doubt_of(*, buried: bool, faint: bool) -> str:
    """Why a map is shown greyed (``LiveMap.buried``, ``LiveMap.faint``), in words; empty where it is not."""
    return NOTHING_BUT_NOISE if buried else NO_PIXEL_SURE if faint else ""


def _at_dose(correlation: DoubleArray, dose: float) -> DoubleArray:
    """Correlation of halves at another dose; values without signal stay unchanged."""
    ratio = np.maximum(correlation, 0) / np.maximum(1 - correlation, 1e-6)
    return np.where(correlation > 0, dose * ratio / (1 + dose * ratio), correlation)
