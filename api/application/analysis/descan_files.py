"""The descan of one scan, for others of the same field: ``--set descan_px=vacuum.h5``."""

from __future__ import annotations

from pathlib import Path

from ptylive.schema import InputFileError


def descan_of_file(path: Path) -> list[float]:
    """Ten numbers ``descan_px`` of a recorded scan, ideally of vacuum: as given, or otherwise measured; 0 for none.

    Jumps between lines are specific to that scan and are left out. Reads all frames several times. Raises
    InputFileError for coefficients and for a scan of unknown shape.
    """
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.live.reading import found_descan
    from ptylive.schema.detector import Descan
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    vet(path)
    with open_source(path) as source:
        header = source.header
        if not header.basis.is_raw:
            raise InputFileError(f"{path} holds coefficients", "a descan is measured on frames")
        if header.scan.shape is None:
            raise InputFileError(f"{path} does not say scan_shape", "give descan_px, from ptylive inspect --descan")
        given = header.detector.descan_px
        descan = Descan.of(given) if given is not None else found_descan(source)
    return [round(number, 4) for number in (descan or Descan.of([0])).smooth.numbers]
