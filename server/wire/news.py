"""News for an absent user: a scan or refinement has ended, frames are being lost, or the specimen drifts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCAN_ENDS = {
    "complete": "is complete",
    "incomplete": "has ended incomplete",
    "aborted": "was aborted",
    "failed": "has failed",
}
REFINEMENT_ENDS = {"done": "is done", "stopped": "has stopped", "failed": "has failed"}


def news(
    state: str,
    series: str,
    lost: int,
    refinement: Mapping[str, Any],
    drift: Mapping[str, Any] | None = None,
    silent_s: float | None = None,
) -> dict[str, str]:
    """Return a sentence for each of ``scan``, ``refinement``, ``lost``, ``silent`` and ``drift`` with news.

    Arguments are those of `status` (docs/protocol.md). A sentence that was not returned last time is news.
    """
    scan = f"scan {series}" if series else "the scan"
    texts: dict[str, str] = {}
    if state in SCAN_ENDS:
        texts["scan"] = f"{scan} {SCAN_ENDS[state]}"
    elif lost > 0:
        texts["lost"] = f"{scan} is losing frames"
    if state == "scanning" and silent_s is not None:
        texts["silent"] = f"{scan} gets no more frames"
    run, run_state, of = (refinement.get(name) for name in ("run", "state", "series"))
    if run and run_state in REFINEMENT_ENDS:
        whose = f" of scan {of}" if of else ""
        texts["refinement"] = f"refinement {run}{whose} {REFINEMENT_ENDS[run_state]}"
    if drift is not None and drift["A"] > drift["bound_A"]:
        texts["drift"] = f"drift of {drift['A']:.3g} Å since scan {drift['since']}, more than {drift['bound_A']:.3g} Å"
    return texts
