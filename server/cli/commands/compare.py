"""``ptylive compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson
from ptylive.server.cli.output import answer, say
from ptylive.server.cli.values import names_in

EXAMPLES = """
ptylive compare results.h5 side_by_side.png   # of a file that reconstruct -o and refine -o, or a server, have written
ptylive compare results.h5 side_by_side.png --maps idpc,wdd_phase --run run1,run2 --in-a-row 2
"""


def compare(
    results: Annotated[Path, typer.Argument(help="results file", readable=False)],
    picture: Annotated[Path, typer.Argument(metavar="PNG", help="picture to write", readable=False)],
    maps: Annotated[
        str | None, typer.Option(help="comma-separated; default: the phases and the tilt-corrected bright field")
    ] = None,
    run: Annotated[str | None, typer.Option(help="refinements, comma-separated; default: the chosen one")] = None,
    in_a_row: Annotated[int, typer.Option("--in-a-row", min=1, max=12, help="pictures in a row")] = 4,
    as_json: AsJson = False,
) -> None:
    """Show maps and refined phase of a scan side by side, and measure how well they agree."""
    from ptylive.application.comparison import compare as look
    from ptylive.application.outputs import check_own_file, merge_waiting

    if picture.suffix.lower() != ".png":
        raise MetadataError(
            f"{picture} is not the name of a picture", "the picture is a PNG: give a name that ends in .png"
        )
    check_own_file(picture, "png", [results])
    merge_waiting(results, say)
    found = look(results, None if maps is None else names_in(maps), None if run is None else names_in(run))
    found.write(picture, in_a_row)
    shown = [item.name for item in found.shown]
    brief: dict[str, object] = {"file": str(results), "picture": str(picture), "shown": shown}
    if caveats := {item.name: item.caveat for item in found.shown if item.caveat}:
        brief["caveats"] = caveats
    if found.first_run is not None:
        brief |= {"run": found.first_run, "correlation": found.correlations()}
    answer(brief, as_json=as_json)
