"""Merlin ``.mib``, EMPAD ``.xml``/``.raw``, NanoMEGAS ``.blo``, HyperSpy ``.hspy``/``.zspy`` through RosettaSciIO.

RosettaSciIO is GPL, so it is an optional extra (``pip install 'ptylive[import]'``), imported only when such a file is
opened. It reads lazily (dask); each read computes the pieces it needs in the calling thread.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import check_is_file, read_bytes
from ptylive.schema.model import Array, IndexArray
from ptylive.streamer.foreign.arrays import check_frames
from ptylive.streamer.foreign.axes_order import in_order
from ptylive.streamer.foreign.units import (
    angle_mrad,
    axes_metadata,
    doubtful_axes,
    energy_eV,
    is_energy,
    scan_metadata,
    time_us,
)
from ptylive.streamer.storage.file_frames import FileFrames
from ptylive.streamer.storage.hdf5 import attributes, dataset, opened
from ptylive.streamer.storage.scan_file import ScanFile, StoredFrames

NO_ZARR = (3, 14)
"""From this Python on, the zarr 2 needed by RosettaSciIO's reader of ``.zspy`` cannot be built (pyproject.toml)."""
_MOST_HEADER_BYTES = 2**24
_NAMED = 5
"""Number of frame numbers listed in a message."""
_EMPAD_PATTERN_BYTES = 4 * 128 * 130
"""Of its 130 rows, two are no pixels."""
_PIECE = "8MiB"
"""Size of the pieces in which files without their own chunks are read."""


