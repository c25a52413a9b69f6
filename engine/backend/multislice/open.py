"""Choice of the backend for a problem: the only place that chooses between CPU and GPU, compiled and general."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ptylive.engine.backend import device
from ptylive.engine.backend.multislice.problem import MultisliceBackend, MultisliceProblem, PythonTerm
from ptylive.engine.backend.multislice.tilted_parts import opened_by_tilts
from ptylive.schema.errors import RefinementError


def open_backend(name: str, problem: MultisliceProblem, threads: int = 1) -> MultisliceBackend:
    """Open the backend ``auto``, ``cpu`` or ``gpu`` for ``problem``; RefinementError if it is not available."""
    if name not in device.NAMES:
        raise RefinementError(f"unknown backend {name!r}", "use auto, cpu or gpu")
    if name != "cpu":
        from ptylive.engine.backend.multislice import gpu

        reason = device.missing() or gpu.too_small(problem)
        if not reason:
            return opened_by_tilts(problem, gpu.opened)
        if name == "gpu":
            raise RefinementError(f"no GPU to refine on: {reason}", "use --backend cpu")
    return opened_by_tilts(problem, partial(_on_processor, threads=threads))


def _on_processor(problem: MultisliceProblem, threads: int) -> MultisliceBackend:
    """The compiled kernel if it supports the problem, otherwise whole arrays."""
    kind = problem.data_term.kind
    python = kind.why_not_compiled if isinstance(kind, PythonTerm) else ""
    unsupported = "" if problem.model is None else problem.model.beyond_compiled()
    reasons = " and ".join(reason for reason in (unsupported, python) if reason)
    from ptylive.engine.backend.multislice.fast_sizes import is_fast

    if is_fast(problem.window) and not reasons:
        from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice

        return CompiledMultislice(problem, threads)
    from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
    from ptylive.engine.backend.multislice.specialised.backend import SpecialisedMultislice, is_possible

    plain = problem if unsupported else replace(problem, model=None)  # everything else compiled is in the propagators
    if is_possible(plain):
        return SpecialisedMultislice(plain, f"cpu (compiled, with {reasons})", threads)
    name = f"cpu (scipy, for {reasons})" if reasons else "cpu (scipy)"
    return GeneralMultislice(plain, np, plain.precision.complex.name, name, threads)
