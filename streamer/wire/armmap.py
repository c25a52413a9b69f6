"""Conversion of a :class:`ScanHeader` to the map of an arm message, and back (docs/protocol.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from ptylive.schema import Basis, PtyliveError, Scan, ScanHeader, WireError
from ptylive.schema.detector import DETECTOR_ARRAYS, array_problem
from ptylive.schema.metadata import ARRAY_NAMES, build
from ptylive.schema.model import Array, Model
from ptylive.schema.scan_header import sent_texts
from ptylive.streamer.wire.arrays import Buffer, decode_array, encode_array
from ptylive.streamer.wire.frames import FrameLayout
from ptylive.streamer.wire.limits import (
    MAX_COEFFICIENTS,
    MAX_DETECTOR_SIDE,
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    MAX_SERIES_LENGTH,
    MAX_UID_LENGTH,
    PROTOCOL_VERSION,
)

UID_PATTERN = r"^[0-9A-Za-z_-]+$"
ORDER_KEYS = ("shape", "scan_shape", "pattern", "scan_pattern", "flyback_frames", "skip_first", "repeats")
"""Keys of a scan that decide which frame belongs to which point."""
_LAYOUT_KEYS = {
    "scan": ORDER_KEYS,
    "detector": ("shape", "dtype"),
}
"""Keys that decide how frames are stored and placed; no other value of a header can make the server refuse a stream."""
_WRONG_VALUE = (PtyliveError, ValueError, TypeError, OverflowError, RecursionError)


class ArmHeader(Model):
    """Part 0 of an arm message; the sections are validated by :mod:`ptylive.schema.metadata`."""

    model_config = ConfigDict(strict=True)
    version: int
    uid: str = Field(max_length=MAX_UID_LENGTH, pattern=UID_PATTERN)
    series: str = Field(default="", max_length=MAX_SERIES_LENGTH)
    frames: int = Field(ge=1, le=MAX_FRAMES)
    scan: dict[str, Any] = Field(default_factory=dict)
    optics: dict[str, Any] = Field(default_factory=dict)
    detector: dict[str, Any]
    basis: dict[str, Any] = Field(default_factory=dict)
    parts: list[str] = Field(default_factory=list, max_length=16)
    sent: Any = None


def arm_to_map(scan_header: ScanHeader) -> dict[str, Any]:
    """Return the map of an arm message; its further parts come from :func:`arm_parts`."""
    optics = scan_header.optics.model_dump(exclude_none=True)
    optics.update(optics.pop("aberrations"))
    detector = scan_header.detector.model_dump(exclude_none=True)
    if not detector.pop("transform_given"):
        detector.pop("transform")
    return {
        "type": "arm",
        "version": PROTOCOL_VERSION,
        "uid": scan_header.uid,
        "series": scan_header.series,
        "frames": scan_header.frames,
        "scan": scan_header.scan.model_dump(exclude_none=True),
        "optics": optics,
        "detector": detector,
        "basis": scan_header.basis.model_dump(exclude_none=True),
        "parts": [name for name in ARRAY_NAMES if name in scan_header.arrays],
        **({"sent": dict(scan_header.sent)} if scan_header.sent else {}),
    }


def arm_parts(scan_header: ScanHeader) -> list[bytes]:
    """Return the arrays of a scan, in the order of the map's ``parts``."""
    return [encode_array(scan_header.arrays[name]) for name in ARRAY_NAMES if name in scan_header.arrays]


def arm_from_map(fields: Mapping[str, Any], parts: Sequence[Buffer]) -> tuple[ScanHeader, tuple[WireError, ...]]:
    """Return the scan that a map and its arrays describe, and the problems that had to be left out of it.

    Values that decide how frames are stored (version, uid, frames, order of the scan, type of the pixels, basis) must
    be valid: WireError otherwise. Impossible values of optics, scan and detector and faulty arrays are left out and
    reported, because a stream is never refused over them; so are fewer frames than the scan has points, which make room
    for all of them.
    """
    header = _header(fields)
    problems: list[WireError] = []
    detector = _with_possible("detector", header.detector, problems)
    scan = _with_possible("scan", header.scan, problems)
    scan_header = ScanHeader(
        uid=header.uid,
        series=header.series,
        frames=_enough_frames(header.frames, scan, problems),
        scan=scan,
        optics=_with_possible("optics", header.optics, problems),
        detector=detector,
        basis=_basis(header.basis),
        sent=sent_texts(header.sent if isinstance(header.sent, Mapping) else {}),
    )
    _check_layout(scan_header)
    arrays = _arrays(scan_header, header.parts, parts, problems)
    return replace(scan_header, arrays=arrays), tuple(problems)


def _header(fields: Mapping[str, Any]) -> ArmHeader:
    version = fields.get("version")
    if version != PROTOCOL_VERSION:
        raise WireError(f"arm message of version {version!r}: this server speaks {PROTOCOL_VERSION}", "unknown_version")
    try:
        return ArmHeader.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise WireError(f"arm message: {'.'.join(map(str, first['loc']))}: {first['msg']}", "bad_arm") from None


