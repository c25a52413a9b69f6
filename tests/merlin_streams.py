"""Bytes of Merlin's stream through splitter and inlet."""

import random
from collections.abc import Iterable

from ptylive.schema import WireError
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.protocols.inlet import Inlet, Taken
from ptylive.streamer.protocols.merlin.splitter import MpxSplitter
from ptylive.streamer.wire import Message


def of_stream(inlet: Inlet, stream: bytes, chance: random.Random) -> tuple[list[Message], list[str]]:
    """Messages from bytes read in pieces, handled together as the splitter passes them on; reasons of refusals."""
    splitter = MpxSplitter()
    out: list[Message] = []
    reasons, at = [], 0
    while at <= len(stream):
        count = min(chance.choice([1, 300, 2000, 9000]), len(stream) - at)
        splitter.room()[:count] = stream[at : at + count]
        at += max(count, 1)
        for item in splitter.read(count):
            if isinstance(item, WireError):
                reasons.append(item.reason)
                continue
            coming: Iterable[Taken] | None = inlet.take([item])
            while coming is not None:
                try:
                    out += map(as_message, coming)
                    coming = inlet.flush() if inlet.holding else None
                except WireError as error:
                    reasons.append(error.reason)
                    coming = inlet.flush()
    return out, reasons


def as_message(taken: Taken) -> Message:
    """Frames that are passed on as they came, decoded."""
    return taken.decoded() if isinstance(taken, FrameBlock) else taken
