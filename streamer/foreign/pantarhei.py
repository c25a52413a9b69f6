"""CEOS Panta Rhei ``.prz`` through RosettaSciIO: a numpy archive with metadata as JSON next to the array.

Versions before 24.03 pickle their metadata: nothing is unpickled here, so those files give only frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.archives import Member, check, members
from ptylive.streamer.foreign.arrays import check_frames
from ptylive.streamer.foreign.rosetta import (
    LazyFrames,
    frames_of,
    only_scan,
    read_signals,
    reads_without_pickle,
    scale_of,
    value_at,
)
from ptylive.streamer.foreign.units import angle_mrad, axes_metadata, doubtful_axes, energy_eV
from ptylive.streamer.storage.scan_file import CHECK_IT, ScanFile

_MOST_JSON_BYTES = 16 * 2**20
_DATA, _JSON = "data", "meta_data_json"
_PIECE_BYTES = 8 * 2**20
_BEAM = "metadata.Acquisition_instrument.TEM"


@contextmanager
def open_prz(path: Path) -> Iterator[ScanFile]:
    """Open a ``.prz``. Raises InputFileError, also if the installed RosettaSciIO would unpickle its contents."""
    data, has_metadata = _checked(path)
    if not reads_without_pickle(path, "pantarhei"):
        raise InputFileError(f"{path}: this RosettaSciIO would unpickle it", "pip install --upgrade rosettasciio")
    options = {"chunks": _chunks(data)} if data.is_stored else {"lazy": False}
    found = only_scan(path, read_signals("pantarhei", path, **options))
    frames: LazyFrames = frames_of(path, found)
    scales = [scale_of(axis) for axis in found["axes"]]
    values = {
        "energy_eV": energy_eV(value_at(found, f"{_BEAM}.beam_energy"), 1e3),  # RosettaSciIO gives it in keV
        "convergence_semiangle_mrad": angle_mrad(value_at(found, f"{_BEAM}.convergence_angle"), "mrad"),
    }
    metadata = axes_metadata(scales) | {name: value for name, value in values.items() if value is not None}
    pickled = f"its metadata are pickled and are not read: the axes are used in the order of the file{CHECK_IT}"
    notes = doubtful_axes(scales)
    yield ScanFile(frames, metadata, notes=notes if has_metadata else (*notes, pickled))


def _checked(path: Path) -> tuple[Member, bool]:
    """Return the array's member, and whether its metadata can be read. Raises InputFileError if too large."""
    found = {member.name: member for member in members(path)}
    if _DATA not in found:
        raise InputFileError(f"{path} holds no array named {_DATA}", "is it a file of Panta Rhei?")
    data = found[_DATA]
    check_frames(path, data.shape)
    check(path, data)
    described = found.get(_JSON)
    if described is not None and described.info.file_size > _MOST_JSON_BYTES:
        raise InputFileError(f"{path}: its metadata are too large", "export it from Panta Rhei again")
    return data, described is not None


def _chunks(data: Member) -> tuple[int, ...]:
    """Chunks of whole patterns, or of the last two axes whatever they are."""
    last = [max(int(n), 1) for n in data.shape[-2:]]
    run = max(1, _PIECE_BYTES // (data.dtype.itemsize * math.prod(last)))
    return (*(1 for _ in data.shape[:-3]), *(min(run, max(int(n), 1)) for n in data.shape[-3:-2]), *last)
