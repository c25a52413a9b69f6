"""The two texts that Merlin sends: the acquisition header (``HDR,``) and the header of each frame (``MQ1,``), MIB.

Both are separated by commas or lines and parsed as tolerantly as possible: a value that a version leaves out is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ptylive.schema import WireError
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE

MAX_ACQUISITION_HEADER_BYTES = 2**16
"""Merlin sends 2048."""
MAX_FRAME_HEADER_BYTES = 2**14
"""Merlin sends 384 for one chip, 768 for four."""
COUNTER_DEPTHS = (1, 6, 12, 24)
"""Bits of Medipix3's counters."""
_MAX_DIGITS = 10
_LEAST_FIELDS = 11
_MOST = 1e15
"""Upper limit of an exposure in ns: eleven days."""
_TIME, _EXPOSURE, _THRESHOLD = 9, 10, 14
"""Positions of fields behind the fixed ones; some versions leave the last one out."""


@dataclass(frozen=True)
class AcquisitionHeader:
    """Contents of the header sent when an acquisition is armed; None where a value is not given.

    frames: images announced, None for an acquisition without end; frames_per_trigger; scan_shape: (rows, columns);
    counter_depth: bits; corrected: pixels are not bare counts (flat field, counts spread over the gaps between chips);
    gap_filled: the gaps hold made-up numbers; values: everything, as received.
    """

    frames: int | None = None
    frames_per_trigger: int | None = None
    scan_shape: tuple[int, int] | None = None
    counter_depth: int | None = None
    corrected: bool = False
    gap_filled: bool = False
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameHeader:
    """Contents of the header of one frame.

    number: from 0, -1 where Merlin sent 0; data_offset: bytes before the pixels; chips; shape: (rows, columns) as
    given, for raw frames with the chips side by side; pixels: U08, U16, U32 or R64; layout: 1x1, 2x2, Nx1, with G where
    there are gaps between the chips; time: of the exposure, as text that sorts by time; exposure_s; counter_depth:
    bits; threshold_keV: the first threshold.
    """

    number: int
    data_offset: int
    chips: int
    shape: tuple[int, int]
    pixels: str
    layout: str
    time: str = ""
    exposure_s: float | None = None
    counter_depth: int | None = None
    threshold_keV: float | None = None


def parse_acquisition_header(message: Buffer) -> AcquisitionHeader:
    """Parse ``HDR,`` and lines ``name:<tab>value`` up to ``End``, Latin-1. Raises WireError ``oversized``."""
    if len(message) > MAX_ACQUISITION_HEADER_BYTES:
        raise WireError(f"acquisition header of {len(message)} bytes", "oversized")
    values: dict[str, str] = {}
    for line in str(message, "latin-1").splitlines()[1:]:
        name, found, value = line.partition(":")
        if line.strip() == "End":
            break
        if found:
            values.setdefault(name.strip(), value.strip())
    rows, columns = (_positive_integer(values.get(name)) for name in ("ScanY", "ScanX"))
    gap_filled = _is_set(values.get("Gap Fill Mode"))
    return AcquisitionHeader(
        frames=_positive_integer(values.get("Frames in Acquisition (Number)")),
        frames_per_trigger=_positive_integer(values.get("Frames per Trigger (Number)")),
        scan_shape=(rows, columns) if rows and columns else None,
        counter_depth=_depth(values.get("Counter Depth (number)")),
        corrected=gap_filled or _is_set(values.get("Flat Field File")),
        gap_filled=gap_filled,
        values=values,
    )


def parse_frame_header(message: Buffer) -> FrameHeader:
    """Parse ``MQ1,`` and its fields. Raises WireError ``bad_image`` naming the field that is impossible."""
    fields = str(message[:MAX_FRAME_HEADER_BYTES], "latin-1").split(",", _LEAST_FIELDS)
    if len(fields) < _LEAST_FIELDS:
        raise WireError(f"frame header of {len(fields)} fields", "bad_image")
    number = _field(fields, 1, "sequence number", 0, 2**32)
    label = f"frame {number}"
    offset = _field(fields, 2, f"{label}: data offset", 16, min(MAX_FRAME_HEADER_BYTES, len(message)))
    chips = _field(fields, 3, f"{label}: number of chips", 1, 64)
    columns = _field(fields, 4, f"{label}: width", 1, 64 * MAX_DETECTOR_SIDE)
    rows = _field(fields, 5, f"{label}: height", 1, MAX_DETECTOR_SIDE)
    fields = str(message[:offset], "latin-1").rstrip("\0 \r\n").split(",")
    fields += [""] * (_THRESHOLD + 1 - len(fields))
    exposure_s, depth = _number(fields[_EXPOSURE]), None
    if "MQ1A" in fields:
        extension = fields[fields.index("MQ1A") + 1 :] + [""] * 3
        depth = _depth(extension[2])
        exposure_ns = _number(extension[1].strip().removesuffix("ns"))
        exposure_s = exposure_s if exposure_ns is None else 1e-9 * exposure_ns
    return FrameHeader(
        number=number - 1,
        data_offset=offset,
        chips=chips,
        shape=(rows, columns),
        pixels=fields[6].strip(),
        layout=fields[7].strip(),
        time=_time(fields),
        exposure_s=exposure_s,
        counter_depth=depth,
        threshold_keV=_number(fields[_THRESHOLD]),
    )


def exposed_at(message: Buffer, offset: int) -> str:
    """Return the time at which a frame was exposed, as :func:`parse_frame_header` gives it, for a frame whose pixels
    begin after ``offset`` bytes and which is known to resemble one that has been parsed.
    """
    fields = str(message[:offset], "latin-1").rstrip("\0 \r\n").split(",")
    return _time(fields)


def _time(fields: list[str]) -> str:
    """Time of the exposure: the extension gives it to the nanosecond."""
    time = fields[_TIME].strip() if len(fields) > _TIME else ""
    if "MQ1A" in fields:
        after = fields.index("MQ1A") + 1
        return (fields[after].strip() if after < len(fields) else "") or time
    return time


def _field(fields: list[str], place: int, name: str, least: int, most: int) -> int:
    """Return an integer within bounds. Raises WireError ``bad_image``."""
    text = fields[place].strip()
    value = int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else -1
    if not least <= value <= most:
        raise WireError(f"{name} {text[:20]!r} is impossible", "bad_image")
    return value


def _positive_integer(text: str | None) -> int | None:
    """Return a positive integer; None for 0 and for other text."""
    text = (text or "").strip()
    return (int(text) or None) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None


def _depth(text: str | None) -> int | None:
    """Bits of a counter; None for depths that Medipix3 does not have."""
    return depth if (depth := _positive_integer(text)) in COUNTER_DEPTHS else None


def _number(text: str) -> float | None:
    """Return a positive finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 < value < _MOST else None


def _is_set(text: str | None) -> bool:
    """Whether a correction is in use: Merlin writes None where it is not."""
    return (text or "None").strip().lower() not in ("none", "")
