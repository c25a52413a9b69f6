"""The other end of :class:`ptylive.server.refinement.job_process.ChildProcess`, for work of many jobs.

A tuning or a batch runs in a separate process next to the server, at lower priority than everything concerning frames.
It reads a request from stdin, reports progress on stdout (both msgpack), stops when told to, and ends at once when the
requester is gone; its own jobs end with it, and their progress is on disk.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgpack

from ptylive.schema import PtyliveError
from ptylive.schema.plain_errors import ORPHANED, say_unraisable_in_a_line
from ptylive.server.refinement.job_process import NICENESS
from ptylive.server.refinement.refine_job import MAX_JOB_BYTES
from ptylive.server.wire.messages import ANY_TEXT, pack_exactly

Send = Callable[[Mapping[str, Any]], None]
Work = Callable[[Mapping[str, Any], Send, threading.Event], None]
"""Function that carries out a request until the event is set. Raises PtyliveError, OSError."""


def run(work: Work, called: str) -> int:
    """Carry out one request, ending with a message of kind ``ended`` or ``failed``; return the exit status."""
    say_unraisable_in_a_line(called)
    os.nice(NICENESS)
    # output printed by libraries must not mix with the messages
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    talk, stop = threading.Lock(), threading.Event()

    def send(message: Mapping[str, Any]) -> None:
        with talk:
            out.write(pack_exactly(message))
            out.flush()

    messages = _messages()
    request = next(messages)
    threading.Thread(target=_listen, args=(messages, stop), name="told", daemon=True).start()
    last: dict[str, Any] = {"kind": "ended"}
    try:
        work(request, send, stop)
    except PtyliveError as error:
        last = {"kind": "failed", "message": error.line()}
    except OSError as error:
        last = {"kind": "failed", "message": f"{error.filename or 'a file'}: {error.strerror or error}"}
    except Exception as error:
        last = {"kind": "failed", "message": f"{called} failed: {error!r}"}
    send(last)
    return 0 if last["kind"] == "ended" else 1


def _messages() -> Iterator[Any]:
    unpacker = msgpack.Unpacker(raw=False, unicode_errors=ANY_TEXT, max_buffer_size=MAX_JOB_BYTES)
    while chunk := os.read(sys.stdin.fileno(), 2**16):
        unpacker.feed(chunk)
        yield from unpacker


def _listen(messages: Iterator[Any], stop: threading.Event) -> None:
    for _ in messages:
        stop.set()
    os._exit(ORPHANED)
