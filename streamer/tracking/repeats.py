"""A frames message on arrival: which of its frames are already present, and whether they are the same."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ptylive.schema import EventBatch, EventFrames, FrameBatch, WireError
from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.marks import KIND, agree, marks_of, marks_of_events, marks_of_frames
from ptylive.streamer.recording.scan_record import ScanRecord
from ptylive.streamer.wire import FramesMessage, check_size, decode_frames, events_of

_KIND_BITS, _UNKNOWN = 3, 0


class OtherDataError(WireError):
    """Frames arrived whose numbers are taken by frames with other data."""


class Arrival:
    """A message for a scan, decoded and marked on first use."""

    def __init__(self, message: FramesMessage, scan: ScanRecord, *, exact: bool) -> None:
        self.message = message
        self._scan = scan
        self._exact = exact
        self.unchecked = 0
        """Number of repeated frames in another coding, which may or may not be the same."""

    def check(self) -> None:
        """Refuse frames beyond the scan's last one, and parts of the wrong size. Raises WireError."""
        message, progress = self.message, self._scan.progress
        last = message.first + message.count
        try:
            if last > progress.header.frames:
                text = f"frames {message.first} to {last - 1} of a scan of {progress.header.frames}"
                raise WireError(text, "beyond_scan")
            check_size(message, progress.layout)
        except WireError:
            progress.refused += 1
            raise

    @cached_property
    def marks(self) -> Array:
        """The frames' marks, uint32 (count,)."""
        if self.message.codec == "events" and isinstance(found := self._decoded[0], EventFrames):
            return marks_of_events(found)
        return marks_of(self.message, self._scan.progress.layout, exact=self._exact)

    @property
    def frames(self) -> Array:
        """The frames (count, ...); those that are not good hold zeros."""
        found = self._decoded[0]
        return found.dense() if isinstance(found, EventFrames) else found

    @property
    def good(self) -> BoolArray:
        """Which of the frames decode, (count,)."""
        return self._decoded[1]

    @property
    def problems(self) -> list[WireError]:
        """Problems of the other frames, as far as they were examined."""
        return self._decoded[2] if "_decoded" in self.__dict__ else []

    def batch(self, fresh: BoolArray) -> FrameBatch:
        """Return the batch of the frames that are new: ``fresh`` (count,)."""
        uid, index = self._scan.uid, np.arange(self.message.first, self.message.first + self.message.count)
        found = self._decoded[0]
        if isinstance(found, EventFrames):
            return EventBatch(uid, index[fresh], found if fresh.all() else found.kept(fresh))
        return FrameBatch(uid, index, found) if fresh.all() else FrameBatch(uid, index[fresh], found[fresh])

    def repeated(self, present: BoolArray) -> BoolArray:
        """Return which of the frames ``present`` (count,) have arrived again unchanged. Raises OtherDataError."""
        if not present.any():
            return present
        stored = self._scan.progress.marks[self.message.first : self.message.first + self.message.count]
        differ = present & ~agree(stored, self.marks, exact=self._exact)
        if not differ.any():
            return present
        if self._exact:
            differ &= self.good & self._differs_decoded(stored)
        if differ.any():
            number = self.message.first + int(np.flatnonzero(differ)[0])
            text = f"frame {number} of scan {self._scan.uid} arrived again with different data"
            raise OtherDataError(text, "other_data")
        if not self._exact:
            return present
        repeated = present & self.good
        known, arrived = stored & _KIND_BITS, self.marks & _KIND_BITS
        self.unchecked = int(np.count_nonzero(repeated & (known != arrived) & (known != KIND["none"])))
        return repeated

    def _differs_decoded(self, stored: Array) -> BoolArray:
        """Return frames that differ even when their coding is taken into account.

        Frames that were sent coded and arrive again uncompressed, or in another coding, cannot be compared: they count
        as the same, and as ``unchecked``. Where nothing is known of the present ones, an arm message decides.
        """
        known, arrived = stored & _KIND_BITS, self.marks & _KIND_BITS
        differ = known == arrived
        if (plain := (known == KIND["none"]) & (arrived != known)).any():
            decoded = marks_of_frames(self.frames, self._scan.progress.layout)
            differ |= plain & ~agree(stored, decoded)
        return np.asarray(differ | ((known == _UNKNOWN) & self._scan.armed_again))

    @cached_property
    def _decoded(self) -> tuple[Array | EventFrames, BoolArray, list[WireError]]:
        if self.message.codec == "events":
            return events_of(self.message, self._scan.progress.layout)
        return decode_frames(self.message, self._scan.progress.layout)
