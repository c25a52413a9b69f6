"""A live map as it travels: the picture, its scale and what was done to make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray

LEAST_CORRELATION = 0.143
"""Correlation of two halves at which their sum is as good as a map that correlates by a half with the truth."""
DOSES = (1.0, 2.0, 4.0)
"""Multiples of the dose whose information limits are told."""
SURE_ERRORS = 3.0
"""Standard errors by which the correlation of a ring exceeds LEAST_CORRELATION where it surely carries something."""
LINE_ERRORS = 5.0
"""The same of a ring that is sure by itself: beams of a lattice may lie in one of three rings, whose mean they hardly
raise. A hundred rings of noise have one in 30 000 maps.
"""
FAINT = 3.0
"""Standard deviations by noise that a pixel of a map has to differ by from the median to be sure."""
NOTHING_BUT_NOISE = "nothing but noise"
NO_PIXEL_SURE = f"no pixel stands {FAINT:g} standard deviations out of the noise"
STRONG_MODULATION, ASKED_MODULATION, LEAST_EXPLAINED = 0.55, 0.4, 0.37
"""When a specimen is not weak (:class:`Strength`)."""
TOO_THICK = "too thick for this map"
MOST_DOUBT = 0.25
"""Share of an information limit up to which its uncertainty leaves something to tell."""


@dataclass(frozen=True)
class InformationLimit:
    """Finest period that a map carries, and its standard error, Å; `finer`: it carries all that its step can show."""

    period_A: float
    uncertainty_A: float
    finer: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the data can tell."""
        return self.uncertainty_A <= MOST_DOUBT * self.period_A

    @property
    def words(self) -> str:
        """With its uncertainty, as results tell it."""
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
    """What the map shows of the phase at each ring, 1 being all of it; None where it shows no phase."""
    independent: DoubleArray | None = None
    """How many independent frequencies told each ring, 0 of rings beyond what the map can show; None: not counted."""

    @property
    def signal_to_noise(self) -> DoubleArray:
        """Signal power over noise power of each ring."""
        return self.signal_share / np.maximum(1.0 - self.signal_share, 1e-6)

    @property
    def is_noise(self) -> bool:
        """Whether the two halves of the data agree at no spatial frequency: in no three rings, without the first.

        Of fewer rings nobody can tell.
        """
        rings = self.half_data_correlation[1:]
        return len(rings) >= 3 and bool((np.convolve(rings, np.ones(3) / 3, "valid") < LEAST_CORRELATION).all())

    def expected(self, dose: float, area_A2: float) -> InformationLimit:
        """Where two halves of a scan with ``dose`` times as many electrons on a field of ``area_A2`` no longer agree.

        That is where their correlation, a mean over three rings, first falls to LEAST_CORRELATION, read between rings,
        beyond the last ring that surely agrees, with its neighbours or by itself, as beams of a lattice do: between
        these, and where the transfer of an aberrated probe is zero, there is nothing that could. Where none is sure it
        is where they first disagree; the first ring, in which there is little but the shape of the field, does not
        count.
        The signal's power grows with the square of the number of electrons and that of the noise with the number, so
        that the ratio of the two, r / (1 - r) of a correlation r of halves, grows with the dose. A ring of n
        independent frequencies tells r to (1 - r^2) / sqrt(2 n); the uncertainty is half the distance of the limits
        of all rings one such error higher and lower.
        """
        found, low, high = self.crossings(dose, area_A2)
        return InformationLimit(1 / found, abs(1 / low - 1 / high) / 2, bool(found >= self.finest_invA))

    @property
    def rings_shown(self) -> int:
        """How many rings the map can show: those with independent frequencies, two at least where there are two."""
        if self.independent is None:
            return len(self.frequency_invA)
        return min(max(int(np.count_nonzero(self.independent)), 2), len(self.frequency_invA))

    @property
    def finest_invA(self) -> float:
        """Frequency of the last ring that the map can show."""
        return float(self.frequency_invA[self.rings_shown - 1])

    def crossings(self, dose: float, area_A2: float, errors: float = 1.0) -> tuple[float, float, float]:
        """Frequencies of the limit that :meth:`expected` finds, and of rings ``errors`` errors lower and higher, 1/Å.

        The first ring's frequency where nothing is carried, that of ``finest_invA`` where all is.
        """
        count, each = self._counted(area_A2)[: self.rings_shown], self.half_data_correlation[: self.rings_shown]
        mean = np.convolve(np.pad(each, 1, mode="edge"), np.ones(3) / 3, "valid")
        error, own_error = _standard_error(mean, 3 * count), _standard_error(each, count)
        line = (mean - SURE_ERRORS * error < LEAST_CORRELATION) & (each - LINE_ERRORS * own_error >= LEAST_CORRELATION)
        mean, error = np.where(line, each, mean), np.where(line, own_error, error)
        sure = np.flatnonzero(mean - SURE_ERRORS * error >= LEAST_CORRELATION)
        start = int(sure[-1]) if len(sure) else 0
        spread = errors * error
        found, low, high = (
            self._crossing(_at_dose(values, dose), start) for values in (mean, mean - spread, mean + spread)
        )
        return found, low, high

    def _counted(self, area_A2: float) -> DoubleArray:
        """Independent frequencies of each ring, of a half plane."""
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
    """Of the correlation of rings of ``count`` independent frequencies."""
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
    """Standard deviation of a pixel by noise, in ``units``, the median of all; None where it was not measured."""
    visited: float = 1.0
    """Share of its points that the scan has come to."""
    buried: bool = False
    """Whether the map is noise, as far as two halves of the data can tell: they agree at no spatial frequency."""
    faint: bool = False
    """Whether no pixel differs from the map's median by more than noise alone may (FAINT deviations; more of many)."""

    limit: InformationLimit | None = None
    """Its information limit as it was stored, where ``quality`` was not read along."""
    modulation: float | None = None
    """Part of its mean by which the bright field changes; of maps that take the specimen for weak, where it is not."""

    @property
    def caveat(self) -> str:
        """What makes the map mean little although it is no noise, in words; empty where nothing does."""
        return "" if self.modulation is None else f"{TOO_THICK}: {scattering(self.modulation)}"

    @property
    def doubt(self) -> str:
        """Why the map is shown greyed, in words; empty where it is not."""
        return doubt_of(buried=self.buried, faint=self.faint)

    def information_limits(self) -> dict[float, InformationLimit]:
        """Its information limit, and what it would be with more electrons, by DOSES; empty where it is not known."""
        if self.buried:
            return {}
        if self.quality is None or self.sampling_A is None:
            return {} if self.limit is None else {1.0: self.limit}
        if len(self.quality.frequency_invA) < 2:  # the first ring does not count
            return {}
        area = float(np.prod(self.sampling_A)) * self.data.size * self.visited
        return {dose: self.quality.expected(dose, area) for dose in DOSES}

    def certainty(self) -> list[str]:
        """How sure it is, in words: scatter of a pixel by noise, finest period; what is not known is left out."""
        said = [] if self.deviation is None else [f"± {self.deviation:.2g} {self.units} (a pixel, by noise)"]
        limit = self.information_limits().get(1.0)
        return said if limit is None else [*said, f"information limit: {limit.words}"]

    @property
    def is_placed(self) -> bool:
        """Whether its pixels are no scan points: those were placed on a grid of its own."""
        return self.settings.get("points") == "placed"

    def frame(self, rotation_deg: float) -> tuple[tuple[float, float], float]:
        """Place of pixel (0, 0) in the detector's frame, Å, and the angle of its axes to the detector's, degrees.

        rotation_deg: of the scan's axes, which it has unless its pixels are no scan points.
        """
        if not self.is_placed:
            return (0.0, 0.0), rotation_deg
        row, col = self.settings.get("origin_A", (0.0, 0.0))
        listed = bool(row or col)  # points of no grid, in files that do not say how their maps lie
        return (float(row), float(col)), float(self.settings.get("axes_deg", 0.0 if listed else rotation_deg))


