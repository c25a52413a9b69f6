"""What ``ptylive refine`` says of a refinement before and after it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ptylive.schema.advice.cannot_tell import heard_cannot_tell

if TYPE_CHECKING:
    from ptylive.engine.refine.results.refinement_result import RefineResult
    from ptylive.engine.refine.run.history import History
    from ptylive.engine.refine.validation.checks import Checks


def outcome_of(result: RefineResult, frames: int, before: Checks | None, kept: History | None) -> dict[str, Any]:
    """What a refinement came to, as ``--json`` tells it."""
    spent = float(result.seconds.sum())
    outcome: dict[str, Any] = {
        "state": result.state,
        "frames": frames,
        "epochs": len(result.loss),
        "loss": float(result.loss[-1]) if len(result.loss) else None,
        "algorithm": result.algorithm,
        "reason": result.reason,
        "message": result.message,
        "seconds_per_epoch": float(result.seconds.mean()) if len(result.seconds) else None,
        "frames_per_s": frames * result.evaluations / max(spent, 1e-9),
        "backend": result.backend,
    }
    if cannot_tell := heard_cannot_tell(result.reason):
        outcome["cannot_tell"] = list(cannot_tell)
    if result.convergence is not None:
        outcome.update(converged=not result.convergence.falling, convergence=result.convergence.sentence)
    if result.phase_deviation is not None and math.isfinite(result.phase_deviation.median_rad):
        outcome["phase_deviation_rad"] = result.phase_deviation.median_rad
        outcome["phase_deviation_is_lower_bound"] = result.phase_deviation.lower_bound
    if result.scan_drifts and result.refined is not None and result.refined.scans is not None:
        told = zip(result.refined.scans.names, result.scan_drifts, strict=True)
        outcome["drift_A"] = {name: None if one is None else list(one.drift_A) for name, one in told}
    if before is not None:
        outcome.update(warnings=list(before.warnings), expected_seconds=before.seconds)
    if result.validation is not None:
        outcome["validation"] = result.validation.summary()
    if result.held_out is not None:
        outcome["held_out"] = {"loss": result.held_out.mean, "patterns": result.held_out.patterns}
    if kept is not None:
        outcome["history"] = str(kept.folder)
    return outcome


def describe_checks(checks: Checks) -> list[str]:
    """What is known before the run, a line each."""
    rows, columns = checks.object_shape[1:]
    told = checks.position_bound_A is not None and math.isfinite(checks.position_bound_A)
    bound = f"; a pattern tells its position to {checks.position_bound_A:.2g} Å at best" if told else ""
    return [
        f"{checks.patterns} patterns, window {checks.window_px} px,"
        f" object {checks.object_shape[0]} × {rows} × {columns} pixels of {checks.object_pixel_A:.3g} Å",
        f"probe {checks.probe_diameter_A:.3g} Å wide, neighbours overlap by {100 * checks.overlap:.0f} %;"
        f" {checks.dose_e_per_A2:.3g} e/Å²{bound}",
        f"about {checks.seconds:.0f} s and {checks.memory_bytes / 2**30:.1f} GiB",
        *checks.warnings,
    ]
