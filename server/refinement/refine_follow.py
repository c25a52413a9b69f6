"""Refinement during the scan: rounds on the rows in the journal, then the run on the whole scan."""

from __future__ import annotations

from contextlib import ExitStack

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.run.incremental import IncrementalRefinement
from ptylive.schema import InputFileError, MetadataError, RefinementError
from ptylive.server.refinement.arriving_frames import ArrivingFrames
from ptylive.server.refinement.refine_inbox import Inbox, Known
from ptylive.server.refinement.refine_job import RefineJob

POLL_S = 0.2


def rounds_until_the_end(job: RefineJob, inbox: Inbox, incremental: IncrementalRefinement) -> Dataset | None:
    """Refine in rounds until the scan has ended; return its patterns with the values of the job of the whole scan.

    None if there is nothing to refine: stopped, given up, or no journal to read (then the recording exists).
    """
    with ExitStack() as stack:
        arriving = _opened(job, stack)
        refused: Known | None = None
        while not inbox.settled:
            known = inbox.known
            if arriving is None or known is None or known is refused:
                inbox.wait(POLL_S)
                continue
            arriving.read()
            share = arriving.share
            if not incremental.due(share):
                inbox.wait(POLL_S)
                continue
            try:
                incremental.round(arriving.dataset(known.calibration, known.values), share)
            except (MetadataError, RefinementError):
                refused = known  # metadata still missing, or a stop; the whole scan will report it
        if arriving is None or inbox.whole is None or inbox.stop.is_set():
            return None
        arriving.read()
        return arriving.dataset(inbox.whole.calibration, inbox.whole.values)


def _opened(job: RefineJob, stack: ExitStack) -> ArrivingFrames | None:
    """Open the journal; None if it is gone already or holds no frames, in which case the recording is read later."""
    if job.journal is None:
        return None
    try:
        return stack.enter_context(ArrivingFrames(job.journal))
    except (FileNotFoundError, InputFileError):
        return None
