"""Warm start: object and probe of an earlier refinement as the start of another, on other data or another grid.

Used for a scan that is still growing, for stages of a run, and for a file to start from. Other slices, windows, pixels
and modes are converted; where the earlier object does not reach, the start stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.probe import ComplexPlane, Probe
from ptylive.engine.refine.data.drift import HARMLESS, taken_A
from ptylive.engine.refine.data.object_resampling import FAINTEST, in_modes, in_slices, on_pixels
from ptylive.engine.refine.data.probe_resampling import in_number, in_window
from ptylive.engine.refine.parameters.parameter_vector import BlockName, ObjectForm, ParameterLayout
from ptylive.engine.refine.parameters.probe_model import ProbeForm
from ptylive.engine.refine.parameters.refined import Refined
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.schema.model import Array, ComplexArray, FloatArray
from ptylive.schema.scan import rotation_matrix

LEAST_SWEEPS = 3
"""Minimum number of sweeps of a warm-started run: the latest rows have not been swept yet."""
WRAPPED_RAD = -0.5
"""Phases held at or above 0 are recovered from a transmission between this value and 2 pi + this value."""


@dataclass(frozen=True)
class WarmStart:
    """Object and probe of an earlier refinement, and the number of sweeps made with them."""

    object: ComplexArray
    """(object modes, slices, Y, X) transmission."""
    sampling_A: float
    """Pixel size of object and probe."""
    origin_A: tuple[float, float]
    """Position of pixel (0, 0) in the frame of the positions."""
    probe: ComplexArray | None = None
    """(probes * modes, P, P) real space, centred on pixel P // 2; None: the problem's own."""
    sweeps: int = 0
    """Number of sweeps that need not be repeated."""
    drift_A: tuple[float, float] | None = None
    """Drift removed from the positions it was refined on, along (slow, fast) axis; None: the same as in the problem."""
    probes: int = 1
    """Number of probes, one for each part of the scan."""
    slice_thickness_A: tuple[float, ...] = ()
    """Thickness of each slice; empty: the same total thickness as the problem's."""
    nominal: Probe | None = None
    """Aperture assumed in the earlier refinement; its aberrations are replaced by the problem's. None: the same."""
    first_invA: tuple[float, float] | None = None
    """Frequency (row, column) of the first pixel of its window; None: as in the problem's."""
    refined: Refined | None = None
    """Other refined quantities: beam current, background and aberrations carry over where the problem refines them."""
    over_map: bool = False
    """Whether its object is used although the problem starts from a map."""
    words: str = "started from an earlier refinement"
    """Remark on a problem that starts here; empty: none."""
    depth_A: float = 0.0
    """Depth of its entrance surface below that of the problem."""
    frame_is_given: bool = True
    """Whether a result keeps its orientation; False: it comes from part of the same scan, whose rotation is open."""

    @classmethod
    def of(cls, result: RefineResult, sweeps: int = 0) -> WarmStart:
        """Warm start from the end of a refinement."""
        return cls(
            result.object,
            result.object_sampling_A[0],
            result.origin_A,
            result.probe.reshape(-1, *result.probe.shape[-2:]),
            sweeps,
            taken_A(result.drift),
            probes=len(result.probe),
            slice_thickness_A=result.slice_thickness_A,
            refined=result.refined,
        )

    def half_turned(self) -> WarmStart:
        """The same start under the other half turn (:mod:`half_turn`): conjugated, and rotated by 180°."""
        last = np.asarray(self.object.shape[-2:]) - 1
        row_A, column_A = (-(np.asarray(self.origin_A) + last * self.sampling_A)).tolist()
        probe, nominal, refined = self.probe, self.nominal, self.refined
        if nominal is not None:
            nominal = replace(nominal, chi_polynomial=-nominal.chi_polynomial)
        if refined is not None and refined.aberrations_A is not None:
            refined = replace(refined, aberrations_A=-refined.aberrations_A)
        return replace(
            self,
            object=self.object[..., ::-1, ::-1].conj(),
            origin_A=(row_A, column_A),
            probe=None if probe is None else _about_middle(probe).conj(),
            nominal=nominal,
            refined=refined,
        )

    def following(self, turn_deg: float) -> WarmStart:
        """The same start with the middle of its object moved as that of a scan which is turned about the origin.

        The object itself is not turned: the angle is small.
        """
        middle_A = np.asarray(self.origin_A) + (np.asarray(self.object.shape[-2:]) - 1) / 2 * self.sampling_A
        row_A, column_A = (np.asarray(self.origin_A) + rotation_matrix(turn_deg) @ middle_A - middle_A).tolist()
        return replace(self, origin_A=(row_A, column_A))

    @property
    def modes(self) -> int:
        """Number of modes of one probe."""
        return 0 if self.probe is None else len(self.probe) // self.probes

    def applied(self, problem: Problem) -> Problem:
        """Return the problem starting here, converted to its slices, pixels and modes.

        A refinement that starts from the live map uses only the probe: the map contains the low frequencies, which
        converge slowly. The same holds if another drift was removed from the positions: the earlier object is strained.
        What an earlier application to the problem spared and stated is not spared and stated again.
        """
        problem = problem if self.probe is None else self._with_probe(problem, self.probe)
        vector, layout, strategy = problem.start.copy(), problem.layout, replace(problem.strategy, probe_sweeps=0)
        if self.refined is not None:
            _copy_refined(self.refined, layout, vector)
        reason = strategy.reason.replace(f"; {self.words}", "") if self.words else strategy.reason
        sweeps, epochs = strategy.sweeps + strategy.spared_epochs, strategy.epochs + strategy.spared_epochs
        strategy = replace(strategy, sweeps=sweeps, epochs=epochs, spared_epochs=0, reason=reason)
        if self._strained(problem):
            words = f"{reason}; started anew: the earlier object belongs to another drift correction"
            strategy = replace(strategy, reason=words)
        elif self.over_map or not strategy.start_from_map:
            layout.object_block(vector)[...] = _parameters(self.resampled(problem), layout).ravel()
            spared = min(self.sweeps, max(0, sweeps - LEAST_SWEEPS))
            words = "; ".join(part for part in (reason, self.words) if part)
            strategy = replace(
                strategy, sweeps=sweeps - spared, epochs=epochs - spared, spared_epochs=spared, reason=words
            )
        return replace(problem, start=vector, strategy=strategy)

    def _with_probe(self, problem: Problem, probe: ComplexArray) -> Problem:
        """Return the problem with this probe, in its parameters or as the reference that they are relative to."""
        layout, vector = problem.layout, problem.start.copy()
        probes = probe.reshape(self.probes, self.modes, *probe.shape[1:])
        if self.probes != layout.probe.probes:
            probes = np.repeat(probes[:1], layout.probe.probes, axis=0)
        modes = np.concatenate([self._converted(plane, problem) for plane in probes])
        modes *= np.sqrt(len(probes) * problem.statistics.counts_per_pattern / (np.abs(modes) ** 2).sum())
        aberrations, rates = self._shared_aberrations(layout), layout.probe.phase_per_A
        if aberrations is not None and rates is not None:  # a result's probe contains them, the parameters do not
            modes = modes * np.exp(1j * np.tensordot(aberrations, rates, 1))
        if layout.probe.form is ProbeForm.COMPLEX:
            layout.probe_block(vector)[...] = [modes.real, modes.imag]
        else:
            layout = replace(layout, probe=replace(layout.probe, start=modes.astype(layout.probe.start.dtype)))
        return replace(problem, start=vector, layout=layout)

    def _converted(self, probe: ComplexArray, problem: Problem) -> ComplexPlane:
        """Convert one probe to Fourier modes of the problem, under its nominal aberrations."""
        measured, layout = problem.measured, problem.layout
        moved = (0.0, 0.0)
        if self.first_invA is not None:
            row, column = first_invA(measured)
            moved = (row - self.first_invA[0], column - self.first_invA[1])
        modes = in_window(probe, self.sampling_A, layout.window, problem.grid.pixel_A, moved)
        if self.nominal is not None and not measured.near_field:
            k = measured.model.k_row, measured.model.k_col
            modes = modes * np.exp(-1j * (measured.probe.chi(*k) - self.nominal.chi(*k)))
        if self.depth_A and problem.multislice.phase_per_A is not None:  # back through the vacuum in front
            modes = modes * np.exp(-1j * self.depth_A * problem.multislice.phase_per_A)
        return in_number(modes, layout.modes, measured.model, measured.wavelength_A, problem.strategy.coherence)

    def _shared_aberrations(self, layout: ParameterLayout) -> Array | None:
        """Aberrations that all patterns share, if both refine the same ones."""
        found = None if self.refined is None else self.refined.aberrations_A
        blocks = [block for block in layout.blocks if block.name is BlockName.ABERRATIONS]
        return found if found is not None and blocks and found.shape == blocks[0].start.shape else None

    def _strained(self, problem: Problem) -> bool:
        measured = problem.measured
        if self.drift_A is None:
            return False
        drift_A = np.subtract(self.drift_A, taken_A(measured.drift))
        return float(np.hypot(*drift_A)) > HARMLESS / measured.probe.semiangle_invA

    def resampled(self, problem: Problem) -> ComplexArray:
        """The transmission in the slices, modes and pixels of a problem, 1 where nothing was refined."""
        layout, grid = problem.layout, problem.grid
        new_A = problem.forward.object.slice_thickness_A
        old_A = self.slice_thickness_A or (sum(new_A) / self.object.shape[1],) * self.object.shape[1]
        slices = in_modes(in_slices(self.object, old_A, new_A, self.depth_A), layout.object_modes)
        first_px = (np.asarray(grid.origin_A) - np.asarray(self.origin_A)) / self.sampling_A
        return on_pixels(slices, (self.sampling_A, grid.pixel_A), (float(first_px[0]), float(first_px[1])), grid.shape)


