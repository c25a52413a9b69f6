"""What the images of a series have in common: it lets the compiled loop receive them without Python."""

from __future__ import annotations

from dataclasses import dataclass

_SIZE = b'"size":'
_LEAST_CODED = 24
"""Shorter byte strings have their length in the first byte."""


@dataclass(frozen=True)
class JsonImageTemplate:
    """Images of a DECTRIS v1 series while a scan of it is open.

    uid: the scan; series: number on the wire; offset: number of the image that is its frame 0; before, after: the
    ``dimage_d`` part around the digits of its size.
    """

    uid: str
    series: int
    offset: int
    before: bytes
    after: bytes


@dataclass(frozen=True)
class CborImageTemplate:
    """Images of a DECTRIS stream2 series while a scan of it is open, as CBOR items.

    uid: the scan; series, unique: items of ``series_id`` and ``series_unique_id`` (empty: absent); offset: number of
    the image that is its frame 0; before: item of ``data``, up to the byte string with the coded pattern.
    """

    uid: str
    series: bytes
    unique: bytes
    offset: int
    before: bytes


ImageTemplate = JsonImageTemplate | CborImageTemplate
_DATA = b"\x64data"
_ONE_CHANNEL = 0xA1  # a map of one pair: ``data`` holds nothing but the pattern


def before_pattern(message: bytes, coded: bytes) -> bytes | None:
    """Item of ``data`` in an image message up to its only byte string, ``coded``; None when it cannot be identified."""
    at = message.find(coded)
    key = message.rfind(_DATA, 0, max(at, 0))
    if key < 0 or len(coded) < _LEAST_CODED:
        return None
    before = message[key + len(_DATA) : at]
    for width in (8, 4, 2, 1):
        head = bytes([0x58 + width.bit_length() - 1]) + len(coded).to_bytes(8, "big")[-width:]
        if before.endswith(head):
            before = before[: -len(head)]
            return before if before[:1] == bytes([_ONE_CHANNEL]) else None
    return None


def around_size(text: bytes) -> tuple[bytes, bytes] | None:
    """A ``dimage_d`` part before and after the digits of its size; None when it has no size, or several."""
    _, found, rest = text.partition(_SIZE)
    after = rest.lstrip()
    digits = len(after) - len(after.lstrip(b"0123456789"))
    if not found or not digits or _SIZE in rest:
        return None
    return text[: len(text) - len(after)], after[digits:]
