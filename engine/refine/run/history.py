"""Snapshots of a refinement: object, probe, loss and positions of every n-th epoch, each in a file.

A folder holds ``epoch_00010.npz`` and so on. Each file is complete or absent, so a killed run leaves the snapshots it
had written. Their arrays are as in results (:class:`ptylive.engine.refine.results.refinement_result.RefineResult`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.engine.memory import check_fits
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.schema.errors import InputFileError, MetadataError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import ComplexArray, DoubleArray

FORMAT = 1
PATTERN = "epoch_*.npz"


@dataclass(frozen=True)
class History:
    """Folder for snapshots, and how often one is kept."""

    folder: Path
    every: int = 1

    def __post_init__(self) -> None:
        """Raise MetadataError for an impossible number of epochs."""
        if self.every < 1:
            raise MetadataError(
                f"a history of every {self.every} epochs is impossible", "give a whole number from 1 on"
            )

    def due(self, epoch: int) -> bool:
        """Whether a snapshot is kept after that many epochs; the start, 0, always is."""
        return epoch % self.every == 0

    def keep(self, epoch: int, make: Callable[[], RefineResult]) -> None:
        """Write a snapshot. Raises OSError."""
        result = make()
        path = self.folder / f"epoch_{epoch:05d}.npz"
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                format=FORMAT,
                epoch=epoch,
                loss=result.loss,
                object=result.object,
                probe=result.probe,
                positions_A=result.positions_A,
                object_sampling_A=result.object_sampling_A,
                slice_thickness_A=result.slice_thickness_A,
                origin_A=result.origin_A,
            )

    def drop_after(self, epoch: int) -> None:
        """Remove the snapshots of later epochs, which the run has discarded. Raises OSError."""
        for path in self.folder.glob(PATTERN):
            if path.stem[len("epoch_") :].isdigit() and int(path.stem[len("epoch_") :]) > epoch:
                path.unlink()


@dataclass(frozen=True)
class Snapshot:
    """One snapshot."""

    epoch: int
    """Number of finished epochs."""
    loss: DoubleArray
    """(epochs,) loss per pattern up to this epoch."""
    object: ComplexArray
    """(object modes, slices, Y, X) transmission."""
    probe: ComplexArray
    """(probes, modes, P, P) in real space."""
    positions_A: DoubleArray
    """(N, 2)."""
    object_sampling_A: tuple[float, float]
    origin_A: tuple[float, float]


def snapshots(folder: Path) -> list[Path]:
    """Snapshot files of a folder, in order of epoch. Raises InputFileError if there are none."""
    paths = sorted(folder.glob(PATTERN)) if folder.is_dir() else []
    if not paths:
        problem = "holds no history" if folder.exists() else "is not there"
        raise InputFileError(f"{folder} {problem}", "give the folder that refine --history wrote")
    return paths


def read_snapshot(path: Path) -> Snapshot:
    """Read one snapshot. Raises InputFileError for a damaged file or one with other content."""
    check_fits(float(path.stat().st_size), f"the snapshot {path}", "free some memory")
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT:
                raise InputFileError(f"{path} is of another version", "read it with the version that wrote it")
            sampling, origin = (tuple(float(each) for each in file[name]) for name in ("object_sampling_A", "origin_A"))
            snapshot = Snapshot(
                int(file["epoch"]),
                np.asarray(file["loss"], dtype=np.float64),
                np.asarray(file["object"], dtype=np.complex64),
                np.asarray(file["probe"], dtype=np.complex64),
                np.asarray(file["positions_A"], dtype=np.float64),
                (sampling[0], sampling[1]),
                (origin[0], origin[1]),
            )
    except (OSError, ValueError, LookupError, EOFError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(f"{path} cannot be read: {type(error).__name__}", "remove it") from None
    shapes = (snapshot.object.ndim, snapshot.probe.ndim, snapshot.positions_A.ndim, snapshot.loss.ndim)
    if shapes != (4, 4, 2, 1) or not snapshot.object.size or not snapshot.probe.size:
        raise InputFileError(f"{path} is not a snapshot", "remove it")
    return snapshot
