"""Add the server's images and distortion of the detector to scans: an inlet around another one.

Everything downstream (compression, journal, recording, live maps, refinement) sees them as if the sender had sent them,
so that a recording holds everything its maps were made with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ptylive.schema import MetadataError, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.schema.model import Array
from ptylive.streamer.detector_arrays import with_arrays
from ptylive.streamer.protocols.image_template import ImageTemplate
from ptylive.streamer.protocols.inlet import Inlet, Taken
from ptylive.streamer.wire import ArmMessage, PingMessage
from ptylive.streamer.wire.arrays import Buffer


class DescribingInlet:
    """Overlays images on what senders announce. A scan they do not fit stays unchanged, which is reported once."""

    def __init__(
        self,
        inlet: Inlet,
        arrays: Mapping[str, Array],
        note: Callable[[str], None],
        distortion: tuple[float, ...] | None = None,
    ) -> None:
        """``arrays``: images by name, (Qy, Qx); ``distortion``: of every pattern, in place of what senders announce."""
        self._inlet, self._arrays, self._note, self._distortion = inlet, arrays, note, distortion
        self._described_uid = ""

    @property
    def holding(self) -> bool:
        """See :class:`~ptylive.streamer.protocols.inlet.Inlet`."""
        return self._inlet.holding

    def take(self, parts: Sequence[Buffer]) -> Iterator[Taken]:
        """See :class:`~ptylive.streamer.protocols.inlet.Inlet`."""
        yield from self._described(self._inlet.take(parts))

    def flush(self) -> Iterable[Taken]:
        """See :class:`~ptylive.streamer.protocols.inlet.Inlet`."""
        return self._inlet.flush()  # only frames are held

    def template(self) -> ImageTemplate | None:
        """See :class:`~ptylive.streamer.protocols.inlet.Inlet`."""
        return self._inlet.template()

    def advance(self, number: int) -> None:
        """See :class:`~ptylive.streamer.protocols.inlet.Inlet`."""
        self._inlet.advance(number)

    def _described(self, messages: Iterable[Taken]) -> Iterator[Taken]:
        for message in messages:
            if isinstance(message, ArmMessage | PingMessage) and message.header is not None:
                yield replace(message, header=self._with_arrays(message.header))
            else:
                yield message

    def _with_arrays(self, header: ScanHeader) -> ScanHeader:
        if self._distortion is not None and header.basis.is_raw:
            header = overlay(header, {"distortion": self._distortion})
        try:
            return with_arrays(header, self._arrays)
        except MetadataError as error:
            if header.uid != self._described_uid:
                self._note(f"scan {header.series} is processed without the detector images: {error.line()}")
            self._described_uid = header.uid
            return header