@dataclass(frozen=True)
class LazyFrames:
    """A dask array (…, Qy, Qx), or one mapped from a file, read piece by piece."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes, then rows and columns of a pattern."""
        return tuple(int(n) for n in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel, in native byte order."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype.newbyteorder("=")

    def __getitem__(self, selection: Any) -> Array:
        try:
            part = self.array[selection]
            return np.asarray(part.compute(scheduler="synchronous") if hasattr(part, "compute") else part)
        except OSError:
            raise
        except Exception as error:  # any exception of a decoder on damaged bytes counts as damage
            raise OSError(" ".join(str(error).split()) or type(error).__name__) from None

    def in_a_row(self) -> LazyFrames:
        """Return the same frames without rows: (N, Qy, Qx)."""
        return LazyFrames(self.array.reshape(-1, *self.array.shape[-2:]))


@contextmanager
def open_mib(path: Path) -> Iterator[ScanFile]:
    """Open a Merlin ``.mib``, with its ``.hdr`` where there is one. Raises InputFileError."""
    held = path
    if path.suffix.lower() == ".hdr":
        held = path.with_suffix(".MIB" if path.suffix.isupper() else ".mib")
    if held.suffix != ".mib" and held.exists():  # RosettaSciIO would take the file itself for its header
        new = held.with_suffix(".mib").name
        hint = f"rename it to {new}, and its header in the same way"
        raise InputFileError(f"{held}: RosettaSciIO opens only .mib in small letters", hint)
    found = _read_merlin(held)
    number = int(value_at(found, "original_metadata.mib_properties.frame_number_in_file") or 0)
    if number > int(np.prod(found["data"].shape[:-2])):  # it guesses lines, and drops an incomplete last line
        found = _read("quantumdetector", held, navigation_shape=(number, 1))
    frames = frames_of(path, found)
    metadata: dict[str, Any] = {}
    notes = ("rows of the patterns run upwards, as RosettaSciIO flips them", *_mib_lacks(held, found, number))
    if len(frames.shape) == 4 and min(frames.shape[:2]) > 1:
        rows, columns = frames.shape[:2]
        metadata["scan_shape"] = [rows, columns]
        notes += (f"scan_shape {rows} x {columns} is guessed from triggers and pauses: check it",)
    if (dwell := time_us(value_at(found, "metadata.Acquisition_instrument.dwell_time"))) is not None:
        metadata["dwell_time_us"] = dwell
    yield ScanFile(frames.in_a_row(), metadata, notes=notes)


def _read_merlin(path: Path) -> Mapping[str, Any]:
    """Read a ``.mib`` and its ``.hdr``. Raises InputFileError, which names a header that may be at fault."""
    header = path.with_suffix(".hdr")
    if header.exists():
        check_is_file(header)
    try:
        return _read("quantumdetector", path)
    except InputFileError as error:
        if not header.is_file():
            raise
        hint = f"is it complete, and {header.name} its header? it also opens without that file"
        raise InputFileError(str(error), hint) from None


def _mib_lacks(path: Path, found: Mapping[str, Any], number: int) -> list[str]:
    """Notes on missing and repeated frames of a Merlin file with ``number`` frames, by their numbers."""
    properties = value_at(found, "original_metadata.mib_properties") or {}
    try:
        pixels = properties["merlin_size"][0] * properties["merlin_size"][1] * np.dtype(properties["dtype"]).itemsize
        frame, size = properties["head_size"] + pixels, path.stat().st_size
        heads = FileFrames(path, np.dtype(np.uint8), 0, (number, frame))[:, 4:10]  # behind "MQ1,"
        numbers = heads.view("S6").ravel().astype(np.int64)
    except (KeyError, TypeError, ValueError, OSError):  # of another version: nothing is known
        return []
    notes = ["the file ends within a frame; this frame is left out"] if size % frame else []
    present, times = np.unique(numbers, return_counts=True)
    twice, gaps = present[times > 1], np.flatnonzero(np.diff(present) > 1)[: _NAMED + 1]
    missing = int(present[-1] - present[0]) + 1 - len(present)
    absent = np.concatenate([present[:0], *(np.arange(present[gap] + 1, present[gap + 1]) for gap in gaps)])
    wrong = [f"{missing} missing ({_first(absent)})"] if missing else []
    wrong += [f"{len(twice)} more than once ({_first(twice)})"] if len(twice) else []
    wrong += ["some out of order"] if not wrong and (np.diff(numbers) < 0).any() else []
    if wrong:
        named = f"frames numbered {present[0]} to {present[-1]}: {' and '.join(wrong)}"
        notes.append(f"{named}; they are read in the order of the file: check it")
    return notes


def _first(numbers: IndexArray) -> str:
    """Format the first few numbers."""
    return ", ".join(map(str, numbers[:_NAMED].tolist())) + (", …" if len(numbers) > _NAMED else "")


@contextmanager
def open_empad(path: Path) -> Iterator[ScanFile]:
    """Open an EMPAD ``.xml``, or a ``.raw`` with its ``.xml`` next to it. Raises InputFileError."""
    header = _empad_header(path) if path.suffix.lower() == ".raw" else path
    found = _read("empad", header)
    _check_raw(header, found)
    energy = energy_eV(value_at(found, "original_metadata.root.iom_measurements.source.get_voltage"))
    notes = ("step and pixel size are not used: the header gives only the field of view of a full scan",)
    frames = LazyFrames(np.nan_to_num(frames_of(path, found).array))  # some detectors leave NaN in dead pixels
    yield ScanFile(frames, {} if energy is None else {"energy_eV": energy}, notes=notes)


@contextmanager
def open_blo(path: Path) -> Iterator[ScanFile]:
    """Open a NanoMEGAS ``.blo``. Raises InputFileError."""
    found = _read("blockfile", path)
    metadata = scan_metadata([scale_of(axis) for axis in found["axes"][:2]])
    if (energy := energy_eV(value_at(found, "original_metadata.blockfile_header.Beam_energy"))) is not None:
        metadata["energy_eV"] = energy
    yield ScanFile(frames_of(path, found), metadata)


def recognises_hspy(file: Any) -> bool:
    """Whether an open HDF5 file is HyperSpy's: until version 1.2 they were called .hdf5."""
    return attributes(file).get("file_format") == "HyperSpy"


@contextmanager
def open_hspy(path: Path) -> Iterator[ScanFile]:
    """Open a HyperSpy ``.hspy`` of any name, or a ``.zspy``. Raises InputFileError."""
    found = _read("zspy" if path.suffix.lower() == ".zspy" else "hspy", path)
    check_no_spectra(path, found)
    stored = _data_set(path, found)
    frames_of(path, found)
    with contextlib.nullcontext() if stored is None else opened(path) as file:
        frames = LazyFrames(found["data"]) if stored is None else dataset(file, stored)
        yield _of_hspy(found, frames)


def _data_set(path: Path, found: Mapping[str, Any]) -> str | None:
    """Name of the HDF5 data set that a signal's array is, whose file is closed; None for other arrays.

    Through dask, every read would decode its chunks anew. Raises InputFileError if it lies in another file.
    """
    parts = getattr(found["data"], "dask", {}).values()
    stored = next((part for part in parts if isinstance(part, h5py.Dataset)), None)
    if stored is None or stored.shape != found["data"].shape:
        return None
    name, elsewhere = str(stored.name), Path(stored.file.filename)
    stored.file.close()
    if not elsewhere.samefile(path):
        raise InputFileError(f"{path}: its patterns lie in {elsewhere}", "save it to one file: hs.load(…).save(…)")
    return name


def _of_hspy(found: Mapping[str, Any], stored: StoredFrames) -> ScanFile:
    """A signal of HyperSpy with these patterns; a transposed one may be images over the detector."""
    frames, scales, notes = in_order(stored, [scale_of(axis) for axis in found["axes"]])
    beam = "metadata.Acquisition_instrument.TEM"
    values = {
        "energy_eV": energy_eV(value_at(found, f"{beam}.beam_energy"), 1e3),  # HyperSpy has it in keV
        "convergence_semiangle_mrad": angle_mrad(value_at(found, f"{beam}.convergence_angle"), "mrad"),
    }
    metadata = axes_metadata(scales) | {name: value for name, value in values.items() if value is not None}
    return ScanFile(frames, metadata, notes=(*notes, *doubtful_axes(scales)))


def _read(plugin: str, path: Path, **options: Any) -> Mapping[str, Any]:
    """Read a file with RosettaSciIO. Raises InputFileError: missing, unreadable, more than one signal."""
    signals = read_signals(plugin, path, **options)
    if len(signals) != 1:
        raise InputFileError(f"{path} holds {len(signals)} signals", "save the scan to a separate file")
    return signals[0]


def only_scan(path: Path, signals: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the only signal of four axes, or else of three: images may lie next to it. Raises InputFileError."""
    for axes in (4, 3):
        found = [signal for signal in signals if len(signal["data"].shape) == axes]
        if len(found) == 1:
            return found[0]
        if found:
            problem = f"{path} holds {len(found)} data sets of {axes} axes"
            raise InputFileError(problem, "save the scan to a separate file")
    raise InputFileError(f"{path} holds no data set of three or four axes", "name the file that holds the scan")


def check_no_spectra(path: Path, found: Mapping[str, Any]) -> None:
    """Raise InputFileError for a signal of spectra, which may have as many axes as a scan of patterns."""
    axes = found["axes"]
    spectra = any(is_energy(axis.get("units")) for axis in axes)
    if spectra or [axis.get("navigate") for axis in axes].count(False) == 1:
        raise InputFileError(f"{path} holds spectra, not diffraction patterns", "name the file that holds the scan")


def reads_without_pickle(path: Path, plugin: str) -> bool:
    """Whether the reader has an option not to unpickle: older ones do not, and unpickle. Raises InputFileError."""
    return "allow_restricted_pickle" in signature(_reader(plugin, path)).parameters


def _reader(plugin: str, path: Path) -> Callable[..., list[Mapping[str, Any]]]:
    try:
        reader: Callable[..., list[Mapping[str, Any]]] = import_module(f"rsciio.{plugin}").file_reader
    except ImportError as error:
        raise _not_installed(path, plugin, error) from None
    return reader


def read_signals(plugin: str, path: Path, **options: Any) -> list[Mapping[str, Any]]:
    """Return all signals that RosettaSciIO finds in a file, lazily unless ``options`` say otherwise; options that its
    reader does not support are left out. Raises InputFileError: missing, unreadable.
    """
    if not (plugin == "zspy" and path.is_dir()):
        check_is_file(path)  # a reader would wait for ever for somebody to write into a pipe
    reader = _reader(plugin, path)
    known = signature(reader).parameters
    options = {"lazy": True} | {name: value for name, value in options.items() if name in known}
    try:
        import dask
    except ImportError as error:
        raise _not_installed(path, plugin, error) from None
    try:
        with warnings.catch_warnings(), dask.config.set({"array.chunk-size": _PIECE}):
            warnings.simplefilter("ignore")
            logging.getLogger("rsciio").setLevel(logging.CRITICAL + 1)  # we report problems once ourselves
            return list(reader(str(path), **options))
    except ImportError as error:  # readers import what only they need when they are called
        raise _not_installed(path, plugin, error) from None
    except Exception as error:  # a third-party parser on a third-party file: any exception becomes one line here
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if isinstance(error, TypeError | AttributeError):
            text = "its content is not what its reader expects"  # the error names the reader's variables
        if "chunks= keyword" in text:  # dask's words for a data set without chunks, which HyperSpy never writes
            raise InputFileError(
                f"{path}: its patterns are stored in one piece, not in chunks, as HyperSpy stores them",
                "store it again: with HyperSpy, hs.load(…).save(…)",
            ) from error
        problem = f"{path}: RosettaSciIO cannot read it ({text})"
        raise InputFileError(problem, "is it complete? a program that can read it can also convert it") from error


def _not_installed(path: Path, plugin: str, error: ImportError) -> InputFileError:
    """Return the error that names what a format needs, and how to get it on this Python."""
    if plugin == "zspy" and sys.version_info >= NO_ZARR:
        python = ".".join(str(part) for part in sys.version_info[:2])
        copy = path.with_suffix(".hspy").name
        return InputFileError(
            f"{path}: the reader of .zspy files ({error.name or error}) cannot be installed on Python {python}",
            f"save it as .hspy with HyperSpy: hs.load({path.name!r}).save({copy!r}), or run ptylive on Python 3.13",
        )
    return InputFileError(f"{path}: reading this format needs RosettaSciIO ({error})", "pip install 'ptylive[import]'")


def frames_of(path: Path, found: Mapping[str, Any]) -> LazyFrames:
    """Return the frames of a signal. Raises InputFileError if it is not a scan of patterns."""
    frames = LazyFrames(found["data"])
    check_frames(path, frames.shape)
    return frames


def _check_raw(header: Path, found: Mapping[str, Any]) -> None:
    """Raise InputFileError unless the ``.raw`` that an EMPAD's header names holds all patterns."""
    name = value_at(found, "original_metadata.root.raw_file.filename")
    if not isinstance(name, str):
        return
    raw, patterns = header.parent / name, math.prod(found["data"].shape[:-2])
    if not raw.is_file():
        raise InputFileError(f"{raw}, which {header.name} names, is missing", "put it into the folder of its header")
    size, needed = raw.stat().st_size, patterns * _EMPAD_PATTERN_BYTES
    if size < needed:
        raise InputFileError(
            f"{raw} is cut short: it has {size} bytes, the {patterns} patterns of {header.name} need {needed}",
            "copy it again; if the scan was stopped early, correct the scan size in the header",
        )


def _empad_header(path: Path) -> Path:
    """Find the ``.xml`` in the folder of a ``.raw`` that names it. Raises InputFileError."""
    check_is_file(path)
    for header in sorted(path.parent.glob("*.xml")):
        with contextlib.suppress(InputFileError):  # a folder of that name, a pipe, an unreadable file
            if f'filename="{path.name}"'.encode() in read_bytes(header, _MOST_HEADER_BYTES):
                return header
    raise InputFileError(
        f"{path}: no .xml file next to it names it",
        "put the header of the acquisition into the same folder; for a file that is not from an EMPAD, save the array "
        "(Ry, Rx, Qy, Qx) with numpy.save",
    )


def scale_of(axis: Mapping[str, Any]) -> tuple[Any, Any]:
    """(scale, unit) of an axis."""
    return axis.get("scale"), axis.get("units")


def value_at(found: Mapping[str, Any], path: str) -> Any:
    """Return a value in nested mappings by its dotted path, where names may contain dots; None if absent."""
    return _descend(found, path.split("."))


def _descend(value: Any, keys: list[str]) -> Any:
    if not keys:
        return value
    if not isinstance(value, Mapping):
        return None
    for n in range(1, len(keys) + 1):
        name = ".".join(keys[:n])
        if name in value and (deeper := _descend(value[name], keys[n:])) is not None:
            return deeper
    return None
