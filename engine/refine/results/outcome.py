"""Outcome of a refinement, in plain values and in words, for the command line and other displays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ptylive.schema.advice.cannot_tell import cannot_tell_sentences
from ptylive.schema.advice.words import significant
from ptylive.schema.preset.solver import MORE_EPOCHS

if TYPE_CHECKING:
    from ptylive.engine.refine.results.refinement_result import RefineResult

EXPLAINED = 3.0
"""Ratio of the loss to that of counting noise up to which nothing is remarked. It does not separate right from wrong:
right results left 0.9 to 5 and 15, wrong ones 1.6, 4.5 and 14 (docs/refinement.md)."""
ONE_SLICE = 1.4
"""The same for one slice: thin specimens left 1.1 at most, thick crystals refined in one slice 1.6 to 4.6."""


def outcome_of(result: RefineResult, frames: int) -> dict[str, Any]:
    """Outcome as ``--json`` prints it."""
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
        "frames_per_s": frames * result.evaluations / spent if spent > 0 else None,
        "backend": result.backend,
    }
    if result.unchanged:
        outcome["unchanged"] = True
    if cannot_tell := cannot_tell_sentences(result.reason):
        outcome["cannot_tell"] = list(cannot_tell)
    if result.convergence is not None:
        outcome.update(converged=result.convergence.converged, convergence=result.convergence.sentence)
    if result.loss_over_noise is not None:
        outcome["loss_over_noise"] = result.loss_over_noise
    if result.phase_deviation is not None and math.isfinite(result.phase_deviation.median_rad):
        outcome["phase_deviation_rad"] = result.phase_deviation.median_rad
        outcome["phase_deviation_is_lower_bound"] = result.phase_deviation.lower_bound
    if result.scan_drifts and result.refined is not None and result.refined.scans is not None:
        drifts = zip(result.refined.scans.names, result.scan_drifts, strict=True)
        outcome["drift_A"] = {name: None if drift is None else list(drift.drift_A) for name, drift in drifts}
    if result.held_out is not None:
        outcome["held_out"] = {"loss": result.held_out.mean, "patterns": result.held_out.patterns}
    return outcome


def noise_words(loss_over_noise: float, slices: int) -> str:
    """Return what the ratio of the loss to that of counting noise means, as a sentence; one slice should leave less."""
    words = f"the loss is {significant(loss_over_noise, 2)} times that of counting noise alone"
    if slices == 1 and loss_over_noise > ONE_SLICE:
        thick = "the model lacks something (if the specimen is thick, give total_thickness_A)"
        return f"{words}: {thick}, or counts are not electrons (counts_per_electron)"
    if loss_over_noise <= EXPLAINED:
        return words
    return f"{words}: the model lacks something (calibration, thickness, source size), or the minimum is a wrong one"


def unchanged_words(result: RefineResult) -> str:
    """Return why nothing was left to do for a resumed run, and what continues it, as a sentence."""
    epochs = len(result.loss)
    if result.convergence is not None and result.convergence.at_rest:
        return "nothing was refined: no step lowers the loss any more"
    more = "raise epoch_max of the last stage" if result.stages else f"give the total, --epochs {epochs + MORE_EPOCHS}"
    return f"nothing was refined: all {epochs} epochs had been done before; to continue, {more}"


def sentences_of(result: RefineResult) -> list[str]:
    """Return the outcome as sentences, one per line."""
    sentences = [f"{result.algorithm}: {result.reason}"]
    sentences += [f"warning: {words}" for words in cannot_tell_sentences(result.reason)]
    if result.unchanged:
        sentences.append(unchanged_words(result))
    if result.convergence is not None:
        hint = f" (--resume --epochs {len(result.loss) + MORE_EPOCHS})" if result.convergence.falling else ""
        sentences.append(f"{result.convergence.sentence}{hint}")
    if result.loss_over_noise is not None:
        sentences.append(noise_words(result.loss_over_noise, int(result.object.shape[1])))
    if result.phase_deviation is not None:
        sentences.append(f"standard deviation of the phase by counting noise: {result.phase_deviation.words} (median)")
    return sentences
