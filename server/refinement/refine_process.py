"""``python -m ptylive.server.refinement.refine_process [PIXELS]``: one refinement in a separate process that can be
killed without harm.

The process that starts it lowers its priority while a scan runs. With ``PIXELS`` it prepares for a refinement of such
patterns on a GPU before it receives a job (:class:`ptylive.server.refinement.job_process.Standby`).

It reads a job from stdin and writes progress to stdout (both msgpack). A stop message, or the end of stdin when the
server is gone, stops the refinement after the current batch; a refinement that has not begun ends within a second of
the end of stdin. A job of a running scan is followed by news of that scan, and at its end by the job of the whole scan
(:mod:`ptylive.server.refinement.refine_inbox`). A job of trials is answered trial by trial
(:mod:`ptylive.server.refinement.trial_worker`).
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from ptylive.engine.memory import keep_freed_memory
from ptylive.schema import PtyliveError, ScanHeader
from ptylive.schema.errors import StoppedError
from ptylive.schema.plain_errors import ORPHANED, say_unraisable_in_a_line
from ptylive.server.refinement.found_values import found_values
from ptylive.server.refinement.job_process import NO_GPU
from ptylive.server.refinement.maps_first import with_maps
from ptylive.server.refinement.refine_inbox import Inbox
from ptylive.server.refinement.refine_job import RefineJob, history_of, progress_to_plain
from ptylive.server.refinement.scans_together import together_with
from ptylive.server.refinement.trial_worker import decided, tried
from ptylive.server.refinement.warm_refinement import COMPILING, is_compiled
from ptylive.server.wire.messages import pack_exactly
from ptylive.streamer.vetting.known_files import FileAdmission, trust
from ptylive.streamer.vetting.whole_file import is_file
from ptylive.streamer.vetting.worker import FileWorker

if TYPE_CHECKING:
    from ptylive.engine.refine import RefineResult
    from ptylive.engine.refine.results.refinement_result import Progress
    from ptylive.engine.refine.run.history import History


def main(arguments: list[str]) -> int:
    """Run one job; return the exit status."""
    say_unraisable_in_a_line("ptylive refinement")
    # output printed by libraries must not mix with the messages
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    inbox = Inbox(sys.stdin.buffer)
    keep_freed_memory()  # started by a Dask worker, it inherits the worker's environment
    if arguments and not _got_ready(int(arguments[0])):
        return NO_GPU
    try:
        job = inbox.first_job()
    except EOFError:  # no job came
        return ORPHANED
    try:
        with FileWorker() as files:
            message = _refined(job, inbox, out, FileAdmission(files))
    except PtyliveError as error:
        message = {"kind": "failed", "message": error.line(), "stopped": isinstance(error, StoppedError)}
    except Exception as error:
        message = {"kind": "failed", "message": f"the refinement failed: {error!r}"}
    _send(out, message)
    return 0 if message["kind"] == "ended" else 1


def _got_ready(pixels: int) -> bool:
    """Do in advance what every GPU refinement begins with; return whether a GPU exists that processes can share."""
    from ptylive.engine.backend import device
    from ptylive.engine.backend.cache import use_persistent_cache

    if device.missing() or not device.is_shared():
        return False
    use_persistent_cache()
    from ptylive.engine.simulation.first_on_gpu import warm_up_gpu

    warm_up_gpu(pixels)
    return True


def _refined(job: RefineJob, inbox: Inbox, out: BinaryIO, admission: FileAdmission) -> dict[str, Any]:
    """Do the job; no file that might be damaged is opened here before it has been vetted in another process."""
    from ptylive.application.presets import files_of
    from ptylive.engine.file_guard import guarded

    for path in files_of(job.preset):
        if is_file(path):  # a missing file is reported later, with the name of its setting
            admission.admit(path)
    with guarded(admission):
        if job.decides:
            return decided(job, inbox, partial(_send, out), admission)
        if job.trials is not None:
            return tried(job, inbox, partial(_send, out), admission)
        if job.journal is None:
            return _run(job, inbox, out, admission)
        return _follow(job, inbox, out, admission)


def _run(job: RefineJob, inbox: Inbox, out: BinaryIO, admission: FileAdmission) -> dict[str, Any]:
    """Refine a recording."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    if job.methods:
        inbox.compiling = True  # of live maps
        job = with_maps(job, partial(_send, out), inbox.stop.is_set)
    else:
        trust(job.recording, job.known)
        admission.admit_scan(job.recording)
    from ptylive.application.offline import refinable
    from ptylive.application.outputs import scan_settings
    from ptylive.engine.refine import refine
    from ptylive.streamer.source import open_source

    with ExitStack() as stack:
        source = stack.enter_context(open_source(job.recording, job.values))
        inbox.compiling = _tell_of_compiling(source.header, job, out)
        tell = partial(_say, out)
        result = refine(
            together_with(job, refinable(source, job.calibration), stack, admission, tell),
            job.preset,
            start=job.start,
            backend=job.backend,
            threads=job.threads,
            on_progress=_Reports(inbox, out),
            should_stop=inbox.stop.is_set,
            checkpoint=job.checkpoint,
            resume=job.resume,
            history=_history_of(job),
            judge=job.judged,
        )
        scan = scan_settings(source, job.results)
    return _written(job, result, scan, inbox, out)


