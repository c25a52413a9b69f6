"""``ptylive export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptylive.server.cli.options import AsJson
from ptylive.server.cli.output import answer, bar, say, when_interrupted

EXAMPLES = """
ptylive export refined.h5 out/ --to tiff
ptylive export refined.h5 out/ --to pypty --run run2
"""


def export(
    results: Annotated[Path, typer.Argument(help="results file")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder to write into")],
    to: Annotated[str, typer.Option("--to", help="pypty, nxs, ptyrad, py4dstem, ptychodus, tiff or hspy")],
    run: Annotated[str | None, typer.Option(help="which refinement; without it the chosen one")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a refinement in the format of another program."""
    from ptylive.application.outputs import check_output_file, check_output_folder, take_in_waiting
    from ptylive.engine.exports.formats import export as write
    from ptylive.engine.exports.formats import names
    from ptylive.engine.stored_run import StoredRun

    check_output_folder(folder)
    take_in_waiting(results, say)
    stored = StoredRun.read(results, run)
    for name in names(stored, to):
        check_output_file(folder / name, [results])
    kept = f"{folder} may hold some of the files; begin again with the same command"
    with when_interrupted(kept), bar(f"exporting {stored.name}", quiet=as_json) as shown:
        files = write(stored, to, folder, shown.update)
    answer({"file": str(results), "run": stored.name, "files": [str(file) for file in files]}, as_json=as_json)
