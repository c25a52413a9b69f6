"""Find settings and optics by trials, from a script, as ``ptylive tune`` does (docs/tune.md)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptylive.engine.refine.validation.trial_size import TRIALS

if TYPE_CHECKING:
    from ptylive.application.extensions import Preset
    from ptylive.server.tune.run import TuningResult

log = logging.getLogger(__name__)


def tune(  # noqa: PLR0913  (the public call: every keyword has a default)
    file: str | Path,
    over: str | Iterable[str],
    trials: int = TRIALS,
    out: str | Path | None = None,
    preset: Preset | Mapping[str, Any] | str | Path | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    by: str = "held-out",
    patterns: int | None = None,
    sweeps: int | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    when_cluster_missing: str = "refuse",
    backend: str = "auto",
    threads: int = 1,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> TuningResult:
    """Find settings and optics of a scan by trials on held-out patterns; trials of an earlier call are continued.

    over: values to vary (``"defocus,thickness=50:200"``); trials: total number; out: folder, by default ``SCAN_tuning``
    next to the scan; preset: settings, or a file of them; ``settings`` take precedence over it, ``metadata`` over the
    scan's file. workers, cluster, backend, threads: as in
    :func:`ptylive.batch`. by, patterns, sweeps: how a trial is judged and how long it is (docs/tune.md). should_stop:
    called several times a second. Returns ``outcome`` (``sentences``, ``values``, ``findings.estimates``), ``files``.

    Raises MetadataError and InputFileError for input that cannot be understood, and for trials of other settings in the
    folder; PtyliveError if Optuna is missing, the scan cannot be tried, or a cluster is not available; OSError if the
    folder cannot be written. A script that calls it needs no ``__main__`` guard except for ``cluster="local:N"``.
    """
    from ptylive import arguments
    from ptylive.application.extensions import Preset
    from ptylive.application.presets import preset_of
    from ptylive.application.tuning.ranges import parse_over
    from ptylive.engine.backend.device import check_name
    from ptylive.engine.refine.validation.settings_trial import Judge
    from ptylive.engine.refine.validation.trial_size import LEAST_PATTERNS, MOST_SWEEPS, MOST_TRIALS, PATTERNS, SWEEPS
    from ptylive.schema import MetadataError
    from ptylive.server.cluster.places import places
    from ptylive.server.cluster.where import WorkersAsked
    from ptylive.server.tune.beginning import Wanted
    from ptylive.server.tune.run import Listener, tune_scan

    if by not in list(Judge):
        raise MetadataError(f"by = {by!r} is unknown", f"use {' or '.join(Judge)}")
    check_name(backend)
    scan, judge = arguments.place("file", file), Judge(by)
    folder = scan.with_name(f"{scan.stem}_tuning") if out is None else arguments.place("out", out)
    loaded = preset_of(arguments.settings(preset), folder)
    for note in loaded.notes:
        log.warning("%s", note)
    whole, threads = arguments.whole, arguments.threads(threads)
    workers = None if workers is None else whole("workers", workers, 1)
    request = Wanted(
        scan=scan,
        folder=folder,
        over=parse_over(arguments.texts("over", over), judge),
        preset=Preset.from_mapping({**loaded.settings, **settings}),
        values={**loaded.corrections, **arguments.metadata(metadata or {})},
        defaults=loaded.metadata,
        judge=judge,
        patterns=PATTERNS if patterns is None else whole("patterns", patterns, LEAST_PATTERNS),
        sweeps=SWEEPS if sweeps is None else whole("sweeps", sweeps, 1, MOST_SWEEPS),
        backend=backend,
        threads=threads,
        command_line=" ".join(sys.argv),
    )
    asked = WorkersAsked(workers, arguments.cluster(cluster), when_cluster_missing)
    available = places(asked, backend, threads, lambda line: None)
    number = whole("trials", trials, 1, MOST_TRIALS)
    return tune_scan(request, number, whole("seed", seed, 0), available, Listener(should_stop=should_stop))
