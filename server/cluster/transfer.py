"""Files between machines: whether both see the same one, and pieces of it where they do not."""

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
"""Of a file, in one message."""
SAMPLES, SAMPLE_BYTES = 16, 2**16
"""Of a file's content that tell it from another of its size and time."""
MAPS = ("maps", "coverage", "calibration", "snr")
"""Members of a results file that come from its maps."""


@dataclass(frozen=True)
class FileIdentity:
    """Which file it is, wherever it is seen from: size, time of its last change, and a hash of parts of it."""

    file_bytes: int
    modified_ns: int
    sampled: str

    @classmethod
    def of(cls, path: Path) -> FileIdentity:
        """Raises OSError."""
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            digest = hashlib.sha256()
            for start in np.linspace(0, max(0, found.st_size - SAMPLE_BYTES), SAMPLES).astype(int).tolist():
                file.seek(start)
                digest.update(file.read(SAMPLE_BYTES))
        return cls(found.st_size, found.st_mtime_ns, digest.hexdigest())

    def is_of(self, path: Path) -> bool:
        """Whether a path leads to it."""
        try:
            return FileIdentity.of(path) == self
        except OSError:
            return False

    @property
    def name(self) -> str:
        """A folder's name for it."""
        return hashlib.sha256(repr((self.file_bytes, self.modified_ns, self.sampled)).encode()).hexdigest()[:32]

    def to_plain(self) -> list[Any]:
        """For a message."""
        return [self.file_bytes, self.modified_ns, self.sampled]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> FileIdentity:
        """Inverse of :meth:`to_plain`."""
        return cls(int(plain[0]), int(plain[1]), str(plain[2]))


def pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    """A file from its start to its end: where each piece begins, and what it holds. Raises OSError."""
    with path.open("rb") as file:
        start = 0
        while piece := file.read(PIECE_BYTES):
            yield start, piece
            start += len(piece)


def copy_maps(source: Path, target: Path) -> None:
    """Put maps, coverage and calibration of one results file into another, which keeps everything else.

    Raises as :func:`ptylive.engine.results_file.apply`.
    """
    import h5py

    from ptylive.engine.results_file import SETTINGS, Change, apply, look

    look(source)  # looked through where that is asked for
    with h5py.File(source, "r") as file:
        settings = dict(file[SETTINGS].attrs) if SETTINGS in file else {}

        def write(root: h5py.Group) -> None:
            for name in MAPS:
                if name in file:
                    file.copy(name, root, name)

        apply(target, Change(frozenset(MAPS), write, settings))
