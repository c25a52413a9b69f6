"""What somebody who looks elsewhere wants to hear: a scan or a refinement has ended, frames are being lost."""

from __future__ import annotations

SCAN_ENDS = {
    "complete": "is complete",
    "incomplete": "has ended incomplete",
    "aborted": "was aborted",
    "failed": "has failed",
}
REFINEMENT_ENDS = {"done": "is done", "stopped": "has stopped", "failed": "has failed"}


def news(state: str, series: str, lost: int, run: str, run_state: str) -> dict[str, str]:
    """A sentence for each of ``scan``, ``refinement`` and ``lost`` of which there is something to say.

    Arguments are those of `status` (docs/protocol.md). A sentence that was not there the last time is news.
    """
    scan = f"scan {series}" if series else "the scan"
    told: dict[str, str] = {}
    if state in SCAN_ENDS:
        told["scan"] = f"{scan} {SCAN_ENDS[state]}"
    elif lost > 0:
        told["lost"] = f"{scan} is losing frames"
    if run and run_state in REFINEMENT_ENDS:
        told["refinement"] = f"refinement {run} {REFINEMENT_ENDS[run_state]}"
    return told
