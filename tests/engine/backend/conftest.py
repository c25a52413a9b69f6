"""Random multislice problems."""

from collections.abc import Callable

import numpy as np
import pytest

from ptylive.engine.backend.multislice.problem import Corrections, DataTerm, DataTermKind, MultisliceProblem
from ptylive.schema.model import DoubleArray

MakeProblem = Callable[..., MultisliceProblem]
MakePlanes = Callable[..., tuple[DoubleArray, DoubleArray]]


@pytest.fixture
def make_problem() -> MakeProblem:
    """Problem of a given window, slices and data term: Poisson counts, some unweighted pixels, sub-pixel positions."""

    def make(
        window: int, slices: int, kind: DataTermKind, offset: float, count: int = 6, dtype: str = "uint16"
    ) -> MultisliceProblem:
        rng = np.random.default_rng(window + slices)
        q = np.fft.fftfreq(window)
        phase_per_A = -2.0 * (q[:, None] ** 2 + q[None, :] ** 2)
        return MultisliceProblem(
            patterns=rng.poisson(3, (count, window, window)).astype(dtype),
            weights=(rng.random((window, window)) > 0.1).astype(np.float32),
            corners=np.stack([rng.integers(0, 5, count), rng.integers(0, 9, count)], 1),
            shifts_px=rng.random((count, 2)) - 0.5,
            object_shape=(slices, window + 5, window + 9),
            propagators=np.repeat(np.exp(10j * phase_per_A)[None], slices - 1, axis=0),
            data_term=DataTerm(kind, offset),
            phase_per_A=phase_per_A,
        )

    return make


@pytest.fixture
def make_planes() -> MakePlanes:
    """Random object and probe planes (double precision), scaled to roughly the counts of the problem's patterns."""

    def make(problem: MultisliceProblem, modes: int, object_modes: int = 1) -> tuple[DoubleArray, DoubleArray]:
        rng = np.random.default_rng(modes)
        window = problem.window
        shape = (object_modes * problem.object_shape[0], *problem.object_shape[1:])
        slices = np.exp(0.3j * rng.random(shape)) * (1 - 0.1 * rng.random(shape))
        q = np.fft.fftfreq(window)
        envelope = np.exp(-40 * (q[:, None] ** 2 + q[None, :] ** 2))
        probe = envelope * (rng.normal(size=(modes, window, window)) + 1j * rng.normal(size=(modes, window, window)))
        probe *= np.sqrt(3 * window**2 / (np.abs(probe) ** 2).sum())
        return np.stack([slices.real, slices.imag]), np.stack([probe.real, probe.imag])

    return make


@pytest.fixture
def make_corrections() -> Callable[[MultisliceProblem], Corrections]:
    """Every correction at once, each away from its value in the problem."""

    def make(problem: MultisliceProblem) -> Corrections:
        rng = np.random.default_rng(7)
        return Corrections(
            shifts_px=problem.shifts_px + 0.3 * rng.normal(size=problem.shifts_px.shape),
            current=rng.uniform(0.8, 1.2, problem.count),
            background=0.5 * rng.random((problem.window, problem.window)),
            distances_A=rng.uniform(8, 12, problem.object_shape[0] - 1),
        )

    return make
