"""``ptylive larbed``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson, Settings
from ptylive.server.cli.output import answer, bar, say, when_interrupted
from ptylive.server.cli.values import parse_assignments

EXAMPLES = """
ptylive larbed tilts.h5 -o sto.h5 --cell 3.905,3.905,90 --tilt-step 4 --thickness 100,300
ptylive larbed tilts.h5 -o sto.h5 --cell 3.905,3.905,90 --tilts tilts.csv --follows-tilt
ptylive larbed sto.h5 -o again.h5 --thickness 180,220    # from the reflections of an earlier one
"""
LEAST_STEP_MRAD = 0.02
"""Step of tilts from which it is taken for mrad: smaller numbers are rad."""


def larbed(
    file: Annotated[Path, typer.Argument(help="tilt series: patterns, or reflections (/larbed)", readable=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="results file; .csv and .png are written next to it", readable=False
        ),
    ],
    cell: Annotated[str | None, typer.Option(metavar="A,B,ANGLE", help="projected unit cell: Å, Å, degrees")] = None,
    tilt_step: Annotated[float | None, typer.Option(min=0, help="step of the raster of tilts, mrad")] = None,
    tilt_centre: Annotated[str, typer.Option(metavar="ROW,COL", help="tilt at the middle of the raster, mrad")] = "0,0",
    tilt_rotation: Annotated[float, typer.Option(help="rotation from raster to detector, degrees")] = 0.0,
    tilts: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="file with the tilt of each pattern, mrad: row, column", readable=False),
    ] = None,
    follows_tilt: Annotated[
        bool, typer.Option("--follows-tilt", help="patterns move with the tilt (not de-scanned)")
    ] = False,
    thickness: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH", help="range over which starting thicknesses are spread, Å; the result may lie outside"
        ),
    ] = "100,400",
    starts: Annotated[int, typer.Option(min=1, max=1000, help="number of random starting potentials")] = 8,
    iterations: Annotated[int, typer.Option(min=2, max=100000, help="largest number of iterations on all tilts")] = 60,
    background: Annotated[bool, typer.Option("--background", help="refine a background for each reflection")] = False,
    seed: Annotated[int, typer.Option(min=0, help="seed of all random numbers")] = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Find structure factors and thickness of a crystal from a series of tilted-beam patterns (LARBED)."""
    from ptylive.application.larbed import TiltGeometry, check_output
    from ptylive.application.larbed import larbed as made
    from ptylive.engine.larbed.inversion import LarbedSettings

    check_output(output, [file] if tilts is None else [file, tilts])
    low, high = _numbers(thickness, 2, "--thickness")
    if not 1 <= low <= high <= 1e5:
        raise MetadataError(f"--thickness {thickness} is not a range", "give LOW,HIGH in Å")
    if tilt_step is not None and 0 < tilt_step < LEAST_STEP_MRAD:
        raise MetadataError(
            f"--tilt-step {tilt_step:g} mrad is smaller than that of any series",
            f"give it in mrad: {1e3 * tilt_step:g} if it was in rad",
        )
    row, col = _numbers(tilt_centre, 2, "--tilt-centre")
    known = None
    if cell is not None:
        a, b, angle = _numbers(cell, 3, "--cell")
        known = (a, b, angle)
    geometry = TiltGeometry(known, tilt_step or None, (row, col), tilt_rotation, tilts, follows_tilt)
    wanted = LarbedSettings((low, high), starts, last_iterations=iterations, refine_background=background, seed=seed)
    values = parse_assignments(settings or ())
    with when_interrupted(f"{output} was not written"), bar(f"inverting {file.name}", quiet=as_json) as shown:
        found, files = made(file, output, geometry, wanted, values, shown.update)
    if warning := found.warning():
        say(f"warning: {warning}")
    answer(
        {
            "output": str(output),
            "tilts": len(found.series.tilts_mrad),
            "reflections": len(found.series.hk),
            "thickness_A": found.crystal.thickness_A,
            "centre_mrad": found.crystal.centre_mrad.tolist(),
            "explained": found.explained,
            "loss": found.loss,
            "median_residual": float(sorted(found.residual)[len(found.residual) // 2]),
            "agreeing_starts": f"{found.agreeing} of {len(found.starts)}",
            "warning": found.warning(),
            "files": [str(path) for path in files],
        },
        as_json=as_json,
    )


def _numbers(text: str, count: int, option: str) -> list[float]:
    """Parse ``count`` numbers separated by commas. Raises MetadataError."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise MetadataError(f"{option} {text!r} is not {count} numbers", "separate them with commas, in Å or mrad")
    return found
