"""The frames of a running scan, read from its journal while it is being written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ptylive.engine.dataset import Dataset, dataset_of
from ptylive.schema import Calibration, InputFileError, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.wire import FrameLayout, decode_frames


class ArrivingFrames:
    """All patterns that have reached the journal so far, in memory. A context manager.

    The open file stays readable when the journal is removed after the scan. Raises InputFileError if the file is not a
    journal of frames, FileNotFoundError if it is gone.
    """

    def __init__(self, journal: Path) -> None:
        self._reader = JournalReader(journal)
        self.header: ScanHeader = self._reader.header
        if not self.header.basis.is_raw:
            self._reader.close()
            raise InputFileError(f"{journal} holds coefficients", "refine when the scan has ended")
        self.received: BoolArray = np.zeros(self.header.frames, dtype=bool)
        # zeros are mapped to memory when first written, so memory grows with the scan
        self._frames: Array = np.zeros((self.header.frames, *self.header.detector_shape), self.header.frame_dtype)

    @property
    def share(self) -> float:
        """Share of the scan's frames that have arrived."""
        return float(self.received.mean())

    def read(self) -> None:
        """Read what has been written since the last call."""
        layout = FrameLayout.of(self.header)
        self._reader.look_again()
        for message in self._reader.messages():
            frames, good, _ = decode_frames(message, layout)
            index = np.arange(message.first, message.first + message.count)[good]
            self._frames[index] = frames[good]
            self.received[index] = True

    def dataset(self, calibration: Calibration, values: Mapping[str, Any]) -> Dataset:
        """Return what has arrived, for the refinement; ``values`` are metadata that override the sender's."""
        header = overlay(self.header, values) if values else self.header
        index = np.flatnonzero(self.received)
        whole = len(index) == index[-1] + 1  # no copy if nothing is missing
        return dataset_of(header, calibration, index, self._frames[: len(index)] if whole else self._frames[index])

    def close(self) -> None:
        """Close the journal."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
