"""Files between machines: whether both see the same file, and transfer in pieces if they do not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

PIECE_BYTES = 8 * 2**20
"""Size of the piece of a file in one message."""
SAMPLES, SAMPLE_BYTES = 16, 2**16
"""Samples of a file's content that distinguish it from another file of the same size and time."""
MAPS = ("maps", "coverage", "calibration", "snr")
"""Members of a results file that come from its maps."""


@dataclass(frozen=True)
class FileIdentity:
    """Identity of a file, seen from any machine: size, time of its last change, and a hash of parts of its content."""

    file_bytes: int
    modified_ns: int
    sampled: str

    @classmethod
    def of(cls, path: Path) -> FileIdentity:
        """Return the identity of a file. Raises OSError."""
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            digest = hashlib.sha256()
            for start in np.linspace(0, max(0, found.st_size - SAMPLE_BYTES), SAMPLES).astype(int).tolist():
                file.seek(start)
                digest.update(file.read(SAMPLE_BYTES))
        return cls(found.st_size, found.st_mtime_ns, digest.hexdigest())

    def is_of(self, path: Path) -> bool:
        """Return whether a path leads to this file."""
        try:
            return FileIdentity.of(path) == self
        except OSError:
            return False

    @property
    def name(self) -> str:
        """Name for a folder of this file."""
        return hashlib.sha256(repr((self.file_bytes, self.modified_ns, self.sampled)).encode()).hexdigest()[:32]

    def to_plain(self) -> list[Any]:
        """Return plain values for a message."""
        return [self.file_bytes, self.modified_ns, self.sampled]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> FileIdentity:
        """Make an identity from plain values; inverse of :meth:`to_plain`."""
        return cls(int(plain[0]), int(plain[1]), str(plain[2]))


def pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    """Iterate over a file from start to end: start and content of each piece. Raises OSError."""
    with path.open("rb") as file:
        start = 0
        while piece := file.read(PIECE_BYTES):
            yield start, piece
            start += len(piece)


def copy_maps(source: Path, target: Path) -> None:
    """Copy maps, coverage and calibration of one results file into another, which keeps everything else.

    Raises the same errors as :func:`ptylive.engine.results_file.apply`.
    """
    import h5py

    from ptylive.engine.results_file import SETTINGS, Change, apply, look

    look(source)  # vet the file if required
    with h5py.File(source, "r") as file:
        settings = dict(file[SETTINGS].attrs) if SETTINGS in file else {}

        def write(root: h5py.Group) -> None:
            for name in MAPS:
                if name in file:
                    file.copy(name, root, name)

        apply(target, Change(frozenset(MAPS), write, settings))
