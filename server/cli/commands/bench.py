"""``ptylive bench``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson, Backend, checked_backend
from ptylive.server.cli.output import answer

EXAMPLES = """
ptylive bench live
ptylive bench live --backend cpu
ptylive bench stream --json
ptylive bench --bounds
"""


def bench(
    what: Annotated[str | None, typer.Argument(help="live, stream or refine; --bounds runs all of them")] = None,
    backend: Backend = "auto",
    bounds: Annotated[
        bool,
        typer.Option("--bounds", help="the limits of this machine, and the fraction of them that each figure reaches"),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure this machine: live maps, the stream, or the refinement."""
    from ptylive.server.cli import benchmarks

    checked_backend(backend)
    benches: dict[str, Callable[[], dict[str, Any]]] = {
        "live": partial(benchmarks.live, backend),
        "stream": benchmarks.stream,
        "refine": benchmarks.refine,
    }
    if what not in (*benches, None) or (what is None and not bounds):
        raise MetadataError(f"unknown benchmark {what!r}", "choose live, stream or refine")
    if what in ("stream", "refine") and backend != "auto":
        raise MetadataError(f"bench {what} has no option --backend", "--backend is for bench live")
    if not bounds and what is not None:
        answer(benches[what](), as_json=as_json)
        return
    from ptylive.server.cli.bounds import command

    measured = command.record(benches if what is None else {what: benches[what]})
    if as_json:
        answer(measured, as_json=True)
    else:
        command.show(measured)
