"""The native stream, version 1: what a message means and how it is encoded (docs/protocol.md).

``decode`` takes the parts of one ZeroMQ message from any sender and returns a typed message or raises WireError with a
reason for the counters; unknown keys are ignored. ``encode`` is its inverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgpack
from pydantic import ConfigDict, Field, ValidationError

from ptylive.schema import ScanHeader, WireError
from ptylive.schema.model import Model
from ptylive.streamer.wire.armmap import UID_PATTERN, arm_from_map, arm_parts, arm_to_map
from ptylive.streamer.wire.arrays import Buffer, unpack_map
from ptylive.streamer.wire.codec import Codec
from ptylive.streamer.wire.frames import FramesMessage
from ptylive.streamer.wire.limits import (
    MAX_BATCH,
    MAX_FRAMES,
    MAX_HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PARTS,
    MAX_UID_LENGTH,
)


@dataclass(frozen=True)
class ArmMessage:
    """A scan is about to start, or starts again (same uid). ``problems``: values that had to be left out of it.

    ``sender``, here and below: the number by which the sender identifies itself, 0 where it gives none.
    """

    header: ScanHeader
    problems: tuple[WireError, ...] = ()
    sender: int = 0


@dataclass(frozen=True)
class PingMessage:
    """The sender of a scan is alive; ``header`` lets a server that was started late join."""

    uid: str
    header: ScanHeader | None = None
    problems: tuple[WireError, ...] = ()
    sender: int = 0


@dataclass(frozen=True)
class EndMessage:
    """The sender has sent ``frames`` frames and will send no more.

    ``senders``: in journals, the number of senders that announced the scan at the same time.
    """

    uid: str
    frames: int
    reason: Literal["complete", "aborted"]
    senders: int = 1
    sender: int = 0


Message = ArmMessage | FramesMessage | EndMessage | PingMessage


class _From(Model):
    """Fields about the sender that every message has."""

    model_config = ConfigDict(strict=True)
    sender: int = Field(default=0, ge=0, lt=2**63)


class _FramesHeader(_From):
    uid: str = Field(max_length=MAX_UID_LENGTH, pattern=UID_PATTERN)
    seq: int = Field(default=0, ge=0)
    first: int = Field(ge=0, lt=MAX_FRAMES)
    count: int = Field(ge=1, le=MAX_BATCH)
    codec: Codec = "none"


class _EndHeader(_From):
    uid: str = Field(max_length=MAX_UID_LENGTH, pattern=UID_PATTERN)
    frames: int = Field(ge=0, le=MAX_FRAMES)
    reason: Literal["complete", "aborted"] = "complete"
    senders: int = Field(default=1, ge=1)


class _PingHeader(_From):
    uid: str = Field(max_length=MAX_UID_LENGTH, pattern=UID_PATTERN)
    arm: dict[str, Any] | None = None


def decode(parts: Sequence[Buffer]) -> Message:
    """Decode one message from its parts. Raises WireError and no other exception."""
    if not parts or len(parts) > MAX_PARTS:
        raise WireError(f"message of {len(parts)} parts", "wrong_parts")
    if len(parts[0]) > MAX_HEADER_BYTES or sum(map(len, parts)) > MAX_MESSAGE_BYTES:
        raise WireError(f"message with a header of {len(parts[0])} bytes is too large", "oversized")
    fields = unpack_map(parts[0], "header")
    kind = fields.get("type")
    if kind == "frames":
        return _frames(fields, parts[1:])
    if kind == "arm":
        sender = _validated(_From, fields, "arm").sender
        return ArmMessage(*arm_from_map(fields, parts[1:]), sender=sender)
    if kind == "end":
        end = _validated(_EndHeader, fields, "end")
        return EndMessage(end.uid, end.frames, end.reason, end.senders, end.sender)
    if kind == "ping":
        return _ping(fields, parts[1:])
    raise WireError(f"message of unknown type {str(kind)[:40]!r}", "unknown_type")


def encode(message: Message) -> list[Buffer]:
    """Return the parts of one message."""
    if isinstance(message, FramesMessage):
        header: Mapping[str, Any] = {
            "type": "frames",
            "uid": message.uid,
            "seq": message.seq,
            "first": message.first,
            "count": message.count,
            "codec": message.codec,
        }
        return [_pack(header, message), *message.parts]
    if isinstance(message, ArmMessage):
        return [_pack(arm_to_map(message.header), message), *arm_parts(message.header)]
    if isinstance(message, EndMessage):
        end = {"type": "end", "uid": message.uid, "frames": message.frames, "reason": message.reason}
        return [_pack(end if message.senders == 1 else {**end, "senders": message.senders}, message)]
    ping = {"type": "ping", "uid": message.uid}
    if message.header is None:
        return [_pack(ping, message)]
    return [_pack({**ping, "arm": arm_to_map(message.header)}, message), *arm_parts(message.header)]


def _pack(header: Mapping[str, Any], message: Message) -> bytes:
    return bytes(msgpack.packb({**header, "sender": message.sender} if message.sender else header))


def _validated(model: type[Any], fields: Mapping[str, Any], kind: str) -> Any:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        raise WireError(f"{kind} message: {location}: {first['msg']}", f"bad_{kind}") from None


def _frames(fields: Mapping[str, Any], parts: Sequence[Buffer]) -> FramesMessage:
    header = _validated(_FramesHeader, fields, "frames")
    return FramesMessage(header.uid, header.first, header.count, header.codec, tuple(parts), header.seq, header.sender)


def _ping(fields: Mapping[str, Any], parts: Sequence[Buffer]) -> PingMessage:
    header = _validated(_PingHeader, fields, "ping")
    if header.arm is None:
        return PingMessage(header.uid, sender=header.sender)
    try:
        scan_header, problems = arm_from_map(header.arm, parts)
    except WireError as error:
        if error.reason == "missing_part":  # a bare ping of a compressed stream: alive, but nobody can join by it
            return PingMessage(header.uid, sender=header.sender)
        raise
    if scan_header.uid != header.uid:
        raise WireError("ping message: its arm map belongs to another scan", "bad_ping")
    return PingMessage(header.uid, scan_header, problems if parts else (), header.sender)