def _about_middle(images: Array) -> Array:
    """Images (..., P, P) rotated by 180° about pixel P // 2."""
    even = 1 - images.shape[-1] % 2
    return np.roll(images[..., ::-1, ::-1], (even, even), axis=(-2, -1))


def first_invA(measured: Measurement) -> tuple[float, float]:
    """Frequency (row, column) of the first pixel of the model, which upsampling shifts by a fraction of a pixel."""
    return float(measured.model.k_row[0, 0]), float(measured.model.k_col[0, 0])


def _copy_refined(refined: Refined, layout: ParameterLayout, vector: Array) -> None:
    """Copy refined quantities into the blocks of the same shape."""
    background, components = refined.background, refined.opr_components
    waves = None if components is None else np.fft.fft2(components, norm="ortho")
    values = {
        BlockName.CURRENT: refined.beam_current,
        BlockName.BACKGROUND: None if background is None else np.fft.ifftshift(background),
        BlockName.ABERRATIONS: refined.aberrations_A,
        BlockName.OPR_COMPONENTS: None if waves is None else np.stack([waves.real, waves.imag]),
        BlockName.OPR_COEFFICIENTS: refined.opr_coefficients,
    }
    for name, block in layout.other_blocks(vector).items():
        value = values.get(name)
        if value is not None and value.shape == block.shape:
            block[...] = value


def _parameters(transmission: ComplexArray, layout: ParameterLayout) -> FloatArray:
    """The object parameters for a transmission, as :class:`ParameterLayout` arranges them."""
    if layout.object_form is ObjectForm.COMPLEX:
        return np.stack([transmission.real, transmission.imag]).astype(np.float32)
    phase: Array = np.angle(transmission)
    if layout.non_negative:
        phase = np.maximum(np.where(phase < WRAPPED_RAD, phase + 2 * np.pi, phase), 0)
    if layout.object_form is ObjectForm.PHASE:
        return phase.astype(np.float32)
    absorption = np.maximum(-np.log(np.maximum(np.abs(transmission), FAINTEST)), 0)
    return np.stack([phase, absorption]).astype(np.float32)
