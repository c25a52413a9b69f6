"""Reading arrays of other programs' HDF5 files: nothing from other files, nothing larger than fits into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.damaged_files import FAULTS
from ptylive.engine.memory import check_fits
from ptylive.schema import InputFileError, PtyliveError
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import Array, ComplexArray

MOST_NUMBERS = 2**31
"""Largest number of values in an array: 16 GiB of complex numbers in single precision."""
COPIES = 3
"""Copies of an array in memory while it is converted."""
_COMPLEX_NAMES = ({"real", "imag"}, {"r", "i"})
_HINT = "is it complete, and written by the program it appears to come from?"


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file read-only; any fault within the block becomes one line that names it (InputFileError)."""
    import h5py
    import hdf5plugin  # noqa: F401  (registers the compression filters)

    check_is_file(path)
    if not h5py.is_hdf5(path):
        raise InputFileError(f"{path} is not an HDF5 file", "in MATLAB, use save(…, '-v7.3')")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PtyliveError:
        raise
    except FAULTS as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(f"{path}: {text}", _HINT) from None


def array(file: Any, name: str) -> Array:
    """A numeric data set, complex numbers also as pairs. Raises InputFileError: missing, in another file, too large."""
    found = array_or_none(file, name)
    if found is None:
        raise InputFileError(f"{file.file.filename} has no {name}", _HINT)
    return found


def array_or_none(file: Any, name: str) -> Array | None:
    """Like :func:`array`, but None if there is no such data set."""
    import h5py

    path = file.file.filename
    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        raise InputFileError(
            f"{path}: {name} is stored in another file",
            f'copy the data into one file: with h5py, new["{name}"] = old["{name}"][()]',
        )
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        return None
    if found.file.filename != path or found.is_virtual or found.external:
        raise InputFileError(
            f"{path}: {name} is stored in another file",
            f'copy the data into one file: with h5py, new["{name}"] = old["{name}"][()]',
        )
    pairs = found.dtype.names is not None and {word.lower() for word in found.dtype.names} in _COMPLEX_NAMES
    if found.dtype.kind not in "biufc" and not pairs:
        raise InputFileError(f"{path}: {name} holds no numbers", _HINT)
    size = math.prod(found.shape)
    if size > MOST_NUMBERS:
        raise InputFileError(f"{path}: {name} has the shape {found.shape}", "a reconstruction has fewer values")
    check_fits(COPIES * size * found.dtype.itemsize, f"{name} of {path}", "use a machine with more memory")
    values = np.asarray(found[()])
    return _complex_array(values) if pairs else values


def _complex_array(pairs: Array) -> ComplexArray:
    """MATLAB's complex numbers, stored as pairs."""
    first, second = sorted(pairs.dtype.names or (), key=lambda word: word.lower().startswith("i"))
    values = np.empty(pairs.shape, np.complex64 if pairs.dtype[0].itemsize <= 4 else np.complex128)
    values.real, values.imag = pairs[first], pairs[second]
    return values


def number_or_none(file: Any, name: str) -> float | None:
    """A data set of one number; None if there is none."""
    found = array_or_none(file, name)
    return float(found.ravel()[0]) if found is not None and found.size == 1 and found.dtype.kind in "biuf" else None


def text_or_none(file: Any, name: str) -> str | None:
    """A data set of one text; None if there is none."""
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.shape != () or h5py.check_string_dtype(found.dtype) is None:
        return None
    value = found[()]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def waves(values: Array) -> ComplexArray:
    """Values as complex numbers in single precision, in C order."""
    return np.ascontiguousarray(values, dtype=np.complex64)
