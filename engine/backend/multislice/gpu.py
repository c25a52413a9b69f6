"""Whether a problem fits on the GPUs, and its backend there; :mod:`backend.device` says whether there is a GPU."""

from __future__ import annotations

import logging
from contextlib import suppress

import numpy as np

from ptylive.engine.backend.device import SHARE, free_bytes
from ptylive.engine.backend.multislice.problem import MultisliceBackend, MultisliceProblem, Precision, PythonTerm

log = logging.getLogger(__name__)

SPLIT_FROM = 1 << 28
"""Pixels times slices of all patterns from which several GPUs share them; with fewer, the first GPU has finished before
the others have received the object (estimated, not measured)."""
VECTORS = 30
"""Number of vectors as large as the object that a refinement keeps: parameters, gradients, L-BFGS history."""


def too_small(problem: MultisliceProblem) -> str:
    """Why the GPUs cannot hold a problem, in words, which are also logged; the empty string if they can."""
    import cupy

    cards = cupy.cuda.runtime.getDeviceCount() if _is_shared(problem) else 1
    free = SHARE * free_bytes()
    patterns = problem.count * problem.window**2 * _bytes_each(problem)
    needed = patterns / cards + 2 * problem.precision.real.itemsize * VECTORS * np.prod(
        problem.object_shape, dtype=float
    )
    if needed <= free:
        return ""
    reason = f"patterns and object need {needed / 1e9:.1f} GB of GPU memory, {free / 1e9:.1f} GB are available"
    log.warning("no refinement on the GPU: %s", reason)
    return reason


def opened(problem: MultisliceProblem) -> MultisliceBackend:
    """Open the backend on one GPU, or for a long run on all of them."""
    import cupy

    if not _is_shared(problem):
        return _on_current_gpu(problem)
    from ptylive.engine.backend.multislice.split_backend import SplitMultislice

    devices = [cupy.cuda.Device(number) for number in range(cupy.cuda.runtime.getDeviceCount())]
    return SplitMultislice(problem, devices, _on_current_gpu)


def warm_up(window: int) -> None:
    """Compile the fused kernel for a window, for each type of counts; do nothing if there is no GPU.

    Takes four seconds each the first time; cupy caches the machine code on disk. Call it in a process alongside a scan.
    """
    from ptylive.engine.backend import device

    if device.missing():
        return
    from ptylive.engine.backend.multislice.fused.cuda import CudaKernels, fitting_plan
    from ptylive.engine.backend.multislice.fused.plan import COUNTS

    with suppress(*device.current_gpu().failures):  # a refinement on the GPU will report the failure
        if (plan := fitting_plan(window)) is not None:
            for counts in COUNTS:
                CudaKernels(plan, counts)


def _is_shared(problem: MultisliceProblem) -> bool:
    import cupy

    size = problem.count * problem.window**2 * problem.object_shape[0]
    return problem.model is None and size >= SPLIT_FROM and cupy.cuda.runtime.getDeviceCount() > 1


def _bytes_each(problem: MultisliceProblem) -> int:
    from ptylive.engine.backend.multislice.fused.order import counts_type

    return np.dtype(counts_type(problem.patterns)).itemsize


def _on_current_gpu(problem: MultisliceProblem) -> MultisliceBackend:
    """The fused kernel if the window has one, otherwise whole arrays and cuFFT (cupy caches its plans)."""
    import cupy

    from ptylive.engine.backend.multislice.forward.general import GeneralMultislice

    reasons = _why_whole_arrays(problem)
    if not reasons:
        try:
            if (fused := _fused(problem)) is not None:
                return fused
        except cupy.cuda.compiler.CompileException as error:
            reason = " ".join(str(error).split())[:200]
            log.warning("whole arrays instead of the fused kernel, which cannot be compiled for this card: %s", reason)
    suffix = f", for {reasons}" if reasons else ""
    return GeneralMultislice(problem, cupy, problem.precision.complex.name, f"gpu (cuFFT{suffix})")


def _why_whole_arrays(problem: MultisliceProblem) -> str:
    """Features that the fused kernel does not support, in words; the empty string if it supports all."""
    from ptylive.engine.backend.multislice.specialised.program import space_is_of_rows_and_columns

    parts = {
        "double precision": problem.precision is Precision.DOUBLE,
        "a thickness that varies": not space_is_of_rows_and_columns(problem),
    }
    return " and ".join(feature for feature, needed in parts.items() if needed)


def _fused(problem: MultisliceProblem) -> MultisliceBackend | None:
    """The fused kernel; None if the window has none. Errors of its compiler are not caught here."""
    from ptylive.engine.backend.multislice.fused.cuda import CudaKernels, fitting_plan
    from ptylive.engine.backend.multislice.fused.order import counts_type

    kind, model, counts = problem.data_term.kind, problem.model, counts_type(problem.patterns)
    python = kind.why_not_fused if isinstance(kind, PythonTerm) else ""
    features = " and ".join(
        feature for feature in ("" if model is None else model.beyond_compiled(), python) if feature
    )
    if not features:
        from ptylive.engine.backend.multislice.fused_backend import FusedMultislice

        plan = fitting_plan(problem.window)
        return None if plan is None else FusedMultislice(problem, plan, CudaKernels(plan, counts))
    from ptylive.engine.backend.multislice.specialised.features import features_of
    from ptylive.engine.backend.multislice.specialised.fused import SpecialisedFused

    plan = fitting_plan(problem.window, features_of(problem))
    if plan is None:
        return None
    return SpecialisedFused(problem, plan, lambda each: CudaKernels(each, counts), f"gpu (with {features})")
