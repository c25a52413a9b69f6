"""Progress and results of a refinement."""

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
"""An object whose amplitude is closer to one everywhere is a pure phase object, in single precision."""
Phase = Literal["trial", "sweep", "lbfgs", "dgp"]
State = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Preview:
    """Displayable state of a refinement."""

    object_phase: FloatArray
    """(Y, X) sum of the phases of all slices, rad."""
    slices: FloatArray
    """(slices, Y, X) phase of each slice, rad."""
    probe: ComplexArray
    """(modes, P, P), real space, centred on pixel P // 2."""
    object_sampling_A: float
    deviation: PhaseDeviation | None = None
    """Scatter of the phase due to noise; None until the run has ended, or if it is unknown."""
    amplitude: FloatArray | None = None
    """(Y, X) product of the amplitudes of all slices; None for a pure phase object."""
    slice_amplitudes: FloatArray | None = None
    """(slices, Y, X) amplitude of each slice; None for a pure phase object."""


@dataclass(frozen=True)
class Progress:
    """One progress report; ``preview`` builds its images when called, and is present at most about twice a second."""

    state: State
    phase: Phase
    epoch: int
    """Number of finished epochs."""
    epochs: int
    """Number of planned epochs; 1 during the preceding trials, each of which is described in ``message``."""
    loss: float
    """Loss per pattern of the last finished epoch; NaN before the first."""
    seconds: float
    seconds_left: float
    evaluations: float
    """Passes over the whole data so far, in evaluations of loss and gradient."""
    message: str = ""
    warning: str = ""
    """What cannot currently be written, a checkpoint or the loss table; the refinement continues without it."""
    preview: Callable[[], Preview] | None = None
    stages: tuple[int, ...] = ()
    """Number of epochs before each stage that has begun; empty if there is only one stage."""
    convergence: Convergence | None = None
    """Whether the run had converged when it ended."""
    losses: tuple[float, ...] = ()
    """Losses of the last finished epochs, as far as they are known; a resumed run also has those from before."""
    phases: tuple[Phase, ...] = ()
    """Phase of each of these epochs."""


@dataclass(frozen=True)
class StageEnd:
    """End of one of several consecutive refinements."""

    name: str
    first_epoch: int
    """Number of epochs in the stages before it."""
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
    """(1, modes, P, P) real space, centred on pixel P // 2, sum |probe|^2 = mean counts per pattern; approximately so
    if a constraint determines the object's modulus."""
    positions_A: DoubleArray
    """(N, 2) positions."""
    loss: DoubleArray
    """(epochs,) loss per pattern: of the running batches in sweeps, of all patterns in L-BFGS epochs."""
    phases: tuple[Phase, ...]
    seconds: DoubleArray
    """(epochs,) time per epoch."""
    evaluations: float
    state: State
    algorithm: str
    """Data term and offset as used."""
    reason: str
    """Reason for the algorithm, in words."""
    message: str
    """Why the run ended."""
    backend: str
    refined: Refined | None = None
    """Other refined quantities, and positions."""
    drift: Drift | None = None
    """Result of the drift fit; None if drift was not to be refined."""
    scan_drifts: tuple[Drift | None, ...] = ()
    """Drift of each of several scans, None if a scan shows no lattice; empty if drift was not to be refined."""
    curves: tuple[Curve, ...] = ()
    """Scans of calibration values before the run, in the order they were made."""
    validation: Validation | None = None
    """Half-data correlation and null test, if they were requested."""
    stages: tuple[StageEnd, ...] = ()
    """Ends of the stages of a run, in order; loss, phases and seconds cover all of them."""
    position_bound_A: float | None = None
    """Cramér-Rao bound of one position, both axes, Å; None if positions were not refined."""
    phase_deviation: PhaseDeviation | None = None
    """Scatter of the phase due to counting noise; None if it was not requested or cannot be determined."""
    loss_over_noise: float | None = None
    """Ratio of the last loss, regularisers included, to the loss that counting noise alone would leave under the right
    model: about 1 if the model explains the patterns. None for data terms of which it is not known."""
    likelihood_over_noise: float | None = None
    """The same ratio for the likelihood of all pixels, whatever loss was refined, to compare numbers of slices. None
    where it is not known, or if a number of epochs was given."""
    model_error: float | None = None
    """Relative error of the modelled counts that would leave as much more likelihood than noise does. None likewise."""
    convergence: Convergence | None = None
    """Whether the run had converged; None after too few epochs, or if it did not finish."""
    calibration: Calibration | None = None
    """Calibration used for the refinement: as given, with changes by trials; None if unknown."""
    held_out: HeldOutQuality | None = None
    """How well its settings predict held-out patterns; None if it was not requested or cannot be determined."""
    prior: PriorReport | None = None
    """Outcome of networks that were trained after the pixels; None if there were none."""
    unchanged: bool = False
    """Whether nothing was left to do for a resumed run: all of its epochs had been done."""


def wrapped_phase(transmission: npt.NDArray[np.complex64]) -> FloatArray:
    """Phase of a transmission, of its shape, relative to its mean, rad, in (-pi, pi]."""
    return np.asarray(np.angle(transmission * np.exp(-1j * np.angle(transmission.sum()))), dtype=np.float32)


def projected_amplitude(slices: ComplexArray) -> FloatArray | None:
    """Product (Y, X) of the amplitudes of slices (n, Y, X); None if it is one everywhere."""
    amplitude = np.abs(slices).prod(axis=0).astype(np.float32)
    return amplitude if np.abs(amplitude - 1).max(initial=0.0) > LEAST_ABSORPTION else None
