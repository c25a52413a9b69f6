"""Trials of settings in a separate process: the scan is read once, then used for as many trials as requested.

After a job with ``trials`` (``patterns``, ``sweeps``, ``judge``) messages ``{"try": {trial, values, split}}`` are
answered by ``sweep`` (trial, sweep, groups) after each sweep, and by ``tried`` (trial, state, reason, seconds) at the
end. ``{"prune": trial}`` ends a trial early; a trial already made is not repeated when its message comes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ptylive.schema import PtyliveError, RefinementError
from ptylive.server.refinement.refine_inbox import Inbox
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.streamer.vetting.known_files import FileAdmission, trust

if TYPE_CHECKING:
    from ptylive.engine.dataset import Dataset

Send = Callable[[dict[str, Any]], None]
NOTHING_TRIED = "one slice: no trials were made, because the scan has few patterns"


def tried(job: RefineJob, inbox: Inbox, send: Send, admission: FileAdmission) -> dict[str, Any]:
    """Run requested trials until no more come; return the last message. Raises PtyliveError for a faulty scan."""
    from ptylive.application.offline import refinable
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.refine.tuning.held_out import central_part
    from ptylive.streamer.source import open_source

    use_persistent_cache()
    trust(job.recording, job.known)
    admission.admit_scan(job.recording)
    assert job.trials is not None  # noqa: S101  (the caller checked it)
    with open_source(job.recording, job.values) as source:
        part = central_part(refinable(source, job.calibration), int(job.trials["patterns"]))
        send({"kind": "ready"})
        while (wanted := inbox.next_trial()) is not None:
            began = time.monotonic()
            state, reason = _run_trial(job, part, wanted, inbox, send)
            inbox.pruned.discard(int(wanted["trial"]))
            report = {"trial": int(wanted["trial"]), "state": state, "reason": reason}
            send({"kind": "tried", **report, "seconds": time.monotonic() - began})
    words = dict.fromkeys(("run", "algorithm", "reason", "problem", "backend", "results", "message"), "")
    return {"kind": "ended", "state": "done", "loss": None, **words}


def decided(job: RefineJob, inbox: Inbox, send: Send, admission: FileAdmission) -> dict[str, Any]:
    """Run the trials before a refinement: send a message ``decided`` with their findings, and return the last message.

    ``decided``: ``num_slices``, ``total_thickness_A`` (None for one slice), ``range_A`` (None if not tried), ``said``
    (sentences), ``seconds`` that a refinement with these takes. Raises PtyliveError, also when stopped.
    """
    from ptylive.application.offline import refinable
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.refine import check, settle
    from ptylive.engine.refine.tuning.held_out import TrialContext
    from ptylive.schema.advice.depth import FoundDepth
    from ptylive.streamer.source import open_source

    def pause() -> None:
        if inbox.stop.is_set():
            raise RefinementError("stopped on request")

    use_persistent_cache()
    trust(job.recording, job.known)
    admission.admit_scan(job.recording)
    context = TrialContext(
        job.backend, job.threads, job.start, pause, lambda words: send({"kind": "trial", "message": words})
    )
    with open_source(job.recording, job.values) as source:
        found = settle(refinable(source, job.calibration), job.preset, context)
        context.before("measuring the time per pattern")
        checks = check(found.dataset, found.preset, replace(context, start=None))
    form, depth = found.preset.object, FoundDepth.heard("; ".join(found.words))
    report = {
        "num_slices": form.slices,
        "total_thickness_A": float(sum(form.slice_thickness_A)) if form.slices > 1 else None,
        "range_A": None if depth is None else [depth.thinnest_A, depth.thickest_A],
        "said": list(found.words) or [NOTHING_TRIED] * (form.slices == 1),
        "seconds": checks.seconds,
    }
    send({"kind": "decided", **report})
    return {"kind": "ended", "message": ""}


class _Unwanted(Exception):
    """The result of the trial is no longer wanted."""


def _run_trial(job: RefineJob, part: Dataset, wanted: Mapping[str, Any], inbox: Inbox, send: Send) -> tuple[str, str]:
    """Run one trial; return how it ended, and the reason if it failed."""
    from ptylive.application.tuning.tunables import applied
    from ptylive.engine.refine.tuning.held_out import TrialContext
    from ptylive.engine.refine.validation.settings_trial import Judge, settings_trial

    number, plan = int(wanted["trial"]), job.trials or {}
    judge, split, sweeps = Judge(plan["judge"]), int(wanted.get("split", 0)), int(plan["sweeps"])

    def pause() -> None:
        if inbox.stop.is_set():
            raise _Unwanted

    def on_sweep(sweep: int, groups: tuple[float, ...]) -> None:
        send({"kind": "sweep", "trial": number, "sweep": sweep, "groups": list(groups)})
        if sweep < sweeps and number in inbox.pruned:
            raise _Unwanted

    try:
        dataset, preset = applied(part, job.preset, wanted["values"])
        context = TrialContext(job.backend, job.threads, pause=pause)
        settings_trial(dataset, preset, sweeps, context, on_sweep, judge=judge, split=split)
    except _Unwanted:
        return ("stopped" if inbox.stop.is_set() else "pruned"), ""
    except PtyliveError as error:
        return "failed", error.line()
    except (ArithmeticError, ValueError, MemoryError) as error:
        return "failed", f"the trial failed: {error!r}"
    return "done", ""
