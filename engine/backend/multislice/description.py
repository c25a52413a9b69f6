"""Everything that can be modelled beyond the plain far field of :mod:`ptylive.engine.backend.multislice.problem`.

Frequencies have the zero at [0, 0]; real-space coordinates are counted from pixel P // 2, the position of the probe.
Tilts are tangents; exp(+2 pi i d q . tan) moves the wave by -d tan over the distance d, as if each slice were displaced
by d tan relative to the one before (the sign of the field, not PyPty's).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ptylive.schema.model import DoubleArray, FloatArray, IndexArray


class SplitStep(StrEnum):
    """How transmission and propagation are interleaved over the thickness d of a slice; values are PyPty's names."""

    FIRST_ORDER = "multislice"
    """O(d) H(d)"""
    SECOND_ORDER = "better_multislice"
    """H(d/2) O(d) H(d/2) (Strang)"""
    FOURTH_ORDER = "yoshida"
    """The second-order step over w1 d, w0 d, w1 d, w1 = 1 / (2 - 2^(1/3)), w0 = 1 - 2 w1 (Yoshida 1990)"""


INSIDE_MODES, BEFORE_MODES, AFTER_MODES = (0, 3, 4), (2, 4), (1, 3, 4)
"""Values of PyPty's ``tilt_mode`` that use each kind of tilt."""


@dataclass(frozen=True)
class Tilts:
    """Tilts of patterns: of the beam before the specimen, of the specimen, and of the wave behind it."""

    tangents: DoubleArray
    """(N or 1, 6): before (row, col), inside (row, col), after (row, col)."""
    mode: int
    """PyPty's ``tilt_mode``, 0 to 4."""
    fixed: bool = False
    """Whether the tilts never change, so that they can be part of the free-space propagators."""

    @property
    def before(self) -> bool:
        """Whether the aperture is shifted."""
        return self.mode in BEFORE_MODES

    @property
    def inside(self) -> bool:
        """Whether the free space between slices is sheared."""
        return self.mode in INSIDE_MODES

    @property
    def after(self) -> bool:
        """Whether the pattern is shifted on the detector."""
        return self.mode in AFTER_MODES


@dataclass(frozen=True)
class AberrationGroups:
    """Aberrations that differ between groups of patterns, added to the probe's own."""

    phase_per_A: FloatArray
    """(n, P, P) phase chi of each coefficient at 1 Å."""
    values_A: DoubleArray
    """(groups, n) coefficients of each group."""
    group: IndexArray
    """(N,) group of each pattern."""


@dataclass(frozen=True)
class NearField:
    """Near-field model: the patterns are images, the exit wave behind a lens, in real space.

    Lens exp(-i (-pi lam defocus q^2 + pi/2 Cs lam^3 q^4)), underfocus positive. The image is then blurred by the range
    of incident angles: I <- F^H exp(-(pi alpha defocus q)^2) F I, a blur that keeps the sum (Koch, Micron 63 (2014)
    69). Each angle shifts the image by angle * defocus. The model neglects that Cs shifts fine detail less, so
    Cs lam^2 q^2 should be small compared with the defocus.
    """

    defocus_A: DoubleArray
    """(N,)."""
    Cs_A: float
    alpha_rad: float
    """1/e half-width of the distribution of incident angles."""


@dataclass(frozen=True)
class PointSpread:
    """Detector point spread: probabilities of counting an electron around the pixel it hits, equal for all pixels."""

    variance_px2: float = 0.0
    """Variance of the Gaussian along each axis, pixels squared."""
    image: FloatArray | None = None
    """(p, p) an additional measured one, centred on [0, 0], at or above 0, sum 1; pixels of the detector's window."""


@dataclass(frozen=True)
class PerpendicularTerm:
    """weight * (p - measured)^2, p = |v|^2 - sum of squared coefficients on one region.

    v is the intensity, or its square root if roots were projected. Counts scatter, so recorded squared intensities
    contain their variance, which is the intensity itself; the model adds the part of it that the masks leave out.
    """

    region: FloatArray
    """(P * P,) 1 inside the region."""
    masks: IndexArray
    """Rows of the masks that lie in the region; these are orthonormal."""
    measured: FloatArray
    """(N,)."""
    weight: float


