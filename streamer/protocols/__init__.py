"""Sender protocols and what they become. Each inlet turns one protocol into the messages of the native stream."""

from __future__ import annotations

from ptylive.streamer.protocols.inlet import Inlet, NativeInlet, Note, Prepare, ProtocolName, ProtocolSettings

__all__ = ["Inlet", "NativeInlet", "Note", "Prepare", "ProtocolName", "ProtocolSettings", "make_inlet"]


def make_inlet(settings: ProtocolSettings, note: Note) -> Inlet:
    """The inlet for a protocol; ``note`` is told what a person should know (one line each)."""
    if settings.name == "dectris-v1":
        from ptylive.streamer.protocols.dectris_v1 import DectrisV1

        return DectrisV1(settings, note)
    if settings.name == "dectris-v2":
        from ptylive.streamer.protocols.dectris_v2 import DectrisV2

        return DectrisV2(settings, note)
    return NativeInlet()
