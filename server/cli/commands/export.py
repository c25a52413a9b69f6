"""``ptylive export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson
from ptylive.server.cli.output import answer, bar, say, when_interrupted
from ptylive.server.cli.values import names_in

EXAMPLES = """
ptylive export refined.h5 out/ --to tiff
ptylive export refined.h5 out/ --to pypty --run run2
ptylive export results.h5 out/ --to png --maps idpc,obf   # live maps, with a scale bar; --maps all
ptylive export results.h5 --map obf --format tiff         # beside the file
"""


def export(
    results: Annotated[Path, typer.Argument(help="results file", readable=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to", "--format", help="pypty, nxs, ptyrad, py4dstem, ptychodus, png, tiff or hspy, or several: png,tiff"
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="folder to write into; default: the folder of the file", readable=False),
    ] = None,
    run: Annotated[str | None, typer.Option(help="which refinement; default: the chosen one")] = None,
    maps: Annotated[
        str | None,
        typer.Option(
            "--maps", "--map", help="live maps instead of a refinement, comma-separated, or all; as png, tiff or hspy"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a refinement in the format of another program, or live maps as pictures."""
    from ptylive.application.outputs import OTHER_FOLDER, check_output_folder, check_own_file, merge_waiting
    from ptylive.engine.exports.formats import export as write
    from ptylive.engine.exports.formats import names
    from ptylive.engine.stored_run import StoredRun

    folder, kinds = results.parent if folder is None else folder, list(dict.fromkeys(names_in(to)))
    check_output_folder(folder)
    merge_waiting(results, say)
    if maps is not None:
        if run is not None:
            raise MetadataError("--run and --maps exclude each other", "give one of them")
        _export_maps(results, folder, maps, kinds, as_json=as_json)
        return
    stored = StoredRun.read(results, run)
    for kind in kinds:
        for name in names(stored, kind):
            check_own_file(folder / name, kind, [results], OTHER_FOLDER)
    when_stopped = f"{folder} may hold some of the files; start again with the same command"
    with when_interrupted(when_stopped), bar(f"exporting {stored.name}", quiet=as_json) as shown:
        files = [file for kind in kinds for file in write(stored, kind, folder, shown.update)]
    answer({"file": str(results), "run": stored.name, "files": [str(file) for file in files]}, as_json=as_json)


def _export_maps(results: Path, folder: Path, wanted: str, kinds: list[str], *, as_json: bool) -> None:
    """Write maps of a results file, each to a separate file of each kind."""
    from ptylive.application.export import MAP_FORMATS, chosen_maps, export_maps, map_file
    from ptylive.application.outputs import OTHER_FOLDER, check_own_file
    from ptylive.engine.stored_maps import StoredMaps

    for kind in kinds:
        if kind not in MAP_FORMATS:
            raise MetadataError(f"maps cannot be exported as {kind!r}", f"choose from {', '.join(MAP_FORMATS)}")
    stored = StoredMaps.read(results)
    chosen = chosen_maps(stored, None if wanted == "all" else names_in(wanted), results)
    for kind in kinds:
        files = [map_file(live_map, folder, kind) for live_map in chosen]
        for file in files:
            if files.count(file) > 1:
                raise MetadataError(f"more than one of these maps would become {file}", "name fewer")
            check_own_file(file, kind, [results], OTHER_FOLDER)
    when_stopped = f"{folder} may hold some of the files; start again with the same command"
    written = []
    with when_interrupted(when_stopped), bar("exporting maps", quiet=as_json) as shown:
        for kind in kinds:
            for file in export_maps(stored, chosen, kind, folder):
                written.append(str(file))
                shown.update(len(written), len(chosen) * len(kinds))
    answer({"file": str(results), "files": written}, as_json=as_json)
