"""A scan not processed before: its maps are made and stored, then its refinement begins from one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptylive.schema import Calibration, PtyliveError
from ptylive.schema.calibration import Origin
from ptylive.schema.errors import StoppedError
from ptylive.server.refinement.refine_job import RefineJob

if TYPE_CHECKING:
    from ptylive.engine.stored_maps import StoredMaps

SHAPE = "scan_shape"
Tell = Callable[[dict[str, Any]], None]
"""Function that takes a message for the requester of the job."""


def with_maps(job: RefineJob, tell: Tell, should_stop: Callable[[], bool]) -> RefineJob:
    """Return the job with calibration, start and metadata of the maps in its results file.

    The maps are made unless they exist with the requested settings and values, and the job is resumed or uses existing
    maps. A run resumed from a checkpoint needs the same calibration to the last digit, which another machine would not
    reproduce; then only the values and the settings of its starting map have to match. Raises InputFileError for a file
    that is damaged or not a scan, MetadataError for missing optics, PtyliveError if no map can be made, StoppedError if
    stopped in between.
    """
    from ptylive.application.offline import start_of
    from ptylive.application.outputs import check_results_file
    from ptylive.engine.calibrate.detector import given_quantities
    from ptylive.engine.dataset import check_metadata
    from ptylive.engine.stored_maps import DISTORTION, StoredMaps, distortion_in_use, other_places, places_of
    from ptylive.schema.metadata import not_overridden, overruled_values, unstated_by
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    vet(job.recording, job.values, job.results)
    with open_source(job.recording, job.values) as source:
        check_results_file(job.results, source)
        distorts, scan = source.flat is not None, source.header.scan
        defaults = unstated_by(source.header, job.defaults)
        differing = "; ".join(overruled_values(source.header, not_overridden(job.defaults, job.values)))
        values = {**defaults, **job.values}
    if differing:
        words = f"the recording says otherwise than preset or configuration, and counts: {differing}"
        tell({"kind": "remark", "message": f"{words}; --set overrides both"})
    requested = job.values
    stored = StoredMaps.read(job.results) if (job.resume or job.takes_maps) and _has_maps(job.results) else None
    earlier = {} if stored is None else _distortion_of(stored, distorts=distorts)
    if stored is not None:
        earlier |= other_places(stored.places, None if stored.coverage is None else stored.coverage.shape, scan)
    earlier = not_overridden(earlier, requested)
    job = replace(job, values={**not_overridden(values, earlier), **earlier})
    with open_source(job.recording, job.values) as source:
        check_metadata(source.header, far_field=not job.preset.propagation.near_field)
        in_use = {name: quantity.value for name, quantity in given_quantities(source.header).items()}
        in_use |= {DISTORTION: distortion_in_use(source.flat), SHAPE: source.header.scan.shape}
        in_use |= places_of(source.header.scan)
    if stored is None or _values_differ(stored, in_use, requested) or not _have_requested_settings(stored, job):
        if stored is not None:
            in_place = bool(in_use[DISTORTION] or stored.distortion)
            given = {**Calibration.from_attributes(stored.calibration).given(in_place=in_place), **earlier}
            given = {**not_overridden(defaults, given), **given}
            job = replace(job, values={**not_overridden(given, requested), **requested})
        _make(job, tell, should_stop, keeps_detectors=stored is not None)
        stored = StoredMaps.read(job.results)
    calibration = Calibration.from_attributes(stored.calibration)
    if job.detectors:
        _add_detectors(job, calibration, tell)
    start = start_of(stored.maps.get, job.preset.start, calibration)
    return replace(job, calibration=calibration, start=start)


def _has_maps(results: Path) -> bool:
    """Return whether a vetted results file holds maps; ``ptylive refine`` writes files without maps."""
    from ptylive.engine.results_file import CALIBRATION, look

    return {"maps", CALIBRATION} <= set(look(results).links)


def _have_requested_settings(stored: StoredMaps, job: RefineJob) -> bool:
    """Return whether stored maps have the requested settings; for a resumed job only the starting map has to.

    Missing maps are not considered. A setting neither requested nor stored has the method's default.
    """
    from ptylive.application.offline import method_of
    from ptylive.engine.imaging.declaration import UPSAMPLE
    from ptylive.engine.imaging.registry import methods

    requested = {**job.map_settings, **job.preset.start.map_settings}
    start = method_of(job.preset.start.start_map)
    for live_map in stored.maps.values():
        method = methods().get(method_of(live_map.name))
        if method is None or (job.resume and method.name != start):
            continue
        for name, spec in method.may_be_set.items():
            if spec is UPSAMPLE and name not in requested:
                if name in stored.asked:
                    return False
                continue  # a factor chosen by the method is stored as well
            if live_map.settings.get(name.partition(".")[2], spec.default) != requested.get(name, spec.default):
                return False
    return True


def _values_differ(stored: StoredMaps, in_use: Mapping[str, Any], requested: Mapping[str, Any]) -> bool:
    """Return whether stored maps were made with values, under any name, that differ from those requested now.

    Values not requested stay as given for the stored maps, whatever the recording says.
    """
    from ptylive.engine.stored_maps import DISTORTION, OF_PLACES
    from ptylive.schema.metadata import not_overridden

    shape = None if stored.coverage is None else stored.coverage.shape
    measured = {name: value for name, value in ((DISTORTION, stored.distortion), (SHAPE, shape)) if value is not None}
    unstated = {name: in_use[name] for name in (DISTORTION, SHAPE, *OF_PLACES)}
    before = {**unstated, **_all_given(stored), **measured, **stored.places}
    differing = {name: None for name in {*before, *in_use} if before.get(name) != in_use.get(name)}
    return len(not_overridden(differing, requested)) < len(differing)


def _distortion_of(stored: StoredMaps, *, distorts: bool) -> dict[str, Any]:
    """Return the distortion corrected in stored maps, 0 for none if the recording ``distorts``; {} if there is none."""
    if stored.distortion is None or not (stored.distortion or distorts):
        return {}
    return {"distortion": stored.distortion or (0.0,)}


def _all_given(stored: StoredMaps) -> dict[str, Any]:
    """Return the values given by a user for the existing maps."""
    entries = Calibration.from_attributes(stored.calibration).entries
    return {name: quantity.value for name, quantity in entries.items() if quantity.origin is Origin.GIVEN}


def _add_detectors(job: RefineJob, calibration: Calibration, tell: Tell) -> None:
    """Store the maps of virtual detectors with the others; the reason for a missing one is sent as a remark."""
    from ptylive.application.offline import detector_maps
    from ptylive.engine.results import add_maps

    tell({"kind": "note", "message": "virtual detectors"})
    found, problems = detector_maps(job.recording, job.values, job.detectors, calibration)
    for problem in problems:
        tell({"kind": "remark", "message": problem})
    if found:
        add_maps(job.results, found)


def _make(job: RefineJob, tell: Tell, should_stop: Callable[[], bool], *, keeps_detectors: bool) -> None:
    """Make and store the maps, reporting progress; stored maps of virtual detectors can be kept with them."""
    from ptylive.application.offline import MapRequest, method_of, reconstruct_file
    from ptylive.application.outputs import scan_settings
    from ptylive.engine.imaging.declaration import DETECTOR_PREFIX
    from ptylive.engine.live.evaluation import backend_of
    from ptylive.engine.results import describe_run, write_maps
    from ptylive.engine.stored_maps import StoredMaps, describe_maps
    from ptylive.streamer.source import open_source

    start = method_of(job.preset.start.start_map)
    methods = dict.fromkeys((*job.methods, start))
    backend = "cpu" if job.backend == "cpu" else "auto"
    settings = {**job.map_settings, **job.preset.start.map_settings}
    request = MapRequest(backend=backend, settings=settings, needed=(start,))
    said = ""

    def on_progress(done: int, total: int, words: str) -> None:
        nonlocal said
        if should_stop():
            raise StoppedError("stopped on request before the maps were made")
        step = words.removeprefix(f"{job.recording.name}: ")
        so_far = f"{step}, {10 * (10 * done // max(total, 1))} %" if done < total else step
        if so_far != said:
            said = so_far
            tell({"kind": "note", "message": so_far})

    mapped = reconstruct_file(job.recording, job.values, methods, request, on_progress)
    refused = [f"{method} was not made: {reason}" for method, reason in mapped.engine.filters.refused.items()]
    for remark in (*mapped.remarks, *refused):
        tell({"kind": "remark", "message": remark})
    if not mapped.rendering.maps:
        missing = "; ".join(f"{name}: {reason}" for name, reason in mapped.rendering.missing.items())
        raise PtyliveError(f"{job.recording}: none of the maps could be made ({missing})", "give what is missing")
    with open_source(job.recording, job.values) as source:
        scan = {**scan_settings(source, job.results), **describe_maps(settings, source.flat, source.header.scan)}
    about = {**describe_run(job.command_line, backend_of(mapped.engine.computed_on)), **scan}
    stored = StoredMaps.read(job.results).maps.values() if keeps_detectors else ()
    detectors = [live_map for live_map in stored if live_map.name.startswith(DETECTOR_PREFIX)]
    write_maps(job.results, [*detectors, *mapped.rendering.maps], mapped.engine.coverage, mapped.calibration, about)
    tell({"kind": "maps"})
