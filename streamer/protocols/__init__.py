"""Sender protocols. Each inlet turns one protocol into the messages of the native stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ptylive.streamer.protocols.inlet import Inlet, NativeInlet, Note, Prepare, ProtocolName, ProtocolSettings

if TYPE_CHECKING:
    import zmq

    from ptylive.streamer.protocols.tcp_connection import DetectorConnection

__all__ = [
    "Inlet",
    "NativeInlet",
    "Note",
    "Prepare",
    "ProtocolName",
    "ProtocolSettings",
    "make_connection",
    "make_inlet",
]


def make_inlet(settings: ProtocolSettings, note: Note) -> Inlet:
    """Return the inlet for a protocol; ``note`` receives what a person should know (one line each)."""
    return _INLETS[settings.name](settings, note)


def make_connection(
    name: ProtocolName, context: zmq.Context[zmq.Socket[bytes]], address: str, inner: str
) -> DetectorConnection:
    """Return the TCP connection of a protocol spoken ``over_tcp``; see :class:`.tcp_connection.DetectorConnection`."""
    from ptylive.streamer.protocols.merlin import splitter as merlin
    from ptylive.streamer.protocols.tcp_connection import DetectorConnection
    from ptylive.streamer.protocols.tpx3 import splitter as tpx3
    from ptylive.streamer.protocols.tpx3_raw import splitter as tpx3_raw

    if name == "tpx3-raw":
        return DetectorConnection(context, address, inner, tpx3_raw.Tpx3RawSplitter, tpx3_raw.DATA_PORT)
    if name == "tpx3":
        return DetectorConnection(context, address, inner, tpx3.Tpx3Splitter, tpx3.DATA_PORT)
    return DetectorConnection(context, address, inner, merlin.MpxSplitter, merlin.DATA_PORT)


def _native(_settings: ProtocolSettings, _note: Note) -> Inlet:
    return NativeInlet()


def _dectris_v1(settings: ProtocolSettings, note: Note) -> Inlet:
    from ptylive.streamer.protocols.dectris_v1 import DectrisV1

    return DectrisV1(settings, note)


def _dectris_v2(settings: ProtocolSettings, note: Note) -> Inlet:
    from ptylive.streamer.protocols.dectris_v2 import DectrisV2

    return DectrisV2(settings, note)


def _merlin(settings: ProtocolSettings, note: Note) -> Inlet:
    from ptylive.streamer.protocols.merlin.inlet import MerlinInlet

    return MerlinInlet(settings, note)


def _tpx3(settings: ProtocolSettings, note: Note) -> Inlet:
    from ptylive.streamer.protocols.tpx3.inlet import Tpx3Inlet

    return Tpx3Inlet(settings, note)


def _tpx3_raw(settings: ProtocolSettings, note: Note) -> Inlet:
    from ptylive.streamer.protocols.tpx3_raw.inlet import Tpx3RawInlet

    return Tpx3RawInlet(settings, note)


_INLETS: Mapping[ProtocolName, Callable[[ProtocolSettings, Note], Inlet]] = {
    "native": _native,
    "dectris-v1": _dectris_v1,
    "dectris-v2": _dectris_v2,
    "merlin": _merlin,
    "tpx3": _tpx3,
    "tpx3-raw": _tpx3_raw,
}
