"""Images that all look alike: what the compiled loop needs to know to take them without Python."""

from __future__ import annotations

from dataclasses import dataclass

_SIZE = b'"size":'


@dataclass(frozen=True)
class SteadyImages:
    """Images of a DECTRIS v1 series while a scan of it is open.

    uid: the scan; series: number on the wire; offset: number of the image that is its frame 0; before, after: the
    ``dimage_d`` part around the digits of its size.
    """

    uid: str
    series: int
    offset: int
    before: bytes
    after: bytes


def around_size(text: bytes) -> tuple[bytes, bytes] | None:
    """A ``dimage_d`` part before and after the digits of its size; None when it does not say one, or more."""
    _, found, rest = text.partition(_SIZE)
    after = rest.lstrip()
    digits = len(after) - len(after.lstrip(b"0123456789"))
    if not found or not digits or _SIZE in rest:
        return None
    return text[: len(text) - len(after)], after[digits:]