@dataclass(frozen=True)
class Strength:
    """How strongly a specimen scatters. modulation: part of its mean by which the bright field changes over the scan,
    standard deviation, without counting noise; explained: which part of that a phase explains, seen linearly. None
    where they are not known.

    The larger the modulation, the more weight terms have that are not linear in the potential, and the less is
    explained. Maps that take the specimen for weak mean little where the modulation is above ASKED_MODULATION and less
    than LEAST_EXPLAINED is explained; where the second is not known, above STRONG_MODULATION. How often that is right:
    docs/accuracy.md.
    """

    modulation: float | None = None
    explained: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether it matters what is explained."""
        return self.modulation is not None and self.modulation > ASKED_MODULATION

    @property
    def is_strong(self) -> bool:
        """Whether maps that take the specimen for weak mean little."""
        if self.modulation is None or not self.is_asked:
            return False
        if self.explained is None:
            return self.modulation > STRONG_MODULATION
        return self.explained < LEAST_EXPLAINED


def scattering(modulation: float) -> str:
    """That a specimen scatters more than once, in words."""
    return f"multiple scattering (bright field ± {100 * modulation:.0f} %)"


def doubt_of(*, buried: bool, faint: bool) -> str:
    """Why a map is shown greyed (``LiveMap.buried``, ``LiveMap.faint``), in words; empty where it is not."""
    return NOTHING_BUT_NOISE if buried else NO_PIXEL_SURE if faint else ""


def _at_dose(correlation: DoubleArray, dose: float) -> DoubleArray:
    """What the correlation of halves becomes; what is no signal stays none."""
    ratio = np.maximum(correlation, 0) / np.maximum(1 - correlation, 1e-6)
    return np.where(correlation > 0, dose * ratio / (1 + dose * ratio), correlation)
