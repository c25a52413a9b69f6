"""``ptylive reconstruct``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ptylive.schema import LiveMap, PtyliveError
from ptylive.server.cli.options import AsJson, Backend, Detectors, Settings, checked_backend
from ptylive.server.cli.output import answer, bar, end_partial, say, when_interrupted
from ptylive.server.cli.values import names_in, parse_assignments

EXAMPLES = """
ptylive reconstruct scan.h5 -o maps.h5
ptylive reconstruct scan.h5 -o maps.h5 --methods idpc,obf --set energy_eV=80e3
ptylive reconstruct scan.h5 -o maps.h5 --methods wdd,tcbf --set wdd.epsilon=0.1 --set tcbf.upsample=4
ptylive reconstruct scan.h5 -o maps.h5 --detector haadf=ring:60mrad,200mrad --detector left=disc:31.5,12,6
ptylive reconstruct scan.h5 -o maps.h5 --set gain_reference=gain.npy --backend cpu
"""


def certainty(live_map: LiveMap) -> dict[str, float]:
    """Return the deviation of a pixel due to noise, in its units, and the information limit in Å, if known."""
    limit = live_map.information_limits().get(1.0)
    known = limit is not None and limit.is_known
    known_values = {"deviation": live_map.deviation, "information_limit_A": limit.period_A if limit and known else None}
    return {name: round(value, 6) for name, value in known_values.items() if value is not None}


def reconstruct(
    file: Annotated[Path, typer.Argument(help="scan file, native or foreign", readable=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="results file", readable=False)],
    methods: Annotated[str | None, typer.Option(help="maps to make, comma-separated; all by default")] = None,
    basis: Annotated[str, typer.Option(help="make the maps from coefficients, for example zernike:45+1")] = "pixels",
    detector: Detectors = None,
    settings: Settings = None,
    backend: Backend = "auto",
    as_json: AsJson = False,
) -> None:
    """Compute the maps of a recording with the live engine."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.application.detector_texts import named, read_detectors
    from ptylive.application.offline import MapRequest, reconstruct_file
    from ptylive.application.outputs import check_results_file, maps_lost, scan_settings
    from ptylive.engine.bases.choice import parse_basis
    from ptylive.engine.imaging.registry import read_settings
    from ptylive.engine.imaging.render import METHODS, check_methods
    from ptylive.engine.live.evaluation import backend_of
    from ptylive.engine.results import describe_run, write_maps
    from ptylive.engine.stored_maps import describe_maps
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    checked_backend(backend)
    wanted = METHODS if methods is None else check_methods(names_in(methods))
    chosen, values = read_settings(parse_assignments(settings or ()))
    request = MapRequest(parse_basis(basis), backend, named(detector or ()), chosen)
    read_detectors(request.detectors)  # report a faulty detector before minutes of work
    vet(file, values, output)
    with open_source(file, values) as source:
        check_results_file(output, source)
        scan = {**scan_settings(source, output), **describe_maps(chosen, source.flat, source.header.scan)}
    started = time.perf_counter()
    with when_interrupted(f"{output} was not written"), bar(f"reconstructing {file.name}", quiet=as_json) as shown:
        mapped = reconstruct_file(file, values, wanted, request, shown.update)
    seconds = time.perf_counter() - started
    for name, reason in mapped.rendering.missing.items():
        say(f"{name} was not made: {reason}")
    for remark in mapped.remarks:
        say(remark)
    for live_map in mapped.rendering.maps:
        if live_map.doubt:
            say(f"{live_map.name}: {live_map.doubt}")
        if live_map.caveat:
            say(f"{live_map.name}: {live_map.caveat}")
    if not mapped.rendering.maps:
        raise PtyliveError(f"{file}: none of the maps could be made", "see the lines above")
    if lost := maps_lost(output, [live_map.name for live_map in mapped.rendering.maps]):
        say(f"{output}: earlier maps are replaced, and these are not made again: {', '.join(lost)}")
    description = {**describe_run(" ".join(sys.argv), backend_of(mapped.engine.computed_on)), **scan}
    write_maps(output, mapped.rendering.maps, mapped.engine.coverage, mapped.calibration, description)
    answer(
        {
            "file": str(file),
            "output": str(output),
            "frames": mapped.frames,
            "seconds": seconds,
            "frames_per_s": mapped.frames / seconds,
            "maps": [live_map.name for live_map in mapped.rendering.maps],
            "missing": mapped.rendering.missing,
            "caveats": {each.name: each.caveat for each in mapped.rendering.maps if each.caveat},
            "certainty": {each.name: stated for each in mapped.rendering.maps if (stated := certainty(each))},
            "computed_on": mapped.engine.computed_on,
        },
        as_json=as_json,
    )
    if methods and mapped.rendering.missing:  # without --methods the request is for all maps that can be made
        end_partial(f"requested but not made: {', '.join(mapped.rendering.missing)}")
