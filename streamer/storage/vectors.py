"""``/coefficients`` and ``/extra`` of a compressed scan, read and written as one set of vectors (docs/compression.md).

Stored uncompressed: four-byte numbers hardly compress, and half their purpose is speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hdf5plugin
import numpy as np

from ptylive.schema import Basis, InputFileError
from ptylive.schema.model import Array, FloatArray
from ptylive.streamer.storage.events import GROUP, NAMES
from ptylive.streamer.storage.hdf5 import attributes, dataset, opened

_HINT = "give a file written by ptylive convert --basis (docs/compression.md)"
_CHUNK_BYTES = 2**18


@dataclass(frozen=True)
class VectorSets:
    """Two data sets (…, N) and (…, M), the second absent where there are no extras, presented as one (…, N + M)."""

    coefficients: Any
    extra: Any | None

    @classmethod
    def create(cls, file: Any, leading: tuple[int, ...], basis: Basis) -> VectorSets:
        """Create data sets for a scan stored under ``leading`` axes, filled with zeros."""
        size = basis.n_bright + basis.n_dark
        coefficients = _created(file, "coefficients", leading, size)
        extra = None
        if basis.extra:
            extra = _created(file, "extra", leading, len(basis.extra))
            extra.attrs["names"] = list(basis.extra)
        return cls(coefficients, extra)

    @classmethod
    def find(cls, path: Path, file: Any) -> VectorSets | None:
        """Find the data sets of an open file, or None. Raises InputFileError when they contradict each other."""
        coefficients, extra = dataset(file, "coefficients"), dataset(file, "extra")
        if coefficients is None:
            return None
        if coefficients.ndim not in (2, 3) or 0 in coefficients.shape or coefficients.dtype.kind != "f":
            raise InputFileError(
                f"{path}: /coefficients must be floating-point numbers (Ry, Rx, N) or (frames, N)", _HINT
            )
        if extra is not None and (extra.ndim < 2 or extra.shape[:-1] != coefficients.shape[:-1]):
            raise InputFileError(f"{path}: /extra is {extra.shape}, /coefficients {coefficients.shape}", _HINT)
        return cls(coefficients, extra)

    @property
    def shape(self) -> tuple[int, ...]:
        """(…, N + M)."""
        more = 0 if self.extra is None else self.extra.shape[-1]
        return (*self.coefficients.shape[:-1], self.coefficients.shape[-1] + more)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Single precision."""
        return np.dtype(np.float32)

    def __getitem__(self, selection: Any) -> FloatArray:
        parts = [self.coefficients[selection]]
        if self.extra is not None:
            parts.append(self.extra[selection])
        return np.concatenate(parts, axis=-1).astype(np.float32, copy=False)

    def __setitem__(self, selection: Any, vectors: Array) -> None:
        size = self.coefficients.shape[-1]
        self.coefficients[selection] = vectors[..., :size]
        if self.extra is not None:
            self.extra[selection] = vectors[..., size:]


def _created(file: Any, name: str, leading: tuple[int, ...], size: int) -> Any:
    """Create a data set of vectors in chunks of whole rows, or of parts of a row, each with a checksum."""
    room, chunks = max(1, _CHUNK_BYTES // (4 * size)), [size]
    for length in leading[::-1]:
        chunks.insert(0, min(length, room))
        room = max(1, room // length)
    return file.create_dataset(name, (*leading, size), "<f4", chunks=tuple(chunks), fletcher32=True)


def write_basis(file: Any, basis: Basis, masks: Array) -> None:
    """Write ``/basis``: the masks (N, Qy, Qx), and their kind."""
    group = file.create_group("basis")
    group.create_dataset(
        "masks", data=np.asarray(masks, dtype="<f4"), chunks=(1, *masks.shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
    )
    for name, value in basis.model_dump(exclude={"extra"}, exclude_none=True).items():
        group.attrs[name] = value


def load_basis(path: Path) -> tuple[Basis, FloatArray]:
    """Load the basis of any file with ``/basis``, whether a compressed scan or not. Raises InputFileError."""
    with opened(path) as file:
        return read_basis(path, file)


def read_basis(path: Path, file: Any) -> tuple[Basis, FloatArray]:
    """Read ``/basis``, without the extras, and its masks. Raises InputFileError where it is impossible."""
    masks = dataset(file, "basis/masks")
    if masks is None or masks.ndim != 3 or masks.dtype.kind not in "fiu":
        raise InputFileError(f"{path} has no masks (N, Qy, Qx) in /basis", _HINT)
    given = {"kind": "custom", "n_bright": len(masks), "n_dark": 0, **attributes(file["basis"])}
    try:
        basis = Basis.model_validate({**given, "extra": ()})
    except ValueError:
        raise InputFileError(f"{path}: the attributes of /basis are impossible", _HINT) from None
    if basis.is_raw or basis.n_bright + basis.n_dark != len(masks):
        raise InputFileError(f"{path}: /basis has {len(masks)} masks, not n_bright + n_dark", _HINT)
    return basis, np.asarray(masks[()], dtype=np.float32)


def extra_names(path: Path, vectors: VectorSets) -> tuple[str, ...]:
    """Names of the extras. Raises InputFileError when their number is wrong."""
    if vectors.extra is None:
        return ()
    given = vectors.extra.attrs.get("names", [])
    names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in np.atleast_1d(given))
    if len(names) != vectors.extra.shape[-1]:
        raise InputFileError(f"{path}: /extra has {vectors.extra.shape[-1]} numbers, but {len(names)} names", _HINT)
    return names


def stored_bytes(path: Path) -> int:
    """Bytes that the frames of a native file occupy on the disk; for a compressed file including its masks."""
    with opened(path) as file:
        names = ("data", "coefficients", "extra", "basis/masks", *(f"{GROUP}/{name}" for name in NAMES))
        return sum(int(found.id.get_storage_size()) for name in names if (found := dataset(file, name)) is not None)
