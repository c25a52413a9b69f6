"""The state of the stream as others see it, derived from the scan that is shown."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ptylive.streamer.events import StreamStatus
from ptylive.streamer.recording.scan_record import ScanRecord
from ptylive.streamer.ring import Ring


def status_of(scan: ScanRecord | None, rejected: Mapping[str, int], ring: Ring) -> StreamStatus:
    """Return the status of a scan, of what was refused since the start, and of the ring."""
    fill, lag = ring.fill, ring.lag_s
    if scan is None:
        return StreamStatus(rejected=rejected, ring_fill=fill, lag_s=lag)
    progress, now = scan.progress, time.monotonic()
    # frames that this program does not take are no silence of the sender
    takes = scan.state == "scanning" and not ring.blocked and scan.recording_state != "waiting"
    return StreamStatus(
        state=scan.state,
        series=progress.header.series,
        uid=scan.uid,
        expected=progress.header.frames,
        received=progress.placed + progress.duplicates,
        frames=progress.placed,
        lost=progress.summary().lost if scan.closed else progress.lost,
        refused=progress.refused,
        late=progress.late,
        duplicates=progress.duplicates,
        unchecked=progress.unchecked,
        rejected=rejected,
        frames_per_s=progress.frames_per_s(now, closed=scan.closed),
        why_closed=progress.why_closed if scan.closed else "",
        silent_s=progress.pauses.silent_s(now) if takes else None,
        lag_s=lag,
        ring_fill=fill,
        recording="" if scan.target is None else str(scan.target),
        recording_state=scan.recording_state,
        recording_error=scan.recording_error,
    )