def _section(name: str, values: Mapping[str, Any]) -> Any:
    try:
        section = build(name, values, "arm message")
    except _WRONG_VALUE as error:
        raise WireError(_prefixed(name, error), "impossible_value") from None
    if name == "scan" and section.shape is not None and section.frames > MAX_FRAMES:
        raise WireError(f"arm message: scan: {section.frames} frames, at most {MAX_FRAMES}", "impossible_value")
    return section


def _with_possible(name: str, values: Mapping[str, Any], problems: list[WireError]) -> Any:
    """Build a section from its possible values; the others become problems, unless storing frames depends on them."""
    try:
        return _section(name, values)
    except WireError:
        accepted = {key: value for key, value in values.items() if key in _LAYOUT_KEYS.get(name, ())}
    section = _section(name, accepted)
    for key, value in values.items():
        try:
            section = _section(name, {**accepted, key: value})
        except WireError as error:
            problems.append(error)
            continue
        accepted[key] = value
    return section


def _enough_frames(announced: int, scan: Scan, problems: list[WireError]) -> int:
    """Number of frames of a scan: as announced, but room for all of its points, or it could not be recorded."""
    if scan.shape is None or announced >= scan.frames:
        return announced
    rows, columns = scan.shape
    problems.append(
        WireError(
            f"arm message: {announced} frames are too few for scan.shape {rows} x {columns}, which needs {scan.frames} "
            "with flyback, repeated and skipped frames: all of these are expected; correct it in the sender",
            "impossible_value",
        )
    )
    return scan.frames


def _prefixed(section: str, error: BaseException) -> str:
    """Describe what is wrong with a section, in one line that names it."""
    text = error.line() if isinstance(error, PtyliveError) else " ".join(str(error).split())
    return text if text.startswith("arm message") else f"arm message: {section}: {text}"


def _basis(values: Mapping[str, Any]) -> Basis:
    try:
        basis = Basis.model_validate(dict(values))
    except _WRONG_VALUE:
        raise WireError("arm message: basis: impossible value", "impossible_value") from None
    count = basis.n_bright + basis.n_dark + len(basis.extra)
    if not basis.is_raw and not 1 <= count <= MAX_COEFFICIENTS:
        raise WireError(f"arm message: basis: {count} numbers for each frame", "impossible_value")
    return basis


def _check_layout(scan_header: ScanHeader) -> None:
    """Refuse a detector shape that is missing or too large."""
    shape = scan_header.detector.shape
    if shape is None:
        raise WireError("arm message: detector.shape is missing", "bad_arm")
    if (
        not all(1 <= side <= MAX_DETECTOR_SIDE for side in shape)
        or FrameLayout.of(scan_header).nbytes > MAX_FRAME_BYTES
    ):
        raise WireError(f"arm message: detector.shape {shape[0]} x {shape[1]} is impossible", "impossible_value")


def _arrays(
    scan_header: ScanHeader, names: Sequence[str], parts: Sequence[Buffer], problems: list[WireError]
) -> dict[str, Array]:
    """Return the valid arrays; masks are required where the basis is not pixels."""
    arrays: dict[str, Array] = {}
    if len(parts) < len(names):
        problems.append(WireError(f"arm message names {len(names)} parts but has {len(parts)}", "wrong_parts"))
    for name, part in zip(names, parts, strict=False):
        if name not in ARRAY_NAMES:
            continue
        try:
            arrays[name] = _checked(scan_header, name, decode_array(part, name))
        except WireError as error:
            problems.append(error)
    if not scan_header.basis.is_raw and "masks" not in arrays:
        raise WireError(f"arm message: basis {scan_header.basis.kind!r} needs the part masks", "missing_part")
    return arrays


def array_shape(scan_header: ScanHeader, name: str) -> tuple[int, ...] | None:
    """Return the shape an array of the scan must have; None when nothing known of the scan fixes it."""
    pixels = scan_header.detector_shape
    if name in DETECTOR_ARRAYS:
        return pixels
    if name == "masks":
        return (scan_header.basis.n_bright + scan_header.basis.n_dark, *pixels)
    return None if scan_header.scan.shape is None else (math.prod(scan_header.scan.shape), 2)


def _checked(scan_header: ScanHeader, name: str, array: Array) -> Array:
    """Return an array of the arm message in its proper type. Raises WireError ``wrong_shape``."""
    wanted = array_shape(scan_header, name)
    if wanted is not None and array.shape != wanted:
        raise WireError(f"arm message: {name} has shape {array.shape}, expected {wanted}", "wrong_shape")
    if problem := array_problem(name, array):
        raise WireError(f"arm message: {name} {problem}", "impossible_value")
    return array.astype(bool) if name == "bad_pixel_mask" else array
