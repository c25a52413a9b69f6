"""The common path of both DECTRIS protocols: a header, images and an end become arm, frames and end messages.

Every arm event is a new scan, whatever the series number. Values that the header lacks are taken from the first image.
Images of a series whose header was missed are accepted if the configuration gives the scan shape, since then everything
needed is known. A series several times as long as the configured scan holds that many scans in a row.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ptylive.schema import ScanHeader, WireError
from ptylive.schema.model import BoolArray
from ptylive.streamer.protocols.batch import Batch
from ptylive.streamer.protocols.dead_pixels import dead_pixels, is_swapped
from ptylive.streamer.protocols.header import Header, arm_message
from ptylive.streamer.protocols.image import Image, check_image, layout_text
from ptylive.streamer.protocols.inlet import Note, ProtocolSettings, Taken
from ptylive.streamer.wire import ArmMessage, EndMessage, Message, PingMessage

_REMEMBERED_SERIES = 16
_PAUSE_S = 1.0
"""After this much silence a series may be given up for another one."""
_NAMED_EVERY_S = 1.0
"""How often images are preceded by the name of their scan, so that a scan closed during a pause is opened again."""
_LOST_TAIL = 0.01
"""A series that ends with a larger fraction of its images missing has been aborted."""


class Series:
    """The series being received and the scans before it. Every method yields messages and may raise WireError."""

    def __init__(self, settings: ProtocolSettings, note: Note) -> None:
        self._prepare = settings.prepare
        self._note = note
        self._batch = Batch()
        self._key = ""
        self._announced: Header | None = None  # as received
        self._header: Header | None = None  # completed from the images
        self._scan_header: ScanHeader | None = None
        self._pass = 0
        self._highest = -1
        self._ended = False
        self._active_at = self._named_at = 0.0
        self._beyond = 0  # images after the last one of the scan
        self._contrary: Image | None = None
        self._dead: BoolArray | None = None  # found in an image; valid for the series that follow
        self._past: OrderedDict[str, str] = OrderedDict()  # series key -> uid of its last scan

    @property
    def holding(self) -> bool:
        """Whether images wait for their batch to fill."""
        return bool(self._batch)

    def flush(self) -> Iterator[Message]:
        """Hand on the images that wait."""
        return self._batch.flush()

    def header(self, key: str, header: Header, *, unique: bool = False) -> Iterator[Message]:
        """Process a header. ``unique``: the key belongs to this arm event alone, so the same header is a resend."""
        announced = replace(header, bad_pixels=None)
        if (
            unique
            and key == self._key
            and self._scan_header is not None
            and not self._ended
            and announced == self._announced
        ):
            return
        yield from self.flush()
        self._note_ignored()
        self._begin(key, header)
        self._announced = announced
        if header.shape is not None and header.dtype is not None:
            yield self._armed(self._with_mask(header))

    def image(self, image: Image) -> Iterator[Message]:
        """Process an image of any series; without a header it opens the series if the configuration allows."""
        check_image(image)
        if self._header is None or image.series != self._key:
            if image.series in self._past:
                yield from self._batch.add(self._past[image.series], image.number, image.codec, image.data)
                return
            yield from self.flush()
            yield self._adopted(image)
        if self._scan_header is None:
            header = self._with_mask(_completed(self._header, image))
            yield self._armed(header if header.bad_pixels is not None else self._with_dead_pixels(header, image))
        yield from self._fitting(image)

    def end(self, key: str) -> Iterator[Message]:
        """Process the end of a series: the detector has sent its last image."""
        yield from self.flush()
        if key != self._key:
            raise WireError(f"end of series {key}, which is not the current one", "unknown_scan")
        self._ended = True
        self._note_ignored()
        if self._scan_header is not None:
            yield self._end_of(self._scan_header)

    def place(self, key: str, shape: tuple[int, int], dtype: str) -> tuple[str, int] | None:
        """Return where images like this one go: uid of the open scan and number of the image that is its frame 0."""
        scan_header = self._scan_header
        if (
            scan_header is None
            or key != self._key
            or self._ended
            or (shape, dtype) != (scan_header.detector_shape, scan_header.detector.dtype)
        ):
            return None
        return scan_header.uid, self._pass * scan_header.frames if self._may_hold_several(scan_header) else 0

    def together(self, key: str, shape: tuple[int, int], dtype: str, first: int) -> int:
        """Number of images from ``first`` on that :meth:`images` may hand on together: all belong to the open scan."""
        place, scan_header = self.place(key, shape, dtype), self._scan_header
        if place is None or scan_header is None or self._highest < 0 or first < place[1]:
            return 0
        return max(0, scan_header.frames - (first - place[1]))

    def images(self, first: int, count: int, make: Callable[[str, int], Taken]) -> Iterator[Taken]:
        """Hand on consecutive images, as many as :meth:`together` allows; ``make`` makes them from the uid of their
        scan and the number in it of the first.
        """
        scan_header = self._scan_header
        if scan_header is None:
            return
        yield from self.flush()
        if time.monotonic() - self._named_at > _NAMED_EVERY_S:
            yield PingMessage(scan_header.uid, scan_header)
            self._named_at = time.monotonic()
        number = first - (self._pass * scan_header.frames if self._may_hold_several(scan_header) else 0)
        self.advance(number + count - 1)
        yield make(scan_header.uid, number)

    def advance(self, number: int) -> None:
        """Record that images up to frame ``number`` of the open scan have been placed."""
        self._highest = max(self._highest, number)
        self._active_at = time.monotonic()

    def _begin(self, key: str, header: Header) -> None:
        self._key, self._announced, self._header, self._scan_header = key, None, header, None
        self._past.pop(key, None)
        self._pass, self._highest, self._ended, self._beyond, self._contrary = 0, -1, False, 0, None

    def _armed(self, header: Header) -> ArmMessage:
        """Start a scan of the current series."""
        suffix = f"_{self._pass + 1}" if self._pass else ""
        message = arm_message(replace(header, series=header.series + suffix), self._prepare, self._note)
        self._open(header, message.header)
        return message

    def _open(self, header: Header, scan_header: ScanHeader) -> None:
        self._header, self._scan_header, self._highest = header, scan_header, -1
        self._active_at = self._named_at = time.monotonic()
        self._past.pop(self._key, None)
        self._past[self._key] = scan_header.uid
        while len(self._past) > _REMEMBERED_SERIES:
            self._past.popitem(last=False)

    def _adopted(self, image: Image) -> ArmMessage:
        """Start a scan whose header was missed. Raises WireError ``no_header`` when too little is known of it."""
        text = f"image {image.number} of series {image.series}, whose header did not arrive"
        if self._busy:
            raise WireError(f"{text}: series {self._key} is being received", "no_header")
        header = Header(image.name or image.series, shape=image.shape, dtype=image.dtype)
        try:
            message = arm_message(header, self._prepare, self._note)
        except WireError:
            raise WireError(
                f"{text}: it can be used if the scan shape is set with scan.shape=ROWS,COLUMNS", "no_header"
            ) from None
        self._begin(image.series, header)
        self._open(header, message.header)
        self._pass = image.number // message.header.frames
        self._note(f"series {header.series} is received from image {image.number} on: its header did not arrive")
        return message

    @property
    def _busy(self) -> bool:
        """Whether the current series still waits for images, so that no other series may replace it."""
        if self._header is None or self._ended:
            return False
        return self._highest < 0 or time.monotonic() - self._active_at < _PAUSE_S

    def _fitting(self, image: Image) -> Iterator[Message]:
        """Place an image in the current series, or settle the actual layout of its patterns."""
        scan_header = self._scan_header
        if scan_header is None or self._header is None:
            return
        if (image.shape, image.dtype) == (scan_header.detector_shape, scan_header.detector.dtype):
            if self._highest < 0 and is_swapped(image):
                self._note(
                    f"series {self._key}: all counts of image {image.number} are multiples of "
                    f"{1 << 4 * np.dtype(image.dtype).itemsize}: does the detector state the byte order it sends?"
                )
            if self._highest < 0 and (header := self._with_dead_pixels(self._header, image)) is not self._header:
                yield self._armed(header)
            yield from self._placed(self._scan_header or scan_header, image)
            return
        held, self._contrary = self._contrary, image
        text = f"image {image.number}: {layout_text(image.shape, image.dtype)}, but the series has "
        text += layout_text(scan_header.detector_shape, scan_header.detector.dtype)
        if self._highest >= 0 or held is None or (held.shape, held.dtype) != (image.shape, image.dtype):
            raise WireError(text, "wrong_shape")
        self._note(f"series {self._key}: {text}: two images agree with each other, so the header is wrong")
        self._contrary = None
        yield self._armed(replace(self._header, shape=image.shape, dtype=image.dtype))
        for each in (held, image):
            yield from self._fitting(each)

    def _with_mask(self, header: Header) -> Header:
        """Add the dead pixels known from earlier images of the same detector to a header without a mask."""
        known = self._dead
        if header.bad_pixels is not None or known is None or known.shape != header.shape:
            return header
        return replace(header, bad_pixels=known)

    def _with_dead_pixels(self, header: Header, image: Image) -> Header:
        """Add the dead pixels shown by the first image to a header without a mask; return the header itself where they
        are known already.
        """
        own = header.bad_pixels is not None and header.bad_pixels is not self._dead
        configured = self._scan_header is not None and "bad_pixel_mask" in self._scan_header.arrays
        if own or (configured and header.bad_pixels is None):
            return header
        known, self._dead = header.bad_pixels, dead_pixels(image, header.bad_pixels)
        if known is None and self._dead is None:
            return header
        if known is not None and np.array_equal(known, False if self._dead is None else self._dead):
            self._dead = known
            return header
        alive = "" if known is None else ", and some from an earlier image are used again"
        count = 0 if self._dead is None else int(self._dead.sum())
        self._note(f"series {self._key}: {count} dead pixels found{alive}; the header had no mask")
        return replace(header, bad_pixels=self._dead)

    def _placed(self, scan_header: ScanHeader, image: Image) -> Iterator[Message]:
        """Hand on an image under its number within its scan."""
        now = time.monotonic()
        pause_s = now - self._active_at
        turn, number = (
            divmod(image.number, scan_header.frames) if self._may_hold_several(scan_header) else (0, image.number)
        )
        if number >= scan_header.frames:
            self._beyond += 1
            raise WireError(f"image {number} is beyond the {scan_header.frames} of its scan", "beyond_scan")
        if turn != self._pass:
            self._check_turn(image, turn, pause_s)
            yield from self.flush()
            yield EndMessage(scan_header.uid, scan_header.frames, "complete")
            self._pass = turn
            message = self._armed(self._header or Header(self._key))
            yield message
            scan_header = message.header
        elif now - self._named_at > _NAMED_EVERY_S and self._highest >= 0:
            yield from self.flush()
            yield PingMessage(scan_header.uid, scan_header)
            self._named_at = now
        self._active_at = now
        self._highest = max(self._highest, number)
        yield from self._batch.add(scan_header.uid, number, image.codec, image.data)

    def _check_turn(self, image: Image, turn: int, pause_s: float) -> None:
        """Refuse an image of another scan of this series, unless it is the next one. Raises WireError."""
        if turn < self._pass:
            raise WireError(f"image {image.number} belongs to a scan that is over", "closed_scan")
        announced = self._header.frames if self._header is not None else None
        beyond = announced is not None and image.number >= announced
        if beyond or (turn > self._pass + 1 and pause_s < _PAUSE_S):
            raise WireError(f"image {image.number} is far beyond the ones before it", "beyond_scan")

    def _may_hold_several(self, scan_header: ScanHeader) -> bool:
        """Whether the series holds several scans, or may."""
        announced = self._header.frames if self._header is not None else None
        return announced is None or announced >= 2 * scan_header.frames

    def _end_of(self, scan_header: ScanHeader) -> EndMessage:
        """The end of the scan: complete when its points have come, however many further images were announced."""
        points, reached = scan_header.point_frames, self._highest + 1
        if points - reached > _LOST_TAIL * points:
            return EndMessage(scan_header.uid, scan_header.frames, "aborted")
        sent = self._pass * scan_header.frames + reached
        header = self._header
        announced = None if header is None else header.frames
        if header is not None and reached >= points and announced is not None and sent < announced:
            self._note(
                f"series {header.series} ended after {sent} of {announced} announced images: "
                f"its scan is complete, {announced - sent} further images were announced but not sent"
            )
        return EndMessage(scan_header.uid, max(points, reached), "complete")

    def _note_ignored(self) -> None:
        """Say how many images came after the last one of their scan."""
        if self._beyond:
            name = self._header.series if self._header is not None else self._key
            self._note(f"series {name}: {self._beyond} images after the last one of its scan were ignored")
            self._beyond = 0


def _completed(header: Header | None, image: Image) -> Header:
    """Fill the gaps of a header from an image."""
    known = header or Header(image.name or image.series)
    return replace(known, shape=known.shape or image.shape, dtype=known.dtype or image.dtype)
