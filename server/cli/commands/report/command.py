"""``ptylive report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson
from ptylive.server.cli.output import answer, say
from ptylive.server.cli.values import names_in

EXAMPLES = """
ptylive report results.h5                      # results_report.html beside it
ptylive report results.h5 for_the_group.html --maps obf,adf --run run1,run2
"""


def report(
    results: Annotated[Path, typer.Argument(help="results file", readable=False)],
    page: Annotated[
        Path | None,
        typer.Argument(metavar="HTML", help="file to write; default: next to the results file", readable=False),
    ] = None,
    maps: Annotated[
        str | None, typer.Option(help="maps, comma-separated; default: phases, bright and dark field")
    ] = None,
    run: Annotated[str | None, typer.Option(help="refinements, comma-separated; default: the chosen one")] = None,
    as_json: AsJson = False,
) -> None:
    """Write maps, calibration and refinement of a scan as one HTML page, to keep or to print."""
    from ptylive.application.export import written
    from ptylive.application.outputs import REPORT, check_own_file, merge_waiting
    from ptylive.application.report import read_report, to_html

    page = results.with_name(f"{results.stem}_report.html") if page is None else page
    if page.suffix.lower() not in (".html", ".htm"):
        raise MetadataError(f"{page} is not the name of a page", "the page is HTML: give a name that ends in .html")
    check_own_file(page, REPORT, [results])
    merge_waiting(results, say)
    found = read_report(results, None if maps is None else names_in(maps), None if run is None else names_in(run))
    written(page, to_html(found).encode("utf-8", "backslashreplace"))
    runs = [item.name for item in found.runs]
    brief = {"file": str(results), "report": str(page), "maps": [item.title for item in found.pictures], "runs": runs}
    answer(brief, as_json=as_json)
