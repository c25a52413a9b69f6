"""PtyPy's ``.ptyd`` files: chunks of frames with positions and weights, and their common metadata (HDF5, SI units).

Compared with ``PtyScan`` of PtyPy 0.9: ``chunks/<n>`` has data (n, Qy, Qx), positions (n, 2) in m, rows first, and
weights, 0 for bad pixels; ``meta`` has the pixel ``psize`` and ``distance`` in m, and ``energy`` in keV of a photon.
Chunks linked to separate files are read if these lie next to the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import BoolArray, DoubleArray
from ptylive.streamer.foreign.dectris_files import FrameFiles
from ptylive.streamer.foreign.exchange.listed_positions import listed_scan
from ptylive.streamer.foreign.exchange.photon_energy import electrons_eV
from ptylive.streamer.foreign.units import detector_metadata, unequal_pixels
from ptylive.streamer.storage.hdf5 import dataset, entry, opened
from ptylive.streamer.storage.scan_file import ScanFile

CHUNKS = "chunks"
MOST_CHUNKS = 100_000
_A_PER_M = 1e10


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is a PtyPy file."""
    return isinstance(entry(file, CHUNKS), h5py.Group)


@contextmanager
def open_ptyd(path: Path) -> Iterator[ScanFile]:
    """Open the frames of all chunks in order. Raises InputFileError: none, a chunk missing or elsewhere."""
    with opened(path) as file, ExitStack() as stack:
        names = sorted((name for name in file[CHUNKS] if name.isdecimal()), key=int)[:MOST_CHUNKS]
        chunks = [_chunk(path, file, name, stack) for name in names]
        parts = [dataset(chunk, "data") for chunk in chunks]
        if not parts or any(part is None for part in parts):
            raise InputFileError(f"{path} has no frames in its chunks", "prepare it with save = 'append' or 'link'")
        frames = FrameFiles.of(path, parts)
        metadata, notes = _meta(file)
        arrays: dict[str, Any] = {}
        if (positions := _positions_A(chunks, frames.shape[0])) is not None:
            listed = listed_scan(positions)
            metadata, arrays, notes = metadata | listed.metadata, dict(listed.arrays), [*notes, listed.note]
        if (bad := _bad_pixels(chunks[0], frames.shape[1:])) is not None:
            arrays["bad_pixel_mask"] = bad
        yield ScanFile(frames, metadata, arrays, notes=tuple(notes))


def _chunk(path: Path, file: Any, name: str, stack: ExitStack) -> Any:
    link = file[CHUNKS].get(name, getlink=True)
    if not isinstance(link, h5py.ExternalLink):
        chunk = entry(file[CHUNKS], name)
        if not isinstance(chunk, h5py.Group):
            raise InputFileError(f"{path}: its chunk {name} holds no frames", "restore the file, or prepare it again")
        return chunk
    chunk_file = path.with_name(PurePosixPath(link.filename.replace("\\", "/")).name)
    if not chunk_file.is_file():
        raise InputFileError(f"{path}: its chunk {name} lies in {chunk_file.name}", "put that file next to it")
    return stack.enter_context(opened(chunk_file))


def _positions_A(chunks: list[Any], frames: int) -> DoubleArray | None:
    """Positions (N, 2), row and column; None where not every frame has one."""
    found = [dataset(chunk, "positions") for chunk in chunks]
    if any(
        positions is None or positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.kind not in "fiu"
        for positions in found
    ):
        return None
    if sum(len(positions) for positions in found) != frames:
        return None
    return np.concatenate([np.asarray(positions[()], dtype=np.float64) for positions in found]) * _A_PER_M


def _bad_pixels(chunk: Any, shape: tuple[int, ...]) -> BoolArray | None:
    """Pixels without weight in the first frame."""
    weights = dataset(chunk, "weights")
    if weights is None or weights.shape[-2:] != shape or weights.ndim not in (2, 3) or 0 in weights.shape:
        return None
    bad = np.asarray(weights[0] if weights.ndim == 3 else weights[()]) == 0
    return bad if bad.any() and not bad.all() else None


def _meta(file: Any) -> tuple[dict[str, Any], list[str]]:
    """Pixel and energy where given."""
    metadata: dict[str, Any] = {}
    notes: list[str] = []
    sizes, distance, energy = (_numbers(file, f"meta/{name}") for name in ("psize", "distance", "energy"))
    if len(sizes) and len(distance) and distance[0] > 0:
        pixels = [(float(size / distance[0]), "rad") for size in (sizes[0], sizes[-1])]
        metadata |= detector_metadata(pixels)
        notes += unequal_pixels(pixels)
    if len(energy):
        energy_eV = electrons_eV(float(energy[0]))
        if energy_eV is None:
            notes.append(f"an energy of {energy[0]:.4g} keV is not used: is it an X-ray energy? give energy_eV")
        else:
            metadata["energy_eV"] = energy_eV
    return metadata, notes


def _numbers(file: Any, name: str) -> DoubleArray:
    found = dataset(file, name)
    if found is None or found.size not in (1, 2) or found.dtype.kind not in "fiu":
        return np.empty(0)
    values = np.asarray(found[()], dtype=np.float64).ravel()
    return values if np.isfinite(values).all() else np.empty(0)
