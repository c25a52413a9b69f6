"""The description of a series by a DECTRIS detector, and the :class:`ScanHeader` made from it."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ptylive.schema import PtyliveError, ScanHeader, WireError
from ptylive.schema.errors import brief
from ptylive.schema.metadata import SECTIONS, sections_from
from ptylive.schema.model import BoolArray
from ptylive.schema.units import wavelength_A
from ptylive.streamer.protocols.inlet import Note, Prepare
from ptylive.streamer.wire import ArmMessage
from ptylive.streamer.wire.armmap import ORDER_KEYS, arm_from_map
from ptylive.streamer.wire.limits import MAX_FRAMES, MAX_SERIES_LENGTH, PROTOCOL_VERSION

MOST_LISTED = 64
"""Longest list whose values are written out as text."""
MAX_USER_TEXT = 2**16
"""Characters of a header appendix that are examined."""
_WAVELENGTH_TOLERANCE = 0.01


@dataclass(frozen=True)
class Header:
    """A series as its detector announced it; None where the stream does not give a value.

    series: number (for people); frames: images announced; shape: pixels (rows, columns); dtype: numpy dtype string;
    frame_time_s; energy_eV: of electrons; user: what the microscope's control put into header_appendix or user_data;
    saturation_value: largest count that a pixel can record; bad_pixels: bool (rows, columns).
    """

    series: str
    frames: int | None = None
    shape: tuple[int, int] | None = None
    dtype: str | None = None
    frame_time_s: float | None = None
    energy_eV: float | None = None
    user: Mapping[str, Any] = field(default_factory=dict)
    saturation_value: float | None = None
    bad_pixels: BoolArray | None = None
    sent: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What the detector sent in its own words, by the names of its messages."""