@dataclass(frozen=True)
class CompressedPatterns:
    """Coefficients instead of patterns: s_k = sum_q M_k(q) v(q), where v is the intensity or its square root."""

    values: FloatArray
    """(N, K)."""
    masks: FloatArray
    """(K, P * P), zero frequency first."""
    whitening: FloatArray | None = None
    """(K, K) W: least squares of W (s - values); None: the identity."""
    perpendicular: tuple[PerpendicularTerm, ...] = ()
    edge: FloatArray | None = None
    """(P * P,) weight of the intensity outside all masks (eq. 10)."""


@dataclass(frozen=True)
class ForwardModel:
    """Everything beyond the plain far field; attributes left at their default are not modelled and cost nothing."""

    pixel_A: float
    """Size of an object pixel."""
    wavelength_A: float
    thickness_A: tuple[float, ...]
    """(slices,) thickness of each slice; the last one only matters for split steps of higher order."""
    split: SplitStep = SplitStep.FIRST_ORDER
    band: FloatArray | None = None
    """(P, P) factor on the spectrum of windows, waves and far field."""
    tilts: Tilts | None = None
    aberrations: AberrationGroups | None = None
    probe_marker: IndexArray | None = None
    """(N,) probe used for each pattern; probe planes then hold all modes of probe 0, of probe 1, …"""
    probes: int = 1
    """Number of probes, even if no pattern was recorded with the last ones."""
    phase_plates: Any = None
    """(N, P, P) factors on the probe in the aperture plane, read a few at a time."""
    near_field: NearField | None = None
    upsampling: int = 1
    """Model pixels per detector pixel along each axis."""
    spread: PointSpread | None = None
    stretched: bool = False
    """Whether free space is longer for some patterns, by :attr:`Corrections.stretch`."""
    varying_modes: int = 0
    """Number of first probe modes that vary, by :attr:`Corrections.opr_components`; not used without these."""
    compressed: CompressedPatterns | None = None

    def part(self, chosen: IndexArray | slice) -> ForwardModel:
        """Return the model of some of the patterns, in the order of their numbers."""
        tilts, groups, near_field, compressed = self.tilts, self.aberrations, self.near_field, self.compressed
        if tilts is not None and len(tilts.tangents) > 1:
            tilts = replace(tilts, tangents=tilts.tangents[chosen])
        if compressed is not None:
            lengths = tuple(replace(length, measured=length.measured[chosen]) for length in compressed.perpendicular)
            compressed = replace(compressed, values=compressed.values[chosen], perpendicular=lengths)
        return replace(
            self,
            tilts=tilts,
            aberrations=None if groups is None else replace(groups, group=groups.group[chosen]),
            probe_marker=None if self.probe_marker is None else self.probe_marker[chosen],
            phase_plates=None if self.phase_plates is None else self.phase_plates[chosen],
            near_field=None if near_field is None else replace(near_field, defocus_A=near_field.defocus_A[chosen]),
            compressed=compressed,
        )

    def beyond_compiled(self) -> str:
        """Features that the compiled kernel does not support, in words; the empty string if it supports all."""
        parts = {
            f"split step {self.split}": self.split is not SplitStep.FIRST_ORDER,
            "a band limit": self.band is not None,
            "tilts": self.tilts is not None,
            "groups of aberrations": self.aberrations is not None,
            "several probes": self.probe_marker is not None,
            "phase plates": self.phase_plates is not None,
            "the near field": self.near_field is not None,
            "upsampling": self.upsampling > 1,
            "the detector's point spread": self.spread is not None,
            "a probe that varies": self.varying_modes > 0,
            "a thickness that varies": self.stretched,
            "coefficients": self.compressed is not None,
        }
        return ", ".join(feature for feature, needed in parts.items() if needed)