def _follow(job: RefineJob, inbox: Inbox, out: BinaryIO, admission: FileAdmission) -> dict[str, Any]:
    """Refine a scan that is still running."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.refine import TrialContext
    from ptylive.engine.refine.run.incremental import IncrementalRefinement
    from ptylive.server.refinement.refine_follow import rounds_until_the_end
    from ptylive.streamer.fast.decoder import use_compiled_decoder

    use_compiled_decoder()
    incremental = IncrementalRefinement(
        job.preset,
        TrialContext(job.backend, job.threads),
        _Reports(inbox, out),
        inbox.stop.is_set,
    )
    dataset = rounds_until_the_end(job, inbox, incremental)
    if inbox.problem and not inbox.stop.is_set():
        return {"kind": "failed", "message": inbox.problem}
    if inbox.stop.is_set():
        words = {
            "run": "",
            "algorithm": "",
            "reason": "",
            "problem": "",
            "message": "stopped before the scan had ended",
        }
        return {"kind": "ended", "state": "stopped", "backend": "", "loss": None, "results": "", **words}
    whole = inbox.whole
    assert whole is not None  # noqa: S101  (otherwise the rounds do not end)
    if dataset is None:
        return _run(whole, inbox, out, admission)
    result = incremental.conclude(dataset, whole.start, whole.checkpoint, _history_of(whole))
    return _written(whole, result, _scan_of(whole, admission), inbox, out)


def _history_of(job: RefineJob) -> History | None:
    """Return the history in which intermediate states of the run are kept; None if not requested."""
    from ptylive.engine.refine.run.history import History

    return History(history_of(job.recording, job.run), job.history) if job.history else None


def _scan_of(job: RefineJob, admission: FileAdmission) -> dict[str, Any]:
    """Describe the scan that a job refined without its recording; failing to open that does not lose the result."""
    from ptylive.application.outputs import scan_settings
    from ptylive.engine.results import describe_scan
    from ptylive.streamer.source import open_source

    trust(job.recording, job.known)
    try:
        admission.admit_scan(job.recording)
        with open_source(job.recording, job.values) as source:
            return scan_settings(source, job.results)
    except PtyliveError:
        return dict(describe_scan("", job.recording, job.results))


def _written(job: RefineJob, result: RefineResult, scan: dict[str, Any], inbox: Inbox, out: BinaryIO) -> dict[str, Any]:
    """Write the result with a description of its scan, and return the final message."""
    inbox.begun.set()
    from ptylive.application.offline import stored_at_last
    from ptylive.engine.refine.results.outcome import outcome_of, sentences_of
    from ptylive.engine.results import Run, add_refinement, describe_run

    settings = {**describe_run(job.command_line, result.backend), **scan}
    run = Run(job.run, job.preset, result, goes_on=job.resume)
    stored = stored_at_last(
        lambda: add_refinement(job.results, run, result.calibration or job.calibration, settings),
        inbox.stop,
        lambda words: _send(out, {"kind": "warning", "message": words}),
    )
    return {
        "kind": "ended",
        "state": result.state,
        "run": stored.run,
        "algorithm": result.algorithm,
        "reason": result.reason,
        "message": result.message,
        "problem": stored.problem,
        "backend": result.backend,
        "loss": float(result.loss[-1]) if len(result.loss) else None,
        "results": str(stored.path),
        "falling": result.convergence is not None and result.convergence.falling,
        "converged": None if result.convergence is None else result.convergence.converged,
        "found": found_values(result),
        "outcome": outcome_of(result, len(result.positions_A)),
        "sentences": sentences_of(result),
    }


def _tell_of_compiling(header: ScanHeader, job: RefineJob, out: BinaryIO) -> bool:
    """Report that the first refinement on a machine begins with compiling; return whether it does."""
    compiles = job.backend != "gpu" and not is_compiled(header)
    if compiles:
        _send(out, {"kind": "note", "message": COMPILING})
    return compiles


class _Reports:
    """Reports progress; nothing is kept of runs on the first rows of a scan or of trials."""

    def __init__(self, inbox: Inbox, out: BinaryIO) -> None:
        self._inbox, self._out = inbox, out
        self._epochs_told = 0

    def __call__(self, progress: Progress) -> None:
        """Report a step, with the losses of the epochs that no earlier report had."""
        inbox = self._inbox
        if progress.phase == "trial":
            if not inbox.compiling:
                _send(self._out, {"kind": "trial", "message": progress.message})
            inbox.compiling = False  # the time of the first trial has been explained
            return
        if inbox.whole is not None or not inbox.follows:
            inbox.begun.set()
        if progress.epoch < self._epochs_told:  # the run began again
            self._epochs_told = 0
        _send(self._out, progress_to_plain(progress, self._epochs_told))
        self._epochs_told = progress.epoch


def _say(out: BinaryIO, words: str) -> None:
    """Send a remark, which becomes a line in the log whatever follows."""
    _send(out, {"kind": "remark", "message": words})


def _send(out: BinaryIO, message: dict[str, Any]) -> None:
    try:
        out.write(pack_exactly(message))
        out.flush()
    except BrokenPipeError:
        pass  # the server is gone; the end of stdin stops the run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
