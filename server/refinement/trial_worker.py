"""Trials of settings in a process of their own: the scan is read once, then tried as often as somebody asks.

After a job with ``trials`` (``patterns``, ``sweeps``, ``judge``) messages ``{"try": {trial, values, split}}`` are
answered by ``sweep`` (trial, sweep, groups) after each sweep, and by ``tried`` (trial, state, reason, seconds) at the
end. ``{"prune": trial}`` ends one early; what is tried already when a message comes again is tried once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ptylive.schema import PtyliveError, RefinementError
from ptylive.server.refinement.refine_inbox import Inbox
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.streamer.vetting.vouched import Doorkeeper, trust

if TYPE_CHECKING:
    from ptylive.engine.dataset import Dataset

Send = Callable[[dict[str, Any]], None]
NOTHING_TRIED = "one slice: nothing was tried, as of a scan of few patterns"


def tried(job: RefineJob, inbox: Inbox, send: Send, doorkeeper: Doorkeeper) -> dict[str, Any]:
    """Try what is asked for until nobody asks any more; the last message. Raises PtyliveError for the scan itself."""
    from ptylive.application.offline import refinable
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.refine.tuning.held_out import central_part
    from ptylive.streamer.source import open_source

    use_persistent_cache()
    trust(job.recording, job.known)
    doorkeeper.admit_scan(job.recording)
    assert job.trials is not None  # noqa: S101  (it is what brought us here)
    with open_source(job.recording, job.values) as source:
        part = central_part(refinable(source, job.calibration), int(job.trials["patterns"]))
        send({"kind": "ready"})
        while (wanted := inbox.next_trial()) is not None:
            began = time.monotonic()
            state, reason = _one(job, part, wanted, inbox, send)
            inbox.pruned.discard(int(wanted["trial"]))
            about = {"trial": int(wanted["trial"]), "state": state, "reason": reason}
            send({"kind": "tried", **about, "seconds": time.monotonic() - began})
    words = dict.fromkeys(("run", "algorithm", "reason", "problem", "backend", "results", "message"), "")
    return {"kind": "ended", "state": "done", "loss": None, **words}


def decided(job: RefineJob, inbox: Inbox, send: Send, doorkeeper: Doorkeeper) -> dict[str, Any]:
    """What trials find before a refinement is begun: a message ``decided``, then the last one.

    ``decided``: ``num_slices``, ``total_thickness_A`` (None of one slice), ``range_A`` (None where it was not tried),
    ``said`` (sentences), ``seconds`` that a refinement takes with it. Raises PtyliveError, also where it is stopped.
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
    doorkeeper.admit_scan(job.recording)
    context = TrialContext(
        job.backend, job.threads, job.start, pause, lambda words: send({"kind": "trial", "message": words})
    )
    with open_source(job.recording, job.values) as source:
        found = settle(refinable(source, job.calibration), job.preset, context)
        context.before("a short measurement of the time")
        checks = check(found.dataset, found.preset, replace(context, start=None))
    form, depth = found.preset.object, FoundDepth.heard("; ".join(found.words))
    about = {
        "num_slices": form.slices,
        "total_thickness_A": float(sum(form.slice_thickness_A)) if form.slices > 1 else None,
        "range_A": None if depth is None else [depth.thinnest_A, depth.thickest_A],
        "said": list(found.words) or [NOTHING_TRIED] * (form.slices == 1),
        "seconds": checks.seconds,
    }
    send({"kind": "decided", **about})
    return {"kind": "ended", "message": ""}


class _Unwanted(Exception):
    """Nobody wants to know any more."""


def _one(job: RefineJob, part: Dataset, wanted: Mapping[str, Any], inbox: Inbox, send: Send) -> tuple[str, str]:
    """A trial: how it ended, and why where it failed."""
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