def in_words(fields: Mapping[Any, Any]) -> str:
    """Format what a detector sent as lines ``name: value``; arrays and other long values are left out."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, list | dict) and len(value) > MOST_LISTED:
            continue
        try:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            continue
        lines.append(f"{name}: {text}")
    return "\n".join(lines)


def arm_message(header: Header, prepare: Prepare, note: Note) -> ArmMessage:
    """Return the arm message of a new scan with a new uid, from ``header`` (shape, dtype known) and the configuration.

    Impossible user data and an impossible configuration are left out and reported; a scan shape that nobody gives is
    guessed from the number of images, which is noted. Raises WireError ``impossible_value`` for an impossible detector,
    ``no_frames`` when the number of images is not known.
    """
    uid, problems = str(uuid.uuid4()), _not_maps(header)
    try:
        scan_header, left_out = arm_from_map(_arm_map(header, uid, header.user), ())
    except WireError as error:
        scan_header, left_out = arm_from_map(_arm_map(header, uid, _without_order(header.user)), ())
        text = f"{_of_series(header, error)}; shape and order of this scan are not taken from there"
        problems.append(WireError(text, "bad_user_data"))
    problems += [WireError(_of_series(header, problem), problem.reason) for problem in left_out]
    try:
        scan_header = prepare(scan_header)
    except PtyliveError as error:
        problems.append(WireError(f"configuration not used for series {header.series}: {error}", "bad_configuration"))
    if header.bad_pixels is not None and header.bad_pixels.shape == scan_header.detector_shape:
        scan_header = replace(scan_header, arrays={"bad_pixel_mask": header.bad_pixels})
    frames = _frames(header, scan_header, note)
    if scan_header.scan.shape is None:
        scan_header = replace(scan_header, scan=scan_header.scan.with_frames(frames))
        rows, columns = scan_header.scan.require_shape()
        text = f"series {header.series} does not state its scan shape: {rows} x {columns} is assumed"
        note(f"{text}; give it with --set scan.shape=ROWS,COLUMNS")
    return ArmMessage(replace(scan_header, frames=frames), tuple(problems))


def _not_maps(header: Header) -> list[WireError]:
    """Problems of the sections of user data that hold no names of values."""
    given = {name: header.user.get(name) for name in SECTIONS}
    return [
        WireError(
            f"header of series {header.series}: {name} = {brief(value)} is not used: write {name} as a map of values",
            "bad_user_data",
        )
        for name, value in given.items()
        if value is not None and not isinstance(value, Mapping)
    ]


def _without_order(user: Mapping[str, Any]) -> dict[str, Any]:
    """User data without the values that decide which frame belongs to which point."""
    scan = user.get("scan")
    within = (
        {name: value for name, value in scan.items() if name not in ORDER_KEYS} if isinstance(scan, Mapping) else {}
    )
    flat = {name: value for name, value in user.items() if name.removeprefix("scan.") not in ORDER_KEYS}
    return {**flat, "scan": within}


def _of_series(header: Header, error: WireError) -> str:
    """The text of an error, about this series instead of an arm message."""
    return f"header of series {header.series}: {str(error).removeprefix('arm message: ')}"


def _frames(header: Header, scan_header: ScanHeader, note: Note) -> int:
    """Number of images in one scan: a series that holds several scans of the configured shape is split up, and one that
    is too short leaves points unmeasured.
    """
    announced = header.frames if header.frames is not None and header.frames > 0 else None
    wanted = scan_header.scan.frames if scan_header.scan.shape is not None else None
    if wanted is not None and wanted <= MAX_FRAMES:
        if announced is not None and announced < wanted:
            note(
                f"series {header.series} announces {announced} images, but its scan has {wanted}: some will be missing"
            )
        if announced is None or announced < wanted or announced >= 2 * wanted:
            return wanted
        if announced > wanted:
            text = f"series {header.series} announces {announced} images, but its scan has {wanted}"
            note(
                f"{text}: the last {announced - wanted} are received but not used as scan points: is scan.shape right?"
            )
    if announced is None or announced > MAX_FRAMES:
        text = f"series {header.series} announces {'no number of' if announced is None else announced} images"
        raise WireError(f"{text}: give the scan shape, --set scan.shape=ROWS,COLUMNS", "no_frames")
    return announced


def _arm_map(header: Header, uid: str, user: Mapping[str, Any]) -> dict[str, Any]:
    """The series as the map of a native arm message: one set of rules for all protocols."""
    sections = sections_from(user)
    for name in SECTIONS:
        given = user.get(name)
        if isinstance(given, Mapping):
            sections[name].update({str(key): value for key, value in given.items()})
    if header.frame_time_s:
        sections["scan"].setdefault("dwell_time_us", 1e6 * header.frame_time_s)
    if header.energy_eV:
        sections["optics"].setdefault("energy_eV", header.energy_eV)
    if header.saturation_value:
        sections["detector"].setdefault("saturation_value", header.saturation_value)
    sections["detector"].update(shape=header.shape, dtype=header.dtype)
    name = header.series[:MAX_SERIES_LENGTH]
    sent, most = dict(header.sent), MAX_FRAMES  # how many there are is decided once the shape of the scan is known
    return {"version": PROTOCOL_VERSION, "uid": uid, "series": name, "frames": most, **sections, "sent": sent}


def positive(value: Any) -> float | None:
    """Return a positive finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def whole(value: Any, least: int = 0) -> int | None:
    """Return an integer not below ``least``, or None."""
    return value if type(value) is int and value >= least else None


def electron_energy_eV(energy_eV: Any, wavelength: Any) -> float | None:
    """Return the beam energy, if energy (eV) and wavelength (Å) belong to the same electron.

    DECTRIS detectors also count photons, and a value that nobody set is a photon's: the wavelength distinguishes them.
    """
    energy, length = positive(energy_eV), positive(wavelength)
    if energy is None or length is None:
        return None
    return energy if abs(wavelength_A(energy) / length - 1) < _WAVELENGTH_TOLERANCE else None


def user_map(value: Any) -> Mapping[str, Any]:
    """Metadata in a header appendix or user data: a map, or a map as JSON text; anything else gives nothing."""
    for _ in range(2):  # JSON text may itself be a JSON string
        if isinstance(value, str | bytes) and len(value) <= MAX_USER_TEXT:
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return {}
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
