"""DECTRIS NeXus masters: ``<series>_master.h5`` names files ``<series>_data_NNNNNN.h5`` that hold the frames.

The master's links are read, not followed: a data file must lie next to its master, under a plain name. Chunks of one
frame compressed with bitshuffle/LZ4 can be replayed unchanged. ``<series>.h5`` next to it, if a microscope wrote one,
describes how the beam was scanned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.foreign.exchange.nexus_axes import states_axes, with_nexus_axes
from ptylive.streamer.foreign.units import energy_eV, length_A, time_us
from ptylive.streamer.storage.hdf5 import attributes, dataset, has_checksums, opened, stores_bslz4_patterns
from ptylive.streamer.storage.native import read_chunk
from ptylive.streamer.storage.scan_file import ScanFile

_FRAMES = "entry/data"
_DETECTOR = "entry/instrument/detector"
_MASTER = "_master.h5"
_MOST_FILES = 100_000
FOUR_AXES = 4


@dataclass(frozen=True)
class FrameFiles:
    """Data sets (n, Qy, Qx) of several files, one after the other, presented as one (N, Qy, Qx)."""

    path: Path
    parts: tuple[Any, ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, path: Path, parts: list[Any]) -> FrameFiles:
        """Join the parts in the order of acquisition. Raises InputFileError when they do not fit together."""
        if len({(part.shape[1:], part.dtype) for part in parts}) != 1 or any(part.ndim != 3 for part in parts):
            raise InputFileError(f"{path}: its data files hold frames of different shapes or types", "record it again")
        starts = np.cumsum([0, *(len(part) for part in parts)])
        return cls(path, tuple(parts), tuple(starts.tolist()))

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, Qy, Qx)."""
        return (self.starts[-1], *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        dtype: np.dtype[Any] = self.parts[0].dtype
        return dtype

    def __getitem__(self, selection: tuple[slice]) -> Array:
        first, last, _ = selection[0].indices(self.starts[-1])
        out = np.empty((last - first, *self.shape[1:]), self.dtype)
        for part, start in zip(self.parts, self.starts, strict=False):
            low, high = max(first, start), min(last, start + len(part))
            if low < high:
                out[low - first : high - first] = part[low - start : high - start]
        return out

    @property
    def stores_bslz4(self) -> bool:
        """Whether :meth:`chunk` can return compressed patterns."""
        return all(stores_bslz4_patterns(part) for part in self.parts)

    def chunk(self, number: int) -> bytes:
        """Return one pattern as stored in its file."""
        k = int(np.searchsorted(self.starts, number, side="right")) - 1
        part, position = self.parts[k], (number - self.starts[k], 0, 0)
        return read_chunk(self.path, part, position, checked=has_checksums(part))


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is a DECTRIS master, or one of its data files."""
    group = file.get(_FRAMES)
    return isinstance(group, h5py.Group) and any(name.startswith("data") for name in group)


@contextmanager
def open_dectris(path: Path) -> Iterator[ScanFile]:
    """Open a master or a single data file, or a NeXus file whose one data set is (Ry, Rx, Qy, Qx).

    Raises InputFileError: a data file missing or elsewhere, no frames.
    """
    with opened(path) as file, ExitStack() as stack:
        names = sorted(name for name in file[_FRAMES] if re.fullmatch(r"data(_\d+)?", name))[:_MOST_FILES]
        parts = [_part(path, file, name, stack) for name in names]
        if not parts:
            raise InputFileError(f"{path} names no data files", "give the master file of a series that has frames")
        if len(parts) == 1 and (parts[0].ndim == FOUR_AXES or states_axes(parts[0])):
            # not a DECTRIS file, but NeXus with the scan in its place
            yield with_nexus_axes(parts[0], (f"patterns read from {_FRAMES}/{names[0]}",))
            return
        frames = FrameFiles.of(path, parts)
        mask = _pixel_mask(file, frames.shape[1:])
        metadata, notes = _metadata(path, file, frames.shape[0])
        chunk = frames.chunk if frames.stores_bslz4 else None
        yield ScanFile(frames, metadata, {} if mask is None else {"bad_pixel_mask": mask}, chunk=chunk, notes=notes)


def _part(path: Path, file: Any, name: str, stack: ExitStack) -> Any:
    """Return a data set of frames, in this file or in the file next to it that a link names."""
    link = file[_FRAMES].get(name, getlink=True)
    if not isinstance(link, h5py.ExternalLink):
        found = dataset(file, f"{_FRAMES}/{name}")
        if found is None:  # a group, or a dangling link
            raise InputFileError(f"{path}: {name} holds no frames", "copy the file again")
        return found
    if PurePosixPath(link.filename).name != link.filename:
        raise InputFileError(
            f"{path}: {name} is stored in {link.filename}", "put the data files next to their master file"
        )
    data_file = path.with_name(link.filename)
    if not data_file.exists():
        raise InputFileError(
            f"{path}: its data file {data_file.name} is missing", "put the data files next to their master file"
        )
    found = dataset(stack.enter_context(opened(data_file)), link.path)
    if found is None:
        raise InputFileError(f"{data_file} holds no frames at {link.path}", "copy the file again")
    return found


def _pixel_mask(file: Any, shape: tuple[int, ...]) -> BoolArray | None:
    """Pixels that the detector marks as bad."""
    found = dataset(file, f"{_DETECTOR}/detectorSpecific/pixel_mask")
    if found is None or found.shape != shape:
        return None
    mask = np.asarray(found[()]) != 0
    return mask if mask.any() else None


def _metadata(path: Path, file: Any, frames: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Metadata of master and scan file, and notes on missing values."""
    metadata: dict[str, Any] = {}
    if (energy := energy_eV(_number(file, f"{_DETECTOR}/detectorSpecific/photon_energy"))) is not None:
        metadata["energy_eV"] = energy
    if (dwell := time_us(_number(file, f"{_DETECTOR}/frame_time"))) is not None:
        metadata["dwell_time_us"] = dwell
    if full := _number(file, f"{_DETECTOR}/saturation_value"):
        metadata["saturation_value"] = full
    center = _number(file, f"{_DETECTOR}/beam_center_y"), _number(file, f"{_DETECTOR}/beam_center_x")
    if all(center):
        metadata["beam_center_px"] = list(center)
    scanned = path.with_name(path.name.removesuffix(_MASTER) + ".h5")
    if not path.name.endswith(_MASTER) or not scanned.is_file():
        return metadata, ()
    more = _scan_of(scanned, frames)
    return {**metadata, **more}, (f"scan of {scanned.name}: {', '.join(sorted(more)) or 'no matching values'}",)


def _scan_of(path: Path, frames: int) -> dict[str, Any]:
    """Read the group "STEM Metadata" of a microscope's own file: points, step in nm, high tension in V."""
    with opened(path) as file:
        group = file.get("STEM Metadata")
        given = {} if group is None else attributes(group)
    metadata: dict[str, Any] = {}
    rows, columns = given.get("NumPixelsY"), given.get("NumPixelsX")
    if isinstance(rows, int) and isinstance(columns, int) and 0 < rows * columns <= frames:
        metadata["scan_shape"] = [rows, columns]
    if (step := length_A(given.get("Pixel Size"), "nm")) is not None:
        metadata["scan_step_A"] = step
    if (energy := energy_eV(given.get("High Tension"))) is not None:
        metadata["energy_eV"] = energy
    return metadata


def _number(file: Any, name: str) -> float | None:
    found = dataset(file, name)
    return None if found is None or found.shape != () or found.dtype.kind not in "fiu" else float(found[()])
