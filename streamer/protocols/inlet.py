"""The way in: parts of ZeroMQ messages become messages of the inner form (:mod:`ptylive.streamer.wire`)."""

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
"""Lays the server's configuration under and over what a sender said of its scan; may raise PtyliveError."""
Taken = Message | FrameBlock
"""What becomes of what has come: messages, and frames that are handed on as they came."""
Note = Callable[[str], None]
"""Takes one line that a person should read."""


def _as_sent(header: ScanHeader) -> ScanHeader:
    return header


@dataclass(frozen=True)
class ProtocolSettings:
    """name: what the sender speaks; prepare: adds to a scan what detectors do not send (scan shape, step, …);
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
    """One protocol on its way in; used by one thread."""

    def take(self, parts: Sequence[Buffer]) -> Iterable[Taken]:
        """The messages that one ZeroMQ message completes. Iterating raises WireError for what is refused."""
        ...

    def flush(self) -> Iterable[Taken]:
        """What is held back to hand on larger batches; call it when nothing more is waiting."""
        ...

    @property
    def holding(self) -> bool:
        """Whether :meth:`flush` would return something."""
        ...

    def template(self) -> ImageTemplate | None:
        """What the compiled loop must know to take the images that come; None when it cannot."""
        ...

    def advance(self, number: int) -> None:
        """Images up to frame ``number`` of the open scan have been taken past this inlet."""
        ...


class NativeInlet:
    """The native stream: one ZeroMQ message is one message."""

    holding = False

    def take(self, parts: Sequence[Buffer]) -> Iterable[Message]:
        """See :class:`Inlet`."""
        return (decode(parts),)

    def flush(self) -> Iterable[Message]:
        """Nothing is ever held back."""
        return ()

    def template(self) -> None:
        """The compiled loop knows native messages by itself."""
        return None

    def advance(self, number: int) -> None:
        """Nothing is kept of what has been taken."""
