"""``ptylive bench``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson, Backend, checked_backend
from ptylive.server.cli.output import answer

EXAMPLES = """
ptylive bench live
ptylive bench live --backend cpu
ptylive bench stream --json
"""


def bench(
    what: Annotated[str, typer.Argument(help="live, stream or refine")],
    backend: Backend = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure this machine: live maps, the stream, or the refinement."""
    from ptylive.server.cli import benchmarks

    measured: dict[str, Any]
    checked_backend(backend)
    if what in ("stream", "refine") and backend != "auto":
        raise MetadataError(f"bench {what} takes no --backend", "it is for bench live")
    if what == "live":
        measured = benchmarks.live(backend)
    elif what == "stream":
        measured = benchmarks.stream()
    elif what == "refine":
        measured = benchmarks.refine()
    else:
        raise MetadataError(f"unknown benchmark {what!r}", "choose live, stream or refine")
    answer(measured, as_json=as_json)
