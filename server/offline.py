"""From a recording to maps or to a data set for the refinement: the offline twins of what a live session does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.engine.bases.choice import PIXELS, BasisChoice
from ptylive.engine.dataset import Dataset
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.engine.live.render import METHODS, Rendering
from ptylive.schema import Calibration, FrameBatch, InputFileError, LiveMap

if TYPE_CHECKING:
    from ptylive.engine.refine.results import StartGuess
    from ptylive.streamer.storage.source import FileSource

BATCH_FRAMES = 256
AS_STORED = BasisChoice(PIXELS)
START_MAP = "obf"
"""The map a refinement may start from."""


@dataclass(frozen=True)
class Reconstruction:
    """Maps of a recording, with the engine that made them."""

    engine: LiveEngine
    rendering: Rendering
    frames: int

    @property
    def calibration(self) -> Calibration:
        """The calibration the maps were made with."""
        return self.engine.calibration or Calibration()


def reconstruct_file(
    path: Path, values: Mapping[str, Any], methods: Iterable[str] = METHODS, basis: BasisChoice = AS_STORED
) -> Reconstruction:
    """Maps of a native file; ``values`` are metadata that win over the file's. Raises InputFileError, MetadataError.

    ``basis``: make them from coefficients in this basis, as a compressed stream of the scan would.
    """
    from ptylive.server.conversion import compressed
    from ptylive.streamer.storage.source import open_source

    with open_source(path, values) as source:
        if not source.received.any():
            raise InputFileError(f"{path}: no frame of this scan arrived")
        seen = source if basis.is_raw else compressed(source, basis)[0]

        def frames() -> Iterator[FrameBatch]:
            return seen.batches(BATCH_FRAMES)

        engine, rendering = reconstruct(seen.arm, frames, methods)
        return Reconstruction(engine, rendering, int(source.received.sum()))


def read_dataset(source: FileSource, calibration: Calibration) -> Dataset:
    """All patterns of an open file that arrived, arranged for the refinement.

    Raises InputFileError where the file holds coefficients.
    """
    if not source.arm.basis.is_raw:
        kind = source.arm.basis.kind
        raise InputFileError(f"{source.path} holds {kind} coefficients", "refine from the frames they were made from")
    index = np.flatnonzero(source.received)
    return Dataset.of(source.arm, calibration, index, source.frames(index))


def start_guess(start_map: LiveMap | None, calibration: Calibration) -> StartGuess | None:
    """A live phase map as the start of a refinement."""
    from ptylive.engine.refine.results import StartGuess

    if start_map is None or start_map.sampling_A is None:
        return None
    return StartGuess(start_map.data, start_map.sampling_A, calibration.rotation_deg)
