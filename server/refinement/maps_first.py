"""A scan of which nothing is known yet: its maps are made and stored, then its refinement begins from one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptylive.schema import Calibration, PtyliveError, RefinementError
from ptylive.server.refinement.refine_job import RefineJob

Tell = Callable[[dict[str, Any]], None]
"""Takes a message for whoever asked for the job."""


def with_maps(job: RefineJob, tell: Tell, should_stop: Callable[[], bool]) -> RefineJob:
    """The job with calibration, start and metadata, as the maps in its results file have them.

    The maps are made unless they are there and the job is resumed or takes them: what goes on from a checkpoint must
    have the same calibration to the last digit, which another machine would not find again. Raises InputFileError for a
    file that is damaged or no scan, MetadataError for missing optics, PtyliveError where no map can be made,
    RefinementError for a stop on the way.
    """
    from ptylive.application.offline import start_of
    from ptylive.application.outputs import check_results_file
    from ptylive.engine.dataset import check_told
    from ptylive.engine.stored_maps import StoredMaps
    from ptylive.schema.metadata import unsaid
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.door import vet

    vet(job.recording, job.values, job.results)
    with open_source(job.recording, job.values) as source:
        check_results_file(job.results, source)
        values = {**unsaid(source.header, job.defaults), **job.values}
    with open_source(job.recording, values) as source:
        check_told(source.header, far_field=not job.preset.propagation.near_field)
    job = replace(job, values=values)
    if not ((job.resume or job.takes_maps) and _has_maps(job.results) and _is_wanted(job)):
        _make(job, tell, should_stop)
    stored = StoredMaps.read(job.results)
    calibration = Calibration.from_attributes(stored.calibration)
    start = start_of(stored.maps.get, job.preset.start, calibration)
    return replace(job, calibration=calibration, start=start)


def _has_maps(results: Path) -> bool:
    """Whether a results file that was looked through holds maps; ``ptylive refine`` makes files without."""
    from ptylive.engine.results_file import CALIBRATION, look

    return {"maps", CALIBRATION} <= set(look(results).links)


def _is_wanted(job: RefineJob) -> bool:
    """Whether the stored map to start from has the settings that are asked for; one that is not there cannot be had."""
    from ptylive.engine.stored_maps import StoredMaps

    wanted = job.preset.start.map_settings
    made = StoredMaps.read(job.results).maps.get(job.preset.start.start_map) if wanted else None
    return made is None or all(made.settings.get(name.partition(".")[2]) == one for name, one in wanted.items())


def _make(job: RefineJob, tell: Tell, should_stop: Callable[[], bool]) -> None:
    """Make the maps and store them, saying how far that is."""
    from ptylive.application.offline import MapRequest, method_of, reconstruct_file
    from ptylive.application.outputs import scan_settings
    from ptylive.engine.live.evaluation import backend_of
    from ptylive.engine.results import describe_run, write_maps
    from ptylive.streamer.source import open_source

    methods = dict.fromkeys((*job.methods, method_of(job.preset.start.start_map)))
    backend = "cpu" if job.backend == "cpu" else "auto"
    settings = {**job.map_settings, **job.preset.start.map_settings}
    request = MapRequest(backend=backend, detectors=job.detectors, settings=settings)
    said = ""

    def on_progress(done: int, total: int, words: str) -> None:
        nonlocal said
        if should_stop():
            raise RefinementError("stopped on request before the maps were made")
        doing = words.removeprefix(f"{job.recording.name}: ")
        so_far = f"{doing}, {10 * (10 * done // max(total, 1))} %" if done < total else doing
        if so_far != said:
            said = so_far
            tell({"kind": "note", "message": so_far})

    made = reconstruct_file(job.recording, job.values, methods, request, on_progress)
    for remark in made.remarks:
        tell({"kind": "remark", "message": remark})
    if not made.rendering.maps:
        missing = "; ".join(f"{name}: {reason}" for name, reason in made.rendering.missing.items())
        raise PtyliveError(f"{job.recording}: none of the maps could be made ({missing})", "give what is missing")
    with open_source(job.recording, job.values) as source:
        scan = scan_settings(source, job.results)
    about = {**describe_run(job.command_line, backend_of(made.engine.computed_on)), **scan}
    write_maps(job.results, made.rendering.maps, made.engine.coverage, made.calibration, about)
    tell({"kind": "maps"})
