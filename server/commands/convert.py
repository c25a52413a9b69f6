"""``ptylive convert``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ptylive.server.commands.options import AsJson, Settings
from ptylive.server.output import answer, bar
from ptylive.server.values import parse_assignments


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="native HDF5 file")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="file to write")],
    basis: Annotated[str, typer.Option(help="detector basis, such as zernike:45+1; pixels keeps frames")] = "pixels",
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Write a scan anew: as coefficients in a detector basis."""
    from ptylive.engine.bases.choice import parse_basis
    from ptylive.server.conversion import convert_file

    started = time.perf_counter()
    with bar(f"converting {source.name}", quiet=as_json) as shown:
        made = convert_file(source, target, parse_basis(basis), parse_assignments(settings or ()), shown.update)
    seconds = time.perf_counter() - started
    outcome: dict[str, Any] = {
        "file": str(source),
        "output": str(target),
        "frames": made.frames,
        "seconds": seconds,
        "frames_per_s": made.frames / seconds,
        "input_bytes": source.stat().st_size,
        "output_bytes": target.stat().st_size,
        "bytes_ratio": made.bytes_ratio,
    }
    answer(outcome | ({} if made.report is None else asdict(made.report)), as_json=as_json)
