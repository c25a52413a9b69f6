"""Tasks of a file worker for journals that an earlier run left: read one through, return its frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import WireError

PIECE_FRAMES = 64
"""Number of frames decoded at a time."""


def read_journal(path: Path) -> dict[str, Any]:
    """Return a journal as {busy, arm, parts, received, keep_bytes, end, damaged, torn}.

    busy: another process writes or converts it; arm, parts: map and arrays of its arm message; received: packed bits;
    keep_bytes: where writing may continue; end: (frames, reason), None: cut off; damaged, torn: bytes outside whole
    records, and of a last record that was cut short.
    """
    from ptylive.streamer.storage.journal_reader import JournalReader
    from ptylive.streamer.wire.armmap import arm_parts, arm_to_map

    with JournalReader(path) as reader:
        busy = reader.is_busy()  # not claimed while it is read, which may take minutes: its scan may go on meanwhile
        header = reader.header
        received = np.zeros(header.frames, dtype=bool)
        for message in reader.messages():
            received[message.first : message.first + message.count] = True  # beyond the last frame: nothing
        end = reader.end
        return {
            "busy": busy or reader.is_busy(),
            "arm": arm_to_map(header),
            "parts": arm_parts(header),
            "received": np.packbits(received),
            "keep_bytes": reader.keep_bytes,
            "end": None if end is None else [end.frames, end.reason],
            "torn": reader.torn_bytes,
            "damaged": sum(stop - start for start, stop in reader.damage),
        }


def journal_frames(path: Path, at: int, skip: int, most_bytes: int) -> dict[str, Any]:
    """Decode frames of a journal, from the record at byte ``at`` (0: the first) on, without its first ``skip`` frames.

    {batches, next}: [numbers, frames] each, a frame maybe more than once; next: (at, skip) to continue with, None at
    the end.
    """
    from ptylive.streamer.storage.journal_reader import JournalReader
    from ptylive.streamer.wire import FrameLayout, check_size, decode_frames

    batches: list[list[Any]] = []
    bytes_left = most_bytes
    with JournalReader(path) as reader:
        layout = FrameLayout.of(reader.header)
        step = max(1, min(PIECE_FRAMES, most_bytes // layout.nbytes))
        if at:
            reader.go_to(at)
        start = reader.position
        for message in reader.messages():
            try:
                check_size(message, layout)
            except WireError:
                start, skip = reader.position, 0
                continue
            count = message.count if message.first + message.count <= reader.header.frames else 0
            for first in range(skip, count, step):
                if bytes_left <= 0:
                    return {"batches": batches, "next": [start, first]}
                frames, good, _ = decode_frames(message.run(first, min(count, first + step)), layout)
                batches.append([message.first + first + np.flatnonzero(good), frames[good]])
                bytes_left -= frames.nbytes
            start, skip = reader.position, 0
    return {"batches": batches, "next": None}
