"""Two independent halves of the dose: every count of a pattern is assigned to one of two patterns by a fair coin.

Thinned Poisson counts are independent, so whatever two reconstructions of them share is not noise (unlike halves of the
scan positions, they have the same illumination everywhere).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ptylive.engine.analysis.fourier_correlation import (
    FourierCorrelation,
    ring_correlation,
    scanned_area,
    shell_correlation,
)
from ptylive.engine.analysis.uncertainty import PhaseUncertainty, phase_uncertainty
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult, wrapped_phase
from ptylive.engine.refine.run.run import refine
from ptylive.engine.refine.tuning.depth.depth_choice import with_depth_of
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema import MetadataError
from ptylive.schema.model import Array, FloatArray
from ptylive.schema.preset import Preset


def half_dose_pair(dataset: Dataset, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return the two halves. Raises MetadataError if patterns are not counts."""
    patterns: Array = np.asarray(dataset.patterns[:])
    if dataset.masks is not None or patterns.dtype.kind not in "ui":
        raise MetadataError("half-dose pairs need whole counts", "convert the recording: --dtype u2")
    first = np.random.default_rng(seed).binomial(patterns, 0.5).astype(patterns.dtype)
    return replace(dataset, patterns=first), replace(dataset, patterns=patterns - first)


@dataclass(frozen=True)
class HalfDose:
    """Agreement of two halves of the dose."""

    rings: FourierCorrelation
    """For the phase of all slices together, scanned area."""
    shells: FourierCorrelation | None
    """For the stack of slices; None for one slice."""
    uncertainty: PhaseUncertainty
    results: tuple[RefineResult, RefineResult]


def compare_half_doses(
    dataset: Dataset,
    preset: Preset,
    context: TrialContext | None = None,
    seed: int = 0,
    on_progress: Callable[[int, Progress], None] = lambda half, progress: None,
) -> HalfDose:
    """Refine both halves with one preset, from the same start, and compare them; takes the time of two runs.

    Slices that the preset leaves open are those chosen for the first half.

    ``on_progress`` receives which half (0 or 1) is being refined, and its progress.
    """
    trial = context or TrialContext()

    def refined(number: int, half: Dataset, settings: Preset) -> RefineResult:
        return refine(
            half,
            settings,
            start=trial.start,
            backend=trial.backend,
            threads=trial.threads,
            on_progress=partial(on_progress, number),
        )

    halves = half_dose_pair(dataset, seed)
    first = refined(0, halves[0], preset)
    second = refined(1, *with_depth_of(halves[1], preset, first.object.shape[1], sum(first.slice_thickness_A)))
    area = scanned_area(
        (first.object.shape[2], first.object.shape[3]), first.origin_A, first.positions_A, first.object_sampling_A[0]
    )
    stacks = [_phases(result)[(slice(None), *area)] for result in (first, second)]
    pixel = first.object_sampling_A[0]
    sums = stacks[0].sum(axis=0), stacks[1].sum(axis=0)
    rings = ring_correlation(*sums, pixel)
    several = len(stacks[0]) > 1
    shells = shell_correlation(stacks[0], stacks[1], pixel, first.slice_thickness_A[0]) if several else None
    return HalfDose(rings, shells, phase_uncertainty(*sums, pixel), (first, second))


def _phases(result: RefineResult) -> FloatArray:
    """Return the phases (slices, Y, X), rad."""
    return np.stack([wrapped_phase(transmission) for transmission in result.object.mean(axis=0)])
