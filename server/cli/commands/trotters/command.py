"""``ptylive trotters``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptylive.schema import MetadataError
from ptylive.schema.errors import about
from ptylive.server.cli.options import AsJson, Settings
from ptylive.server.cli.output import answer, bar
from ptylive.server.cli.values import parse_assignments

EXAMPLES = """
ptylive trotters scan.h5 trotters.png                        # at the strongest frequency
ptylive trotters scan.h5 trotters.png --at 0.365,0 --at 0,0.365
ptylive trotters scan.h5 -o trotters.h5 --at strongest --set C10=-60      # with other aberrations taken out
"""


def trotters(
    file: Annotated[Path, typer.Argument(help="scan file, native or foreign", readable=False)],
    picture: Annotated[Path | None, typer.Argument(metavar="PNG", help="picture to write", readable=False)] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            metavar="ROW,COLUMN",
            help="spatial frequency along the axes of the scan, 1/Å, repeatable; default: strongest",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="HDF5 file to write the arrays to", readable=False)
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show the 4D data at a spatial frequency across the detector, before and after compensation."""
    from ptylive.application.analysis.trotters import STRONGEST, checked, holds_trotters, trotters_of
    from ptylive.application.outputs import check_own_file, check_own_hdf5
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    wanted = checked(at or [STRONGEST])
    if picture is not None and picture.suffix.lower() != ".png":
        raise MetadataError(
            f"{picture} is not the name of a picture", "the picture is a PNG: give a name that ends in .png"
        )
    if picture is not None:
        check_own_file(picture, "png", [file])
    if output is not None:
        check_own_hdf5(output, [file], "trotters", holds_trotters)
    values = parse_assignments(settings or ())
    vet(file, values)
    use_persistent_cache()
    with open_source(file, values) as source, bar(f"reading {file.name}", quiet=as_json) as shown, about(file):
        found = trotters_of(source, values, wanted, shown.update)
    if picture is not None:
        found.write(picture)
    if output is not None:
        found.write_arrays(output)
    written = {name: str(path) for name, path in (("picture", picture), ("output", output)) if path is not None}
    answer({"file": str(file), **written, "trotters": found.to_plain()}, as_json=as_json)
