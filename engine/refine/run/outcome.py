"""The result corresponding to a parameter vector, with the log of the run that led to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import BlockName, ObjectForm
from ptylive.engine.refine.parameters.refined import Refined
from ptylive.engine.refine.parameters.varying_probe import VaryingProbe, orthogonal
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.refinement_result import RefineResult, State
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.preview import real_space
from ptylive.engine.refine.tuning.start.goodness_of_fit import counting_noise
from ptylive.engine.refine.validation.position_bound import position_bound_A
from ptylive.schema.advice.words import significant
from ptylive.schema.model import Array


@dataclass(frozen=True)
class Outcome:
    """State that a run, or a part of one, has reached."""

    vector: Array
    """(n,) parameters, after everything that a result has to obey."""
    log: Log
    state: State
    message: str
    modulus_fixed: bool
    """Whether a constraint determines the object's modulus, leaving no free factor."""

    def result(self, problem: Problem, backend: str) -> RefineResult:
        """Return the result in physical units, with the history of the run; ``backend``: its name."""
        transmission, modes = problem.layout.to_complex(self.vector)
        modes, varied = self._varied(problem, modes)
        probes = problem.layout.probe.probes
        scale = math.sqrt(probes * problem.statistics.counts_per_pattern / float((np.abs(modes) ** 2).sum()))
        if problem.layout.object_form is ObjectForm.COMPLEX and self.modulus_fixed:
            scale = 1.0
        elif problem.layout.object_form is ObjectForm.COMPLEX:
            # a common factor can move between |probe|^2 and |object|^2: fix it by the counts
            transmission = transmission * np.float32(scale ** (-1 / problem.layout.object_shape[0]))
        refined = Refined.of(
            self._quantities(problem), problem.positions_A, problem.grid.shifts_px, problem.grid.pixel_A
        )
        if (series := problem.forward.series) is not None:
            refined = refined.of_scans(series.report(self._of_scans(problem)), series.of_pattern)
        if varied is not None:
            components = real_space(varied.components * np.float32(scale))
            refined = replace(refined, opr_components=components, opr_coefficients=varied.coefficients)
        transmission, refined = problem.forward.to_results(transmission, refined, problem.grid)
        origin = problem.grid.origin_A - refined.common_shift_A
        thickness = problem.forward.object.slice_thickness_A
        if refined.slice_distances_A is not None:
            thickness = (*refined.slice_distances_A, refined.slice_distances_A[-1])
        return RefineResult(
            object=transmission,
            object_sampling_A=(problem.grid.pixel_A, problem.grid.pixel_A),
            slice_thickness_A=tuple(float(d) for d in thickness),
            origin_A=(float(origin[0]), float(origin[1])),
            probe=real_space(modes * np.float32(scale)).reshape(probes, -1, *modes.shape[1:]),
            positions_A=refined.positions_A,
            loss=np.asarray(self.log.losses, dtype=np.float64),
            phases=self.log.phases,
            seconds=np.asarray(self.log.seconds, dtype=np.float64),
            evaluations=self.log.evaluations,
            state=self.state,
            algorithm=problem.strategy.algorithm,
            reason=self._reason(problem),
            message=self.message,
            backend=backend,
            refined=refined,
            drift=problem.measured.drift,
            curves=problem.curves,
            position_bound_A=self._position_bound(problem) if refined.moved and self.state != "running" else None,
            loss_over_noise=self._loss_over_noise(problem) if self.state != "running" else None,
        )

    def _loss_over_noise(self, problem: Problem) -> float | None:
        """Ratio of the last loss to that of counting noise; None if either is unknown."""
        gain = float(problem.measured.dataset.calibration.get("counts_per_electron") or 1.0)
        noise = counting_noise(problem.multislice, gain)
        if not noise or not self.log.losses or not math.isfinite(self.log.losses[-1]):
            return None
        return self.log.losses[-1] / noise

    def _quantities(self, problem: Problem) -> dict[BlockName, Array]:
        """Other refined quantities; those that vary over the field are given per pattern."""
        blocks, field = problem.layout.other_blocks(self.vector), problem.layout.field
        distances_A = problem.layout.distances_A(blocks, np)
        blocks |= {} if distances_A is None else {BlockName.DISTANCES: distances_A}
        if field is None:
            return blocks
        added = field.added(blocks[BlockName.FIELD], blocks.get(BlockName.TILTS), blocks.get(BlockName.ABERRATIONS), np)
        in_patterns = zip((BlockName.TILTS, BlockName.ABERRATIONS, BlockName.STRETCH), added, strict=True)
        return {**blocks, **{name: values for name, values in in_patterns if values is not None}}

    def _reason(self, problem: Problem) -> str:
        """How the problem was refined, with the refined thickness if there is one."""
        thickness_A = problem.layout.other_blocks(self.vector).get(BlockName.THICKNESS)
        reason = problem.strategy.reason
        if thickness_A is None:
            return reason
        return f"{reason}; thickness refined to {significant(float(thickness_A[0]), 3)} Å"

    def _of_scans(self, problem: Problem) -> Array | None:
        """Refined parameters of joined scans, (scans, 5)."""
        return problem.layout.other_blocks(self.vector).get(BlockName.SCANS)

    def _varied(self, problem: Problem, modes: Array) -> tuple[Array, VaryingProbe | None]:
        """Modes with the mean of all patterns' probes as the first, and the variation of these probes."""
        components = problem.layout.components(self.vector)
        if components is None:
            return modes, None
        coefficients = problem.layout.other_blocks(self.vector)[BlockName.OPR_COEFFICIENTS]
        varied = orthogonal(modes[0], components, coefficients)
        return np.concatenate([varied.mean[None], modes[1:]]).astype(np.complex64), varied

    def _position_bound(self, problem: Problem) -> float:
        physical = problem.layout.physical(self.vector, np)
        return position_bound_A(problem.multislice, physical.object, physical.probe, problem.grid.pixel_A)
