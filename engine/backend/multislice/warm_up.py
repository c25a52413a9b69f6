"""Compile (or load from the cache) the code that a refinement needs, before the first refinement has to wait for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.description import CompressedPatterns, ForwardModel, PointSpread
from ptylive.engine.backend.multislice.fast_sizes import is_fast
from ptylive.engine.backend.multislice.kernel_parts.kernel_paths import KernelPath
from ptylive.engine.backend.multislice.problem import (
    CoefficientTermKind,
    DataTerm,
    DataTermKind,
    MultisliceProblem,
    Precision,
)
from ptylive.engine.backend.multislice.specialised.backend import SpecialisedMultislice


def warm_up(
    window: int, ways: tuple[KernelPath, ...] = tuple(KernelPath), precision: Precision = Precision.SINGLE
) -> None:
    """Compile these ways of the compiled kernel, for every recorded type; do nothing unless the window size is fast.

    The first time on a machine this takes some thirty seconds for all ways, half of that for one, and three for every
    further window size; call it in the background while a scan runs.
    """
    if not is_fast(window):
        return
    problem = MultisliceProblem(
        patterns=np.zeros((1, window, window), np.uint16),
        weights=np.ones((window, window), np.float32),
        corners=np.zeros((1, 2), np.int64),
        shifts_px=np.zeros((1, 2)),
        object_shape=(1, window, window),
        propagators=np.zeros((0, window, window), np.complex128),
        data_term=DataTerm(DataTermKind.AMPLITUDE, 0.0),
        phase_per_A=np.zeros((window, window)),
        precision=precision,
    )
    for way in ways:
        _compile(way, problem)


def _compile(way: KernelPath, problem: MultisliceProblem) -> None:
    """Run one empty pattern along a way."""
    planes, real = (2, 1, problem.window, problem.window), problem.precision.real
    ones, probe = np.ones(planes, real), np.zeros(planes, real)
    if way is KernelPath.FRAMES:
        backend = CompiledMultislice(problem)
        backend.illumination(probe)
        backend.loss_and_gradient(ones, probe)
        backend.losses(ones, probe, np.arange(1))
        backend.intensities(ones, probe)
        return
    model = ForwardModel(pixel_A=1.0, wavelength_A=0.02, thickness_A=())
    if way is KernelPath.OUTSIDE:
        variant = replace(problem, model=replace(model, spread=PointSpread(variance_px2=1.0)))
    else:
        masks = CompressedPatterns(np.zeros((1, 1), np.float32), np.ones((1, problem.window**2), np.float32))
        term = DataTerm(CoefficientTermKind.LEAST_SQUARES, 0.0)
        variant = replace(problem, data_term=term, model=replace(model, compressed=masks))
    SpecialisedMultislice(variant, "warm-up").loss_and_gradient(ones, probe)
