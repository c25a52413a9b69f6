"""Process many scans under one preset, from a script, as ``ptylive batch`` does (docs/batch.md)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptylive.application.batch.rows import Row
    from ptylive.application.extensions import Preset

log = logging.getLogger(__name__)


def batch(  # noqa: PLR0913  (the public call: every keyword has a default)
    files: str | Path | Iterable[str | Path],
    out: str | Path,
    preset: Preset | Mapping[str, Any] | str | Path | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    when_cluster_missing: str = "refuse",
    backend: str = "auto",
    threads: int = 1,
    retry: bool = False,
    detectors: Mapping[str, str] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> list[Row]:
    """Reconstruct and refine scans, as many at a time as there are workers; finished scans are not repeated.

    Settings of maps, ``**{"wdd.epsilon": 0.1}``, apply to all maps; detectors: virtual ones, as
    ``{"haadf": "ring:60mrad,200mrad"}``, for maps ``vd_haadf``.

    files: paths and patterns (``"scans/*.h5"``); out: folder of results and table (``batch.html``, ``batch.csv``);
    preset: settings, or a file of them; ``settings`` take precedence over it, ``metadata`` over the files'. workers:
    processes on this machine, by default one per core, or one GPU; cluster: a Dask cluster instead
    (``"tcp://HOST:8786"``); when_cluster_missing: ``refuse``, ``wait`` for it, or ``here``, also if it disappears
    midway. retry: also repeat scans that failed in an earlier call. should_stop: called several times a second; running
    scans are then stopped, and continued by a later call. Returns a row for each scan; ``row.state`` is done, failed
    (``row.reason``), stopped or waiting.

    Raises MetadataError and InputFileError for input that cannot be understood, PtyliveError for a cluster that is not
    available or has disappeared, OSError if the folder cannot be written. A script that calls it needs no ``__main__``
    guard except for ``cluster="local:N"``, whose workers import the script.
    """
    from ptylive import arguments
    from ptylive.application.batch.maps import start_map_settings, with_absolute_masks
    from ptylive.application.batch.scans import find_scans
    from ptylive.application.detector_texts import read_detectors
    from ptylive.application.extensions import Preset, read_map_settings
    from ptylive.application.presets import preset_of
    from ptylive.engine.backend.device import check_name
    from ptylive.engine.imaging.render import METHODS
    from ptylive.schema.errors import printable
    from ptylive.server.batch.coordinator import Batch, BatchRequest
    from ptylive.server.cluster.places import places
    from ptylive.server.cluster.where import WorkersAsked

    check_name(backend)
    folder, threads = arguments.place("out", out), arguments.threads(threads)
    workers = None if workers is None else arguments.whole("workers", workers, 1)
    loaded = preset_of(arguments.settings(preset), folder)
    for note in loaded.notes:
        log.warning("%s", note)
    of_maps, settings = read_map_settings(settings)
    resolved = {**loaded.settings, **settings}
    drawn = with_absolute_masks(arguments.table("detectors", {} if detectors is None else detectors))
    read_detectors(drawn)
    scans, left_out = find_scans(arguments.places("files", files), folder)
    for path in left_out:
        log.warning("%s is left out: it is not a scan", printable(str(path)))
    request = BatchRequest(
        folder=folder,
        preset=Preset.from_mapping({**resolved, **start_map_settings(resolved, of_maps)}),
        methods=METHODS,
        values={**loaded.corrections, **arguments.metadata(metadata or {})},
        defaults=loaded.metadata,
        backend=backend,
        threads=threads,
        retry=retry,
        command_line=" ".join(sys.argv),
        map_settings=of_maps,
        detectors=drawn,
    )
    asked = WorkersAsked(workers, arguments.cluster(cluster), when_cluster_missing)
    with places(asked, backend, threads, lambda line: None) as (launch, number):
        return Batch(request, launch, number).run(scans, should_stop)
