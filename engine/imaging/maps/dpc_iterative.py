"""Iterative DPC: the phase whose gradient is the centre of mass on the visited points, and free everywhere else.

No periodic or mirrored frame is assumed. The field is embedded in a larger one, and everything outside the visited
points is left free. This is the least-squares problem to which the alternating projection of py4DSTEM's DPC descends
(an idea of Fienup 1978), solved by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft

from ptylive.engine.imaging.accumulation.reduced_numbers import MOMENTS
from ptylive.engine.imaging.bank import Picture
from ptylive.engine.imaging.declaration import MapSetting, MapWords, Method, Needs, in_use, live_map, with_deviation
from ptylive.engine.imaging.instant import Instant
from ptylive.engine.imaging.maps.com import com_invA, noise_of_integrated
from ptylive.engine.imaging.maps.idpc import PASSES, butterworth
from ptylive.pictures.colours import ColourMap
from ptylive.schema.model import BoolArray, ComplexArray, DoubleArray, FloatArray

ITERATIONS = 40
"""Most iterations; those that are left after :data:`CONVERGED` is reached are not made."""
MARGIN = 0.5
"""Free border on each side, as a share of the field."""
DRAWN = 2
"""Number of noise pictures drawn."""
CONVERGED = 1e-3
"""Remaining gradient, relative to the initial one, at which the iteration stops."""


@live_map(
    Method(
        "dpc_iterative",
        title="iterative DPC",
        needs=Needs.MOMENTS,
        maps=with_deviation(
            MapWords(
                "dpc_iterative",
                label="iterative DPC",
                units="rad",
                shows="the same phase as iDPC, without assumptions beyond the border",
                trust="where the field is small or has holes; otherwise as iDPC",
                colours=ColourMap.MAGMA,
                place=130,
            )
        ),
        order=60,
        afterwards=True,
        optics=("detector_pixel_invA", "scan_step_A"),
        from_roots=MOMENTS,
        settings={
            **PASSES,
            "iterations": MapSetting(
                ITERATIONS, 1, 1000, "maximum number of steps", whole=True, also=("max_iter", "num_iter")
            ),
            "step": MapSetting(
                None,
                1e-3,
                1.9,
                "step of steepest descent, as in other programs; chosen: conjugate gradients",
                also=("step_size",),
            ),
        },
        also=("dpc",),
    )
)
def iterative_dpc_map(now: Instant) -> Iterator[Picture]:
    """Make the map ``dpc_iterative``: phase in rad."""
    settings = in_use("dpc_iterative", now.settings, iterations=ITERATIONS)
    iterations, step = int(settings["iterations"]), settings.get("step")
    passes = tuple(settings.get(name) for name in PASSES)

    def integrated(com: DoubleArray) -> DoubleArray:
        return iterative_dpc(com, now.step_A, now.visited, iterations, step=step, passes=passes)

    phase, method = integrated(now.once(com_invA)), "iterative DPC, free border"
    noise = noise_of_integrated(now, integrated, DRAWN)
    yield Picture("dpc_iterative", phase, "rad", method, settings, noise=noise)


def iterative_dpc(
    com: DoubleArray,
    step_A: tuple[float, float],
    visited: BoolArray,
    iterations: int = ITERATIONS,
    *,
    step: float | None = None,
    passes: tuple[float | None, ...] = (None, None),
) -> DoubleArray:
    """Return the phase (rows, cols) in rad from CoM (2, rows, cols) in 1/Å along the scan axes; zero mean over visited.

    Conjugate gradients on the least-squares problem |visited (i Q/|Q| x - CoM)|, x = |Q| phi_hat. The norm of the
    operator is one, so the plain projection is its steepest descent with a ``step`` of 1. ``passes``: frequencies in
    1/Å below and above which the phase is damped.
    """
    rows, cols = visited.shape
    shape = (_even_fast(rows * (1 + 2 * MARGIN)), _even_fast(cols * (1 + 2 * MARGIN)))
    top, left = (shape[0] - rows) // 2, (shape[1] - cols) // 2
    frame = (slice(top, top + rows), slice(left, left + cols))
    operator = _Gradient.of(shape, step_A, visited, frame)
    residual = np.where(visited, com, 0.0).astype(np.float32)
    gradient = operator.adjoint(residual)
    solution, direction = np.zeros_like(gradient), gradient
    power = first = operator.power(gradient)
    for _ in range(iterations):
        if power <= CONVERGED**2 * first:
            break
        image = operator.forward(direction)
        length = np.float32(power / max(float((image.astype(float) ** 2).sum()), 1e-30) if step is None else step)
        solution = solution + length * direction
        residual = residual - length * image
        gradient = operator.adjoint(residual)
        power, previous = operator.power(gradient), power
        direction = gradient if step is not None else gradient + np.float32(power / previous) * direction
    phase = operator.image(solution * operator.passed(*passes))[frame].astype(float)
    return phase - phase[visited].mean() if visited.any() else phase


@dataclass(frozen=True, eq=False)
class _Gradient:
    """Operator from x = |Q| phi_hat (rows, cols // 2 + 1) to gradients (2, rows, cols) on visited points; adjoint."""

    shape: tuple[int, int]
    along: tuple[ComplexArray, ComplexArray]
    """i Q/|Q| along rows and columns."""
    inverse: FloatArray
    """1/|Q|, 0 at 0."""
    visited: BoolArray
    frame: tuple[slice, slice]

    @classmethod
    def of(
        cls, shape: tuple[int, int], step_A: tuple[float, float], visited: BoolArray, frame: tuple[slice, slice]
    ) -> _Gradient:
        q_row, q_col = fft.fftfreq(shape[0], step_A[0])[:, None], fft.rfftfreq(shape[1], step_A[1])[None]
        length = np.hypot(q_row, q_col)
        inverse = np.where(length > 0, 1.0 / np.where(length > 0, length, 1.0), 0.0)
        q_row[shape[0] // 2], q_col[:, -1] = 0.0, 0.0  # the highest frequency has no real derivative
        along = ((1j * q_row * inverse).astype(np.complex64), (1j * q_col * inverse).astype(np.complex64))
        return cls(shape, along, inverse.astype(np.float32), visited, frame)

    def forward(self, x: ComplexArray) -> FloatArray:
        """Return the gradients (2, rows, cols) of x, 0 at points that were not visited."""
        fields = [np.asarray(fft.irfft2(a * x, s=self.shape))[self.frame] for a in self.along]
        return np.where(self.visited, np.stack(fields), np.float32(0))

    def adjoint(self, gradients: FloatArray) -> ComplexArray:
        """Apply the adjoint operator to gradients (2, rows, cols)."""
        out = np.zeros((self.shape[0], self.shape[1] // 2 + 1), dtype=np.complex64)
        padded = np.zeros(self.shape, dtype=np.float32)
        for a, gradient in zip(self.along, gradients, strict=True):
            padded[self.frame] = gradient
            out += np.conj(a) * fft.rfft2(padded)
        return out

    def power(self, x: ComplexArray) -> float:
        """Return |x|^2 over the whole plane, with the transform's normalisation."""
        total = 2.0 * float((np.abs(x) ** 2).sum()) - float((np.abs(x[:, [0, -1]]) ** 2).sum())
        return total / (self.shape[0] * self.shape[1])

    def passed(self, highpass_invA: float | None, lowpass_invA: float | None) -> FloatArray:
        """Return the factor by which each frequency of the half plane is damped."""
        q2 = 1.0 / np.maximum(self.inverse.astype(float), np.finfo(np.float32).tiny) ** 2
        return butterworth(q2, highpass_invA, lowpass_invA).astype(np.float32)

    def image(self, x: ComplexArray) -> FloatArray:
        """Return the phase of x over the whole plane, with its border."""
        return np.asarray(fft.irfft2(x * self.inverse, s=self.shape))


def _even_fast(size: float) -> int:
    length = int(fft.next_fast_len(int(size)))
    while length % 2:
        length = int(fft.next_fast_len(length + 1))
    return length
