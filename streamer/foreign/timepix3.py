"""Raw packets of Timepix3 detectors (``.tpx3``, written by Serval): events; triggers or a dwell time make frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.metadata import arrays_and_numbers, build, sections_from
from ptylive.streamer.storage.scan_file import ScanFile
from ptylive.streamer.timepix3.recorded import read_scan

_US = 1e3


@contextmanager
def open_tpx3(path: Path, values: Mapping[str, Any]) -> Iterator[ScanFile]:
    """Open a ``.tpx3`` file. ``values``: known properties of the scan (see open_source); its shape, dwell_time_us,
    flyback_frames and cluster_time_us define the frames. Raises InputFileError.
    """
    check_is_file(path)
    sections = sections_from(arrays_and_numbers(values)[1])
    scan, detector = (build(name, sections[name], "--set") for name in ("scan", "detector"))
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputFileError(f"{path}: {error.strerror}", "check its permissions") from None
    with file:
        frames, notes = read_scan(path, file, scan, _US * (detector.cluster_time_us or 0.0))
        received = frames.received
        metadata: dict[str, Any] = {"dwell_time_us": frames.clock.dwell_us}
        if scan.shape is None and len(frames.clock.shape) == 2:
            metadata["scan_shape"] = frames.clock.shape
        yield ScanFile(
            frames,
            metadata,
            arrays={"bad_pixel_mask": frames.sensor.gap} if frames.sensor.four else {},
            received=None if received.all() else received,
            events=frames.select,
            notes=notes,
        )
