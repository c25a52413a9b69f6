"""The interface between refinement and backends: the multislice loss over a set of patterns, and its gradient.

Physics (unitary transforms F, window of P x P pixels, zero frequency at [0, 0]):

    psi_1 = F^H (probe * ramp_n)        ramp_n moves the probe by the sub-pixel remainder of position n
    phi_z = O_z psi_z                   O_z: the window of slice z at the pixel corner of position n
    psi_z+1 = F^H (H_z F phi_z)         H_z = exp(-i pi lam dz q^2), no propagation behind the last slice
    I = sum over modes |F turn_n phi_Z|^2    counts; sum |probe|^2 over pixels and modes = counts of a pattern

turn_n = exp(2 pi i x . offset_n / P) moves pattern n on the detector (descan); 1 if no offsets are given.

Several object modes (states of the specimen, each probed by one electron) are averaged. On request
(:class:`Corrections`) the wave of pattern n carries the square root of its beam current, and a static background is
added.

The adjoints, backwards: turn_n* g, psi* g to slice z, O_z* g onwards, F^H (H_z* F g), ramp_n* F g to the probe.
Refinement parameters are real planes, [0] the real and [1] the imaginary parts, so gradients are plain dL/dx.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray

if TYPE_CHECKING:
    from ptylive.engine.backend.multislice.description import ForwardModel


class Precision(StrEnum):
    """Precision of parameters, waves and gradients; sums over patterns are in double precision in either case."""

    SINGLE = "single"
    DOUBLE = "double"

    @property
    def real(self) -> np.dtype[Any]:
        """Type of real numbers."""
        return np.dtype(np.float32 if self is Precision.SINGLE else np.float64)

    @property
    def complex(self) -> np.dtype[Any]:
        """Type of complex numbers."""
        return np.dtype(np.complex64 if self is Precision.SINGLE else np.complex128)


class DataTermKind(StrEnum):
    """How a modelled pattern I is compared with the counts D."""

    AMPLITUDE = "lsq_sqrt"
    """sum w (sqrt(I + c) - sqrt(D + c))^2"""
    POISSON = "ml"
    """sum w ((I + c) - D - D ln((I + c) / D)), never negative where c = 0"""
    INTENSITY = "lsq"
    """sum w (I - D)^2"""
    CHI_SQUARED = "lsq_sqrt_2"
    """sum w (I - D)^2 / (2 D) where D > 0.5, sum w I elsewhere"""


class CoefficientTermKind(StrEnum):
    """How coefficients s of a modelled pattern are compared with recorded ones D (``forward.comparison``)."""

    LEAST_SQUARES = "lsq_compressed"
    """sum |W (s - D)|^2"""
    GAUSS = "gauss_compressed"
    """sum (sqrt(s) - sqrt(D))^2"""
    POISSON = "poisson_compressed"
    """sum s - D - D ln(s / D)"""
    ROOT = "sqrt_compressed"
    """as lsq_compressed, for the square roots of the intensity"""


@dataclass(frozen=True)
class PythonTerm:
    """A data term that is a Python function, evaluated on whole arrays, or compiled if it has a form for one pixel."""

    name: str
    compare: Callable[[Any, Any, Any, float], tuple[Any, Any]]
    """(intensity, counts, weights, offset) -> loss, and its derivative by the intensity, both weighted."""
    curvature: Callable[[Any], Any]
    """d2 loss / dI2 at a fit, from the counts of a pixel, offset included."""
    constant: str = ""
    """Preset key that sets the offset."""
    help: str = ""
    pixel: Callable[[Any, Any, Any], tuple[Any, Any]] | None = None
    """The term for one pixel, for numba to compile: (intensity, counts, offset) -> loss and derivative, no weights."""
    likelihood: None = None
    """Ratio of the loss to the negative logarithm of the likelihood; here it is found from the curvature."""

    def __str__(self) -> str:
        """Return its name as in the preset."""
        return self.name

    @property
    def why_not_fused(self) -> str:
        """Reason that appears in the name of a GPU backend."""
        return f"the data term {self.name}, a Python function"

    @property
    def why_not_compiled(self) -> str:
        """Reason that appears in the name of the CPU backend; the empty string if the term is compiled."""
        return self.why_not_fused if self.pixel is None else ""


FEW_COUNTS = 0.5
"""Counts up to which a pixel has no variance to divide by in lsq_sqrt_2."""


@dataclass(frozen=True)
class DataTerm:
    """The loss of one pattern and its offset or floor c, in counts."""

    kind: DataTermKind | CoefficientTermKind | PythonTerm
    offset: float


@dataclass(frozen=True)
class MultisliceProblem:
    """Everything that stays fixed while object and probe are refined.

    Patterns and weights have the zero frequency at [0, 0]. Patterns may be a view of memory that is transposed in the
    detector axes: the compiled backend reads this order and then needs no copy.
    """

    patterns: Array
    """(N, P, P) counts in the recorded type."""
    weights: FloatArray
    """(P, P): 0 where nothing was measured or pixels are excluded."""
    corners: IndexArray
    """(N, 2) object pixel of the window's corner."""
    shifts_px: DoubleArray
    """(N, 2) sub-pixel remainder of the position, object pixels, within +- 0.5."""
    object_shape: tuple[int, int, int]
    """Slices, rows, columns."""
    propagators: Array
    """(slices - 1, P, P) complex128, modulus 1."""
    data_term: DataTerm
    phase_per_A: DoubleArray | None = None
    """(P, P) -pi lam q^2, rad/Å: needed if slice distances are refined; then propagators = exp(i phase_per_A d)."""
    offsets_px: DoubleArray | None = None
    """(N, 2) displacement of each pattern on the detector, in pixels of the window."""
    current: DoubleArray | None = None
    """(N,) beam current of each pattern relative to the mean; None: the same for all."""
    model: ForwardModel | None = None
    """Features modelled beyond the plain far field; needs ``phase_per_A``."""
    precision: Precision = Precision.SINGLE

    @property
    def window(self) -> int:
        """Side length P of the window in pixels."""
        if self.model is not None and self.phase_per_A is not None:
            return int(self.phase_per_A.shape[-1])  # pixels of the model, which may be finer than the detector's
        return int(self.patterns.shape[-1])

    @property
    def count(self) -> int:
        """Number of patterns N."""
        return int(self.patterns.shape[0])

    def part(self, chosen: IndexArray | slice) -> MultisliceProblem:
        """Return the problem for some of the patterns, in the order of their numbers, which may repeat."""
        return replace(
            self,
            patterns=self.patterns[chosen],
            corners=self.corners[chosen],
            shifts_px=self.shifts_px[chosen],
            offsets_px=None if self.offsets_px is None else self.offsets_px[chosen],
            current=None if self.current is None else self.current[chosen],
            model=None if self.model is None else self.model.part(chosen),
        )


