"""``python -m ptylive.server.refine_process``: one refinement in a process of its own, killed without harm.

Reads a job from stdin, writes progress to stdout (both msgpack); a stop message, or the end of stdin when the server
is gone, stops the refinement after the current batch.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, BinaryIO

import msgpack

from ptylive.schema import PtyliveError
from ptylive.server.messages import pack
from ptylive.server.refine_job import MAX_JOB_BYTES, RefineJob, progress_to_plain

NICENESS = 10


def main() -> int:
    """Run one job; returns the exit status."""
    # whatever a library prints must not end up among the messages
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.nice(NICENESS)
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=MAX_JOB_BYTES)
    job = RefineJob.from_plain(_next_message(sys.stdin.buffer, unpacker))
    stop = threading.Event()
    threading.Thread(target=_wait_for_stop, args=(sys.stdin.buffer, unpacker, stop), daemon=True).start()
    try:
        message = _run(job, stop, out)
    except PtyliveError as error:
        message = {"kind": "failed", "message": error.line()}
    except Exception as error:
        message = {"kind": "failed", "message": f"the refinement failed: {error!r}"}
    _send(out, message)
    return 0 if message["kind"] == "ended" else 1


def _run(job: RefineJob, stop: threading.Event, out: BinaryIO) -> dict[str, Any]:
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.refine import refine
    from ptylive.engine.results import Run, add_refinement, describe_run
    from ptylive.server.offline import read_dataset
    from ptylive.streamer.storage.source import open_source

    with open_source(job.recording, job.values) as source:
        dataset = read_dataset(source, job.calibration)
    result = refine(
        dataset,
        job.preset,
        start=job.start,
        backend=job.backend,
        threads=job.threads,
        on_progress=lambda progress: _send(out, progress_to_plain(progress)),
        should_stop=stop.is_set,
        checkpoint=job.checkpoint,
        resume=job.resume,
    )
    settings = describe_run(job.command_line, result.backend)
    add_refinement(job.results, Run(job.run, job.preset, result), job.calibration, settings)
    return {
        "kind": "ended",
        "state": result.state,
        "algorithm": result.algorithm,
        "reason": result.reason,
        "message": result.message,
        "backend": result.backend,
        "loss": float(result.loss[-1]) if len(result.loss) else None,
        "results": str(job.results),
    }


def _next_message(stream: BinaryIO, unpacker: msgpack.Unpacker) -> Any:
    """The next object of a msgpack stream; EOFError at its end."""
    while True:
        try:
            return unpacker.unpack()
        except msgpack.OutOfData:
            chunk = os.read(stream.fileno(), 2**20)
            if not chunk:
                raise EOFError from None
            unpacker.feed(chunk)


def _wait_for_stop(stream: BinaryIO, unpacker: msgpack.Unpacker, stop: threading.Event) -> None:
    try:
        _next_message(stream, unpacker)
    except EOFError:
        pass
    stop.set()


def _send(out: BinaryIO, message: dict[str, Any]) -> None:
    try:
        out.write(pack(message))
        out.flush()
    except BrokenPipeError:
        pass  # the server is gone; the end of stdin stops the run


if __name__ == "__main__":
    sys.exit(main())
