"""A scan of which nothing is known yet: its maps are made and stored, then its refinement begins from one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptylive.schema import Calibration, PtyliveError, RefinementError
from ptylive.schema.calibration import Origin
from ptylive.server.refinement.refine_job import RefineJob

if TYPE_CHECKING:
    from ptylive.engine.stored_maps import StoredMaps

Tell = Callable[[dict[str, Any]], None]
"""Takes a message for whoever asked for the job."""


def with_maps(job: RefineJob, tell: Tell, should_stop: Callable[[], bool]) -> RefineJob:
    """The job with calibration, start and metadata, as the maps in its results file have them.

    The maps are made unless they are there with the settings that are asked for and the job is resumed or takes them:
    what goes on from a checkpoint must have the same calibration to the last digit, which another machine would not
    find again. Raises InputFileError for a
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
    stored = StoredMaps.read(job.results) if (job.resume or job.takes_maps) and _has_maps(job.results) else None
    if stored is None or not _are_wanted(stored, job):
        given = {} if stored is None else _given(Calibration.from_attributes(stored.calibration))
        job = replace(job, values={**values, **given})
        _make(job, tell, should_stop)
        stored = StoredMaps.read(job.results)
    calibration = Calibration.from_attributes(stored.calibration)
    if job.detectors:
        _add_detectors(job, stored, calibration, tell)
    start = start_of(stored.maps.get, job.preset.start, calibration)
    return replace(job, calibration=calibration, start=start)


def _has_maps(results: Path) -> bool:
    """Whether a results file that was looked through holds maps; ``ptylive refine`` makes files without."""
    from ptylive.engine.results_file import CALIBRATION, look

    return {"maps", CALIBRATION} <= set(look(results).links)


def _are_wanted(stored: StoredMaps, job: RefineJob) -> bool:
    """Whether stored maps have the settings that are asked for; one that is not there cannot be had."""
    from ptylive.application.offline import method_of

    for name, value in {**job.map_settings, **job.preset.start.map_settings}.items():
        method, _, key = name.partition(".")
        made = [one for one in stored.maps.values() if method_of(one.name) == method]
        if any(one.settings.get(key) != value for one in made):
            return False
    return True


def _given(calibration: Calibration) -> dict[str, Any]:
    """What somebody gave for the maps that are there: those that take their place have it too."""
    return {name: one.value for name, one in calibration.entries.items() if one.origin is Origin.GIVEN}


def _add_detectors(job: RefineJob, stored: StoredMaps, calibration: Calibration, tell: Tell) -> None:
    """Store the maps of virtual detectors beside the others; what one cannot be had for is a remark."""
    from ptylive.application.offline import detector_maps
    from ptylive.engine.results import add_maps

    tell({"kind": "note", "message": "virtual detectors"})
    found, problems = detector_maps(job.recording, job.values, job.detectors, calibration)
    for problem in problems:
        tell({"kind": "remark", "message": problem})
    if found:
        add_maps(job.results, found, stored.maps.values())


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
    request = MapRequest(backend=backend, settings=settings)
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