PER_PATTERN = ("shifts_px", "current", "opr_coefficients", "stretch")
"""Corrections with one entry per pattern; when patterns are distributed, the others are common to all parts."""


@dataclass(frozen=True)
class Corrections:
    """Quantities that can be refined besides object and probe. None: as in the problem, and no gradient is computed.

    In a gradient the fields hold derivatives of the same shapes, which are 0 for patterns that were not requested.
    """

    shifts_px: Any = None
    """(N, 2) replaces the problem's ``shifts_px``; may exceed half a pixel."""
    current: Any = None
    """(N,) beam current relative to the mean: factor of the intensity, above 0."""
    background: Any = None
    """(P, P) counts added to every modelled pattern."""
    distances_A: Any = None
    """(slices - 1,) free space behind each slice."""
    tilts: Any = None
    """(N or 1, 6) tangents, replaces the model's."""
    aberrations_A: Any = None
    """(groups, n), replaces the model's."""
    spread_px2: Any = None
    """(1,) variance of the detector's Gaussian point spread, pixels squared, replaces the model's."""
    stretch: Any = None
    """(N,) relative excess of a pattern's free-space distances between slices over the common ones."""
    opr_components: Any = None
    """(2, n * m, P, P) planes in Fourier space by which the first m modes vary, grouped by component."""
    opr_coefficients: Any = None
    """(N, n) coefficient of each component in each pattern's probe."""

    def __add__(self, other: Corrections) -> Corrections:
        """Sum of two gradients."""
        return Corrections(
            *(None if a is None else a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def of_patterns(self, patterns: IndexArray | slice, xp: ModuleType) -> Corrections:
        """Return the corrections of some patterns only, in the array module and on the current device."""
        arrays = self._on_device(xp)
        patterns = patterns if isinstance(patterns, slice) else xp.asarray(patterns)
        chosen = {
            name: xp.ascontiguousarray(arrays[name][patterns]) for name in PER_PATTERN if arrays[name] is not None
        }
        return Corrections(**{**arrays, **chosen})

    def among_all(self, patterns: IndexArray | slice, count: int, xp: ModuleType) -> Corrections:
        """Inverse of :meth:`of_patterns` for a gradient: entries of ``patterns`` among ``count``, 0 elsewhere."""
        arrays = self._on_device(xp)
        patterns = patterns if isinstance(patterns, slice) else xp.asarray(patterns)
        for name in PER_PATTERN:
            if arrays[name] is not None:
                placed = xp.zeros((count, *arrays[name].shape[1:]), arrays[name].dtype)
                placed[patterns] = arrays[name]
                arrays[name] = placed
        return Corrections(**arrays)

    def _on_device(self, xp: ModuleType) -> dict[str, Any]:
        return {name: None if at is None else xp.asarray(at) for name, at in vars(self).items()}


HELD = Corrections()
OF_PLAIN_MODEL = frozenset({"shifts_px", "current", "background", "distances_A"})
"""Corrections that the kernels of the plain model know; all others belong to an extended model."""


def expect_plain(corrections: Corrections) -> None:
    """Raise TypeError for a correction that a kernel of the plain model would ignore."""
    unknown = [name for name, values in vars(corrections).items() if values is not None and name not in OF_PLAIN_MODEL]
    if unknown:
        raise TypeError(f"the plain model has no {', '.join(unknown)}")


@dataclass(frozen=True)
class LossGradient:
    """Loss over the requested patterns, and its gradient with respect to the planes of object and probe."""

    loss: Any
    """A float, or a 0-d array of the backend's module: only code that needs its value waits for the device."""
    object: Any
    """(2, object modes * slices, Y, X) in the backend's array module."""
    probe: Any
    """(2, modes, P, P)."""
    corrections: Corrections = HELD

    def __iadd__(self, other: LossGradient) -> LossGradient:
        """Add in place: object and probe may take up a good part of the memory."""
        for total, part in ((self.object, other.object), (self.probe, other.probe)):
            total[...] += part
        return LossGradient(self.loss + other.loss, self.object, self.probe, self.corrections + other.corrections)

    def __add__(self, other: LossGradient) -> LossGradient:
        """Loss and gradient of the patterns of both."""
        return LossGradient(
            self.loss + other.loss,
            self.object + other.object,
            self.probe + other.probe,
            self.corrections + other.corrections,
        )


class MultisliceBackend(Protocol):
    """An implementation of :class:`MultisliceProblem`'s evaluation. Arrays are of the module ``xp`` (numpy or cupy)."""

    name: str
    xp: ModuleType

    def loss_and_gradient(
        self,
        object_planes: Any,
        probe_planes: Any,
        indices: IndexArray | None = None,
        *,
        probe_gradient: bool = True,
        corrections: Corrections = HELD,
    ) -> LossGradient:
        """Sum of the losses of the patterns ``indices`` (None: all) and its gradient.

        object_planes (2, object modes * slices, Y, X), with all slices of a mode together; probe_planes (2, modes, P,
        P) in Fourier space. Without ``probe_gradient`` the probe's gradient is zero, saving one transform per mode.
        """

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> Any:
        """Sum over patterns and modes of |probe(r - r_n)|^2 on the object's grid (Y, X), at whole-pixel positions."""

    def to_numpy(self, array: Any) -> Array:
        """Return a numpy array with the values of ``array``."""

    def close(self) -> None:
        """Release threads and device memory."""
