"""Marks of the frames of a recording: read from the file where present, computed for coefficients."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptylive.schema.model import Array
from ptylive.streamer.marks import marks_of_frames
from ptylive.streamer.source import open_recording
from ptylive.streamer.storage.hdf5 import dataset, opened
from ptylive.streamer.wire import FrameLayout

_BATCH_VECTORS = 1024
MARKS = "frame_marks"
"""``/metadata/frame_marks`` uint32 (frames,): they distinguish a resend from another scan of the same uid."""


def read_marks(path: Path) -> Array:
    """Read the marks of a recording, uint32 (frames,); empty (0,) where it has none. Raises InputFileError."""
    with opened(path) as file:
        found = dataset(file, f"metadata/{MARKS}")
        return np.zeros(0, np.uint32) if found is None else np.asarray(found[()], dtype=np.uint32).ravel()


def read_sums(path: Path) -> Array:
    """Marks of a recording of coefficients, uint32 (frames,), to be compared with a tolerance: InputFileError."""
    with open_recording(path) as source:
        marks = np.zeros(source.frame_count, dtype=np.uint32)
        layout = FrameLayout.of(source.header)
        for batch in source.batches(_BATCH_VECTORS):
            marks[batch.index] = marks_of_frames(batch.frames, layout, exact=False)
        return marks
