"""What a refinement reports while it runs, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.parameters.refined import Refined
from ptylive.engine.refine.results.convergence import Convergence
from ptylive.engine.refine.results.curve import Curve
from ptylive.engine.refine.results.held_out import HeldOutQuality
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.prior import PriorReport
from ptylive.engine.refine.results.ring_correlation import Validation
from ptylive.schema import Calibration
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray

LEAST_ABSORPTION = 1e-4
"""An amplitude nearer to one everywhere is that of an object of phase alone, in single precision."""
Phase = Literal["trial", "sweep", "lbfgs", "dgp"]
State = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Preview:
    """The state of a refinement, for looking at."""

    object_phase: FloatArray
    """(Y, X) sum of the phases of all slices, rad."""
    slices: FloatArray
    """(slices, Y, X) phase of each slice, rad."""
    probe: ComplexArray
    """(modes, P, P), real space, centred on pixel P // 2."""
    object_sampling_A: float
    deviation: PhaseDeviation | None = None
    """How far noise scatters the phase; None until the run has ended, or where it is not known."""
    amplitude: FloatArray | None = None
    """(Y, X) product of the amplitudes of all slices; None of an object that is phase alone."""
    slice_amplitudes: FloatArray | None = None
    """(slices, Y, X) amplitude of each slice; None likewise."""


@dataclass(frozen=True)
class Progress:
    """One step forward; ``preview`` builds its pictures when called, and is there at most about twice a second."""

    state: State
    phase: Phase
    epoch: int
    """Epochs finished."""
    epochs: int
    """Epochs planned; 1 while trials decide of what follows, each of which is told in ``message``."""
    loss: float
    """Loss per pattern of the last finished epoch; NaN before the first."""
    seconds: float
    seconds_left: float
    evaluations: float
    """Passes over the whole data so far, in evaluations of loss and gradient."""
    message: str = ""
    warning: str = ""
    """What cannot be written at the moment, a checkpoint or the loss table; the refinement goes on without it."""
    preview: Callable[[], Preview] | None = None
    stages: tuple[int, ...] = ()
    """For each stage that has begun the epochs before it; empty where there is only one."""
    convergence: Convergence | None = None
    """Whether the run had come to rest, at its end."""


@dataclass(frozen=True)
class StageEnd:
    """One of several refinements that followed each other."""

    name: str
    first_epoch: int
    """Epochs of the stages before it."""
    settings: str
    """The preset as it was used, with what earlier stages had settled, as JSON."""
    state: State
    algorithm: str
    reason: str
    message: str


@dataclass(frozen=True)
class RefineResult:
    """A finished, stopped or failed refinement; arrays as written to ``/refinements/<run>``."""

    object: ComplexArray
    """(object modes, slices, Y, X) transmission function."""
    object_sampling_A: tuple[float, float]
    slice_thickness_A: tuple[float, ...]
    origin_A: tuple[float, float]
    """Position of object pixel (0, 0) in the frame of ``positions_A``."""
    probe: ComplexArray
    """(1, modes, P, P) real space, centred on pixel P // 2, sum |probe|^2 = mean counts per pattern; about that where a
    constraint says what the object's modulus is."""
    positions_A: DoubleArray
    """(N, 2)."""
    loss: DoubleArray
    """(epochs,) loss per pattern: of the running batches in sweeps, of all patterns in L-BFGS epochs."""
    phases: tuple[Phase, ...]
    seconds: DoubleArray
    """(epochs,)."""
    evaluations: float
    state: State
    algorithm: str
    """Data term and offset as used."""
    reason: str
    """Why this algorithm, in words."""
    message: str
    """Why it ended."""
    backend: str
    refined: Refined | None = None
    """What else was refined, and positions."""
    drift: Drift | None = None
    """What the fit of the drift found; None where it was not asked for."""
    scan_drifts: tuple[Drift | None, ...] = ()
    """The same of each of several scans, None where a scan shows no lattice; empty where it was not asked for."""
    curves: tuple[Curve, ...] = ()
    """Scans of calibration values before the run, in the order they were made."""
    validation: Validation | None = None
    """Half-data correlation and null test, where they were asked for."""
    stages: tuple[StageEnd, ...] = ()
    """Those that a run of several stages came to, in their order; loss, phases and seconds are those of all of them."""
    position_bound_A: float | None = None
    """Cramér-Rao bound of one position, both axes, Å; None where positions were not refined."""
    phase_deviation: PhaseDeviation | None = None
    """How far counting noise scatters the phase; None where it was not asked for or cannot be told."""
    convergence: Convergence | None = None
    """Whether the run had come to rest; None after too few epochs, or where it did not get to its end."""
    calibration: Calibration | None = None
    """What it was refined under: as asked for, with what trials changed; None where nobody says."""
    held_out: HeldOutQuality | None = None
    """How well its settings predict patterns held out; None where that was not asked for, or cannot be told."""
    prior: PriorReport | None = None
    """What networks came to that were trained after the pixels; None where there were none."""


def wrapped_phase(transmission: npt.NDArray[np.complex64]) -> FloatArray:
    """Phase relative to the mean transmission, rad, in (-pi, pi]."""
    return np.asarray(np.angle(transmission * np.exp(-1j * np.angle(transmission.sum()))), dtype=np.float32)


def projected_amplitude(slices: ComplexArray) -> FloatArray | None:
    """Product (Y, X) of the amplitudes of slices (n, Y, X); None where it is one everywhere."""
    amplitude = np.abs(slices).prod(axis=0).astype(np.float32)
    return amplitude if np.abs(amplitude - 1).max(initial=0.0) > LEAST_ABSORPTION else None
