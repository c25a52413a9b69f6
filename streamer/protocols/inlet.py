"""Inlets turn parts of ZeroMQ messages into messages of the internal form (:mod:`ptylive.streamer.wire`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ptylive.schema import ScanHeader
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.protocols.image_template import ImageTemplate
from ptylive.streamer.wire import Message, decode
from ptylive.streamer.wire.arrays import Buffer

ProtocolName = Literal["native", "dectris-v1", "dectris-v2", "merlin", "tpx3", "tpx3-raw"]
Prepare = Callable[[ScanHeader], ScanHeader]
"""Combines the server's configuration with what a sender sent about its scan; may raise PtyliveError."""
Taken = Message | FrameBlock
"""Results of an inlet: messages, and frames that are handed on as received."""
Note = Callable[[str], None]
"""Receives one line that a person should read."""


def _as_sent(header: ScanHeader) -> ScanHeader:
    return header


@dataclass(frozen=True)
class ProtocolSettings:
    """Settings of a protocol.

    name: what the sender speaks; prepare: adds to a scan what detectors do not send (scan shape, step, …);
    verify_hashes: compare the md5 that DECTRIS v1 sends with each image; channel: threshold of a stream2 detector with
    several, empty for the first.
    """

    name: ProtocolName = "native"
    prepare: Prepare = _as_sent
    verify_hashes: bool = False
    channel: str = ""

    @property
    def connects(self) -> bool:
        """Whether the receiver connects to the sender; for the native stream it binds."""
        return self.name != "native"

    @property
    def over_tcp(self) -> bool:
        """Whether the sender speaks TCP without ZeroMQ."""
        return self.name in ("merlin", "tpx3", "tpx3-raw")


class Inlet(Protocol):
    """Receiving end of one protocol; used by one thread."""

    def take(self, parts: Sequence[Buffer]) -> Iterable[Taken]:
        """Return the messages that one ZeroMQ message completes. Iterating raises WireError for refused messages."""
        ...

    def flush(self) -> Iterable[Taken]:
        """Return what is held back to make larger batches; call it when nothing more is waiting."""
        ...

    @property
    def holding(self) -> bool:
        """Whether :meth:`flush` would return something."""
        ...

    def template(self) -> ImageTemplate | None:
        """Return what the compiled loop must know to receive the coming images; None when it cannot."""
        ...

    def advance(self, number: int) -> None:
        """Record that images up to frame ``number`` of the open scan were received without this inlet."""
        ...


class NativeInlet:
    """The native stream: one ZeroMQ message is one message."""

    holding = False

    def take(self, parts: Sequence[Buffer]) -> Iterable[Message]:
        """See :class:`Inlet`."""
        return (decode(parts),)

    def flush(self) -> Iterable[Message]:
        """Return nothing: nothing is ever held back."""
        return ()

    def template(self) -> None:
        """Return None: the compiled loop supports native messages directly."""
        return None

    def advance(self, number: int) -> None:
        """Do nothing: this inlet keeps no record of what has been received."""
