"""``ptylive align``."""

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
ptylive align scan.h5 shifts.png
ptylive align scan.h5 --order 3 --bin 4 --rounds 6      # twelve aberrations, bins of 4 x 4 pixels aligned six times
ptylive align scan.h5 --set rotation_deg=-15 --json     # the rotation is forced
"""


def align(
    file: Annotated[Path, typer.Argument(help="scan file, native or foreign", readable=False)],
    picture: Annotated[
        Path | None, typer.Argument(metavar="PNG", help="picture to write: shifts and Thon rings", readable=False)
    ] = None,
    bin_px: Annotated[
        float | None,
        typer.Option("--bin", help="side of the smallest bins, detector pixels; default: 1/11 of the disc"),
    ] = None,
    order: Annotated[
        int, typer.Option(help="highest order of aberrations: 1 defocus, astigmatism; 2 also coma; 3 all twelve")
    ] = 1,
    reference: Annotated[
        str, typer.Option(help="what images are compared with: mean (of the others) or centre")
    ] = "mean",
    rounds: Annotated[int, typer.Option(help="number of times the smallest bins are aligned")] = 3,
    free: Annotated[
        bool,
        typer.Option(
            "--free", help="search for shifts anywhere, not only near those of the calibration; not for crystals"
        ),
    ] = False,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Measure the shifts of bright-field images and the aberrations that explain them (parallax)."""
    from ptylive.application.analysis.image_shifts import align_source
    from ptylive.application.outputs import check_own_file
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.calibrate.alignment.image_shifts import AlignmentOptions, reference_of
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    wanted = AlignmentOptions(bin_px, order, reference_of(reference), rounds, near=not free)
    if picture is not None:
        if picture.suffix.lower() != ".png":
            raise MetadataError(
                f"{picture} is not the name of a picture", "the picture is a PNG: give a name that ends in .png"
            )
        check_own_file(picture, "png", [file])
    values = parse_assignments(settings or ())
    vet(file, values)
    use_persistent_cache()
    with open_source(file, values) as source, bar(f"aligning {file.name}", quiet=as_json) as shown, about(file):
        found = align_source(source, values, wanted, shown.update)
    if picture is not None:
        found.write(picture)
    answer({"file": str(file), **({"picture": str(picture)} if picture else {}), **found.to_plain()}, as_json=as_json)
