"""CXI files (Coherent X-ray Imaging, F. R. N. C. Maia, Nature Methods 9, 854, 2012), version 1.x, SI units.

Frames are ``entry_1/data_1/data``, or the detector's. Its translations are interpreted as positions of the beam, x
first, as ptychodus writes them. A pixel is interpreted as an angle: its size divided by the detector's distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import DoubleArray
from ptylive.streamer.foreign.exchange.listed_positions import listed_scan
from ptylive.streamer.foreign.exchange.photon_energy import electrons_eV, photon_keV
from ptylive.streamer.foreign.units import detector_metadata, unequal_pixels
from ptylive.streamer.storage.hdf5 import dataset, opened
from ptylive.streamer.storage.scan_file import ScanFile

ENTRY = "entry_1"
FRAMES = (f"{ENTRY}/data_1/data", f"{ENTRY}/instrument_1/detector_1/data")
TRANSLATIONS = (f"{ENTRY}/sample_1/geometry_1/translation", f"{ENTRY}/data_1/translation")
DETECTOR, SOURCE = f"{ENTRY}/instrument_1/detector_1", f"{ENTRY}/instrument_1/source_1"
MOST_POINTS = 10**8
_A_PER_M = 1e10


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is a CXI file with frames."""
    return any(name in file for name in FRAMES)


@contextmanager
def open_cxi(path: Path) -> Iterator[ScanFile]:
    """Open frames (N, Qy, Qx) with positions, pixel and energy where given. Raises InputFileError."""
    with opened(path) as file:
        frames = next((found for name in FRAMES if (found := dataset(file, name)) is not None), None)
        if frames is None or frames.ndim not in (3, 4) or 0 in frames.shape:
            shape = "no data set" if frames is None else f"the shape {frames.shape}"
            raise InputFileError(f"{path}: its frames have {shape}", "give a file with (N, Qy, Qx) in entry_1/data_1")
        metadata: dict[str, Any] = {}
        notes: list[str] = []
        arrays: dict[str, Any] = {}
        if (positions := _positions_A(path, file, frames.shape)) is not None:
            listed = listed_scan(positions)
            metadata |= listed.metadata
            arrays |= listed.arrays
            notes.append(listed.note)
        pixels = _pixels(file)
        metadata |= detector_metadata(pixels)
        notes += unequal_pixels(pixels)
        energy = _number(file, f"{SOURCE}/energy")
        if energy is not None:
            energy_eV = electrons_eV(photon_keV(energy))
            if energy_eV is None:
                notes.append(
                    f"an energy of {photon_keV(energy):.4g} keV is not used: is it an X-ray energy? give energy_eV"
                )
            else:
                metadata["energy_eV"] = energy_eV
        mask = dataset(file, f"{DETECTOR}/mask")
        if mask is not None and mask.shape == frames.shape[-2:]:
            bad = np.asarray(mask[()]) != 0
            arrays |= {"bad_pixel_mask": bad} if bad.any() else {}
        yield ScanFile(frames, metadata, arrays, notes=tuple(notes))


def _positions_A(path: Path, file: Any, shape: tuple[int, ...]) -> DoubleArray | None:
    """Positions (N, 2), row and column; None if the file has none. Raises InputFileError for those of other frames."""
    found = next((data_set for name in TRANSLATIONS if (data_set := dataset(file, name)) is not None), None)
    if found is None:
        return None
    frames = int(np.prod(shape[:-2]))
    if found.ndim != 2 or found.shape[1] < 2 or found.shape[0] != frames or frames > MOST_POINTS:
        raise InputFileError(
            f"{path}: translation has the shape {found.shape} for {frames} frames", "correct it, or leave it out"
        )
    return np.asarray(found[:, :2], dtype=np.float64)[:, ::-1] * _A_PER_M


def _pixels(file: Any) -> list[tuple[float, str]]:
    """Angles of rows and columns in rad, from size and distance; 0 where not given."""
    height, width = (_number(file, f"{DETECTOR}/{axis}_pixel_size") or 0.0 for axis in "yx")
    distance = _number(file, f"{DETECTOR}/distance") or 0.0
    return [(size / distance if distance > 0 else 0.0, "rad") for size in (height, width)]


def _number(file: Any, name: str) -> float | None:
    found = dataset(file, name)
    if found is None or found.size != 1 or found.dtype.kind not in "fiu":
        return None
    value = float(np.asarray(found[()]).ravel()[0])
    return value if np.isfinite(value) else None
