"""``ptylive film``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptylive.server.cli.options import AsJson
from ptylive.server.cli.output import answer, bar

EXAMPLES = """
ptylive film refined.history                    # refined.gif beside what `refine --history 2` wrote
ptylive film refined.history talk.mp4 --fps 10  # where ffmpeg is installed
"""


def film(
    history: Annotated[Path, typer.Argument(help="folder that refine --history wrote", readable=False)],
    output: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help=".gif or .mp4; default: a .gif next to the folder", readable=False),
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="pictures per second")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Show the progress of a refinement as a film: phase, probe, loss, and positions if they moved."""
    from ptylive.application.film import film as made
    from ptylive.application.outputs import FILM, check_own_file
    from ptylive.engine.refine.run.history import snapshots
    from ptylive.pictures.film import check_film

    output = history.with_suffix(".gif") if output is None else output
    check_film(output)
    found = snapshots(history)
    check_own_file(output, FILM, found)
    with bar("drawing", quiet=as_json) as shown:
        made(history, output, fps, shown.update)
    answer({"history": str(history), "film": str(output), "snapshots": len(found)}, as_json=as_json)
