"""``ptylive batch``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptylive.schema import PtyliveError
from ptylive.schema.errors import printable
from ptylive.server.cli.commands.refine import split_settings
from ptylive.server.cli.interrupt import ctrl_c_asks_to_stop
from ptylive.server.cli.options import AsJson, Backend, Cluster, Detectors, Settings, WhenMissing, checked_backend
from ptylive.server.cli.output import Interrupted, Shown, answer, bar, end_partial, say, when_interrupted
from ptylive.server.cli.preset_option import looked_through, preset_file
from ptylive.server.cli.values import names_in, parse_assignments
from ptylive.server.cluster.where import REFUSE, WorkersAsked

if TYPE_CHECKING:
    from ptylive.application.batch.rows import Row

EXAMPLES = """
ptylive batch 'scans/*.h5' --out refined
ptylive batch 'scans/*.h5' --preset thick.toml --out refined --set epoch_max=40 --workers 4
ptylive batch 'scans/*.h5' --out refined --set wdd.epsilon=0.1 --detector haadf=ring:60mrad,200mrad
ptylive batch 'scans/**/*.h5' --out refined --retry       # also those that failed before
ptylive batch 'scans/*.h5' --out refined --cluster tcp://scheduler:8786
"""
NAMES_SHOWN = 8
"""Maximum number of running scans that are named."""


def batch(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="scan files, or file name patterns in quotes")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="folder for results and table", readable=False)
    ],
    preset: Annotated[
        Path | None,
        typer.Option(
            help="settings of the refinements: TOML or JSON, or a preset of PyPty, PtyRAD or phaser", readable=False
        ),
    ] = None,
    settings: Settings = None,
    methods: Annotated[str | None, typer.Option(help="maps to make, comma-separated; all by default")] = None,
    detector: Detectors = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="scans at a time on this machine; default: one per core, or per GPU")
    ] = None,
    cluster: Cluster = None,
    when_cluster_missing: WhenMissing = REFUSE,
    backend: Backend = "auto",
    threads: Annotated[int, typer.Option(min=1, max=256, help="threads of each refinement on the CPU")] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="retry scans that failed in an earlier call")] = False,
    as_json: AsJson = False,
) -> None:
    """Reconstruct and refine many scans, and show them in one table; finished scans are skipped."""
    from ptylive.application.batch.maps import start_map_settings, with_absolute_masks
    from ptylive.application.batch.scans import find_scans
    from ptylive.application.batch.table import CSV_FILE, PAGE_FILE
    from ptylive.application.detector_texts import named, read_detectors
    from ptylive.application.extensions import read_map_settings
    from ptylive.application.outputs import check_output_folder
    from ptylive.engine.imaging.render import METHODS, check_methods
    from ptylive.server.batch.coordinator import Batch, BatchRequest
    from ptylive.server.cluster.places import places

    checked_backend(backend)
    of_maps, remaining = read_map_settings(parse_assignments(settings or ()))
    chosen, values = split_settings(remaining)
    detectors = with_absolute_masks(named(detector or ()))
    read_detectors(detectors)
    loaded = preset_file(preset, out)
    scans, left_out = find_scans(files, out)
    for path in left_out:
        say(f"{printable(str(path))} is left out: it is not a scan")
    check_output_folder(out)
    wanted = {**loaded.settings, **chosen}
    request = BatchRequest(
        folder=out,
        preset=looked_through({**wanted, **start_map_settings(wanted, of_maps)}),
        methods=METHODS if methods is None else tuple(check_methods(names_in(methods))),
        values={**loaded.corrections, **values},
        defaults=loaded.metadata,
        backend=backend,
        threads=threads,
        retry=retry,
        command_line=" ".join(sys.argv),
        map_settings=of_maps,
        detectors=detectors,
    )
    asked = WorkersAsked(workers, cluster, when_cluster_missing)
    with (
        when_interrupted("finished scans are kept; run the same command again to continue"),
        ctrl_c_asks_to_stop("stopping all scans; Ctrl-C again stops at once") as stop,
        places(asked, backend, threads, say) as (launch, number),
        bar(f"{len(scans)} scans", quiet=as_json) as shown,
    ):
        rows = Batch(request, launch, number).run(scans, stop.is_set, partial(_show, shown))
    counts = Counter(str(row.state) for row in rows)
    for row in rows:
        if row.state == "failed":
            say(f"{row.name} failed: {row.reason}")
    table = {"table": str(out / PAGE_FILE), "csv": str(out / CSV_FILE)}
    answer({"scans": len(rows), **counts, **table}, as_json=as_json)
    _judge(rows, counts, stopped=stop.is_set())


def _show(shown: Shown, rows: Sequence[Row]) -> None:
    ended = sum(row.state in ("done", "failed") for row in rows)
    under_way = [f"{row.name} ({row.doing})" for row in rows if row.state == "running"]
    more = f" and {len(under_way) - NAMES_SHOWN} more" if len(under_way) > NAMES_SHOWN else ""
    shown.update(ended, len(rows), printable(", ".join(under_way[:NAMES_SHOWN])) + more)


def _judge(rows: Sequence[Row], counts: Counter[str], *, stopped: bool) -> None:
    """End the command with an error if not every scan is done. Raises Interrupted, PtyliveError, typer.Exit."""
    if stopped and counts["done"] + counts["failed"] < len(rows):
        raise Interrupted(f"{counts['done']} of {len(rows)} scans are done; run the same command again to continue")
    if counts["failed"] == len(rows):
        raise PtyliveError("none of the scans could be refined", "the reasons are above; try them again with --retry")
    if counts["failed"]:
        end_partial(f"{counts['failed']} of {len(rows)} scans failed; try them again with --retry")
