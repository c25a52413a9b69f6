"""DECTRIS stream version 1 (SIMPLON stream interface, format ``legacy``): JSON parts and blobs.

A header (``dheader-1.0``, then the configuration without htype, then tables), images of four parts (``dimage-1.0``,
``dimage_d-1.0``, the blob, ``dconfig-1.0``), an end (``dseries_end-1.0``). Detectors and simulators differ in which
parts they send as one ZeroMQ message, so every part is recognised independently. Shapes on the wire are [x, y].
Facts: SIMPLON API documentation; LiberTEM-rs ``libertem_dectris``.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema import WireError
from ptylive.schema.model import BoolArray
from ptylive.streamer.protocols.header import (
    MAX_USER_TEXT,
    Header,
    electron_energy_eV,
    in_words,
    positive,
    user_map,
    whole,
)
from ptylive.streamer.protocols.image import Image
from ptylive.streamer.protocols.image_template import JsonImageTemplate, around_size
from ptylive.streamer.protocols.inlet import Note, ProtocolSettings
from ptylive.streamer.protocols.series import Series
from ptylive.streamer.wire import Message
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE

MAX_JSON_BYTES = 2**20
"""Limit on a text part; configurations have a few kilobytes."""
_HTYPE_WITHIN = 256
"""Bytes at the beginning of a text part that hold its htype."""
_LAYOUT_BYTES, _MOST_LAYOUTS = 512, 4096
"""Length up to which a dimage_d part is remembered, and how many are remembered."""
_TABLES = ("flatfield", "pixelmask", "countrate_table")
_PIXEL_TYPES = {"uint8": "u1", "uint16": "u2", "uint32": "u4"}
_DEPTHS = {8: "|u1", 16: "<u2", 32: "<u4"}
_LZ4_FRAMING = struct.Struct(">QII")


@dataclass
class _Announced:
    """A header while its parts arrive."""

    series: str
    detail: str
    config: dict[str, Any] | None = None
    tables: int = 0
    user: Any = None
    bad_pixels: BoolArray | None = None

    @property
    def whole(self) -> bool:
        """Whether the header is complete."""
        return self.detail == "none" or (
            self.config is not None and (self.detail != "all" or self.tables >= len(_TABLES))
        )


@dataclass(frozen=True)
class _Image:
    """Contents of the first part of an image."""

    series: str
    number: int
    hash: str


@dataclass(frozen=True)
class _Layout:
    """The second part's description of the blob: (rows, columns), numpy dtype string, compression, size in bytes if
    given, and the text around that number.
    """

    shape: tuple[int, int]
    dtype: str
    packing: str
    size: int | None
    around: tuple[bytes, bytes] | None = None


class DectrisV1:
    """Inlet of stream version 1 (:class:`ptylive.streamer.protocols.Inlet`)."""

    def __init__(self, settings: ProtocolSettings, note: Note) -> None:
        self._series = Series(settings, note)
        self._verify_hashes = settings.verify_hashes
        self._announced: _Announced | None = None
        self._image: _Image | None = None  # its dimage part arrived, its dimage_d part did not
        self._pattern: tuple[_Image, _Layout] | None = None  # both arrived, its blob did not
        self._layouts: dict[bytes, _Layout] = {}  # dimage_d parts seen: there are few different ones
        self._table: dict[str, Any] | None = None  # a table is announced, its blob has not arrived
        self._after_image = False
        self._last: tuple[_Image, _Layout] | None = None  # image whose blob arrived

    @property
    def holding(self) -> bool:
        """See :class:`Inlet`."""
        return self._series.holding

    def take(self, parts: Sequence[Buffer]) -> Iterator[Message]:
        """See :class:`Inlet`. When a part is refused, the rest of its message is refused with it."""
        missing: list[WireError] = []
        try:
            for part in parts:
                yield from self._part(part, missing)
        except WireError:
            self._image = self._pattern = self._table = None
            raise
        announced = self._announced
        if announced is not None and (announced.whole or (len(parts) > 1 and announced.config is not None)):
            yield from self._arm()
        if missing:
            raise missing[0]

    def flush(self) -> Iterator[Message]:
        """See :class:`Inlet`."""
        return self._series.flush()

    def template(self) -> JsonImageTemplate | None:
        """See :class:`Inlet`. Template for images like the last one, of the open scan, between two messages."""
        waiting = self._image or self._pattern or self._announced or self._table
        if self._last is None or waiting is not None or self._verify_hashes:
            return None
        image, layout = self._last
        place = self._series.place(image.series, layout.shape, layout.dtype)
        if place is None or layout.around is None or layout.packing != f"bs{8 * np.dtype(layout.dtype).itemsize}lz4":
            return None
        return JsonImageTemplate(place[0], int(image.series), place[1], *layout.around)

    def advance(self, number: int) -> None:
        """See :class:`Inlet`."""
        self._after_image = True
        self._series.advance(number)

    def _part(self, part: Buffer, missing: list[WireError]) -> Iterator[Message]:
        """Recognise a part and act on it; if it came in place of a blob, report only the blob as missing."""
        if self._pattern is not None or self._table is not None:
            if self._is_blob(part):
                yield from self._blob(part)
                return
            owner = "a table" if self._pattern is None else f"image {self._pattern[0].number}"
            missing.append(WireError(f"the blob of {owner} did not arrive", "missing_part"))
            self._pattern = self._table = None
        if bytes(part[:1]) != b"{":
            if self._after_image:
                return  # an image appendix
            if self._announced is not None and self._announced.config is not None:
                self._announced.user = bytes(part[:MAX_USER_TEXT])
                return
        yield from self._text(part)

    def _is_blob(self, part: Buffer) -> bool:
        """Whether a part is the awaited blob; it is not if it is a text part, which only looks alike by accident."""
        if self._pattern is not None and self._pattern[1].size == len(part):
            return True
        head = bytes(part[:_HTYPE_WITHIN])
        return not (head[:1] == b"{" and b'"htype"' in head)

    def _text(self, part: Buffer) -> Iterator[Message]:
        if self._image is not None and (known := self._layouts.get(bytes(part[:_LAYOUT_BYTES]))) is not None:
            self._pattern, self._image = (self._image, known), None
            return
        if self._after_image and b'"dconfig-' in bytes(part[:_HTYPE_WITHIN]):
            return  # times, which nobody needs: not worth reading
        fields = _fields(part)
        name = fields.get("htype")
        kind = str(name).rpartition("-")[0]
        after_image, self._after_image = self._after_image, kind == "dconfig"
        if kind == "dimage_d":
            self._described(fields, bytes(part))
            return
        self._image = None
        if name is None:
            self._without_type(fields, after_image=after_image)
        elif kind == "dimage":
            self._image = _image(fields)
            yield from self._arm()
        elif kind == "dheader":
            yield from self._arm()
            detail = fields.get("header_detail")
            self._announced = _Announced(_series(fields), detail if isinstance(detail, str) else "basic")
        elif kind == "dseries_end":
            yield from self._arm()
            yield from self._series.end(_series(fields))
        elif kind.removeprefix("d") in _TABLES:
            self._table = fields
        elif kind != "dconfig":
            raise WireError(f"part of unknown type {str(name)[:40]!r}", "unknown_type")

    def _without_type(self, fields: dict[str, Any], *, after_image: bool) -> None:
        """Store the detector's configuration, or an appendix."""
        if self._announced is not None:
            if self._announced.config is None:
                self._announced.config = fields
            else:
                self._announced.user = fields
        elif not after_image:
            raise WireError("a part without htype, and no header before it", "unknown_type")

    def _arm(self) -> Iterator[Message]:
        """Announce the scan once its header is as complete as it will get."""
        announced, self._announced = self._announced, None
        if announced is None:
            return
        yield from self._series.header(announced.series, _header(announced))

    def _described(self, fields: dict[str, Any], text: bytes) -> None:
        """Read shape, type and encoding of the image that follows."""
        image, self._image = self._image, None
        if image is None:
            raise WireError("dimage_d without the dimage part before it", "missing_part")
        layout = _layout(fields, around_size(text))
        if layout is None:
            raise WireError(f"image {image.number}: impossible shape, type or encoding", "bad_image")
        self._pattern = image, layout
        if len(text) < _LAYOUT_BYTES:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            self._layouts[text] = layout

    def _blob(self, part: Buffer) -> Iterator[Message]:
        """Process the bytes that an image or a table has announced."""
        pattern, table, self._pattern, self._table = self._pattern, self._table, None, None
        if pattern is None:
            self._take_table(table or {}, part)
            return
        self._after_image = True
        image, layout = pattern
        if layout.size is not None and layout.size != len(part):
            reason = "truncated" if len(part) < layout.size else "oversized"
            raise WireError(f"image {image.number}: {len(part)} bytes instead of {layout.size}", reason)
        if self._verify_hashes and len(image.hash) == 32:
            digest = hashlib.md5(part, usedforsecurity=False).hexdigest()
            if digest != image.hash.lower():
                raise WireError(f"image {image.number}: its md5 differs from the announced one", "bad_hash")
        self._last = pattern
        codec, data = _coded(image.number, layout, part)
        yield from self._series.image(Image(image.series, image.number, layout.shape, layout.dtype, codec, data))

    def _take_table(self, fields: dict[str, Any], part: Buffer) -> None:
        announced = self._announced
        if announced is None:
            return
        announced.tables += 1
        if "pixelmask" in str(fields.get("htype")):
            announced.bad_pixels = _bad_pixels(fields, part)


def _fields(part: Buffer) -> dict[str, Any]:
    if len(part) > MAX_JSON_BYTES:
        raise WireError(f"text part of {len(part)} bytes", "oversized")
    try:
        fields = json.loads(str(part, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"part is not JSON: {type(error).__name__}", "not_json") from None
    if not isinstance(fields, dict):
        raise WireError("part is not a JSON map", "not_json")
    return fields


def _series(fields: dict[str, Any]) -> str:
    number = whole(fields.get("series"))
    if number is None or number >= 2**63:
        raise WireError("part without a series number", "bad_series")
    return str(number)


def _image(fields: dict[str, Any]) -> _Image:
    number, digest = whole(fields.get("frame")), fields.get("hash")
    if number is None or number >= 2**63:
        raise WireError("dimage without a frame number", "bad_image")
    return _Image(_series(fields), number, digest if isinstance(digest, str) else "")


def _shape(value: Any) -> tuple[int, int] | None:
    """(rows, columns) from [x, y]; None when it is impossible."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    x, y = (whole(side, 1) for side in value)
    if x is None or y is None or max(x, y) > MAX_DETECTOR_SIDE:
        return None
    return y, x


def _pixel(fields: dict[str, Any]) -> str | None:
    """Pixel type without its byte order; None if detectors do not have it."""
    name = fields.get("type")
    return _PIXEL_TYPES.get(name) if isinstance(name, str) else None


def _layout(fields: dict[str, Any], around: tuple[bytes, bytes] | None) -> _Layout | None:
    """Contents of a dimage_d part; None when they are impossible."""
    shape, pixel, encoding = _shape(fields.get("shape")), _pixel(fields), fields.get("encoding")
    if shape is None or pixel is None or not isinstance(encoding, str) or encoding[-1:] not in ("<", ">"):
        return None
    packing = encoding[:-1].replace("-", "")
    return _Layout(shape, np.dtype(encoding[-1] + pixel).str, packing, whole(fields.get("size")), around)


def _coded(number: int, layout: _Layout, part: Buffer) -> tuple[Codec, Buffer]:
    """Return the pattern in the framing of the internal form. Raises WireError ``unknown_codec``.

    v1's plain LZ4 is one bare block; a framing is put before it unless it already has one.
    """
    itemsize = np.dtype(layout.dtype).itemsize
    if layout.packing == "":
        return "none", part
    if layout.packing == f"bs{8 * itemsize}lz4":
        return "bslz4", part
    if layout.packing != "lz4":
        raise WireError(f"image {number} is coded {layout.packing[:20]!r}", "unknown_codec")
    nbytes = layout.shape[0] * layout.shape[1] * itemsize
    if len(part) >= 12 and int.from_bytes(part[:8], "big") == nbytes:
        return "lz4", part
    # A block as long as the pattern would be mistaken for an uncompressed one; LZ4 makes none of exactly that length.
    return "lz4", b"".join((_LZ4_FRAMING.pack(nbytes, nbytes, len(part)), part))


def _header(announced: _Announced) -> Header:
    """Return the header described by configuration and tables."""
    config = announced.config or {}
    shape = _shape([config.get("x_pixels_in_detector"), config.get("y_pixels_in_detector")])
    depth = whole(config.get("bit_depth_image"))
    images, triggers = whole(config.get("nimages"), 1), whole(config.get("ntrigger"), 1)
    return Header(
        announced.series,
        frames=_product(images, triggers, str(config.get("trigger_mode"))),
        shape=shape,
        dtype=None if depth is None else _DEPTHS.get(depth),
        frame_time_s=positive(config.get("frame_time")),
        energy_eV=electron_energy_eV(config.get("incident_energy"), config.get("wavelength")),
        user=user_map(announced.user),
        saturation_value=positive(config.get("countrate_correction_count_cutoff")),
        bad_pixels=announced.bad_pixels,
        sent=_in_words(announced),
    )


def _in_words(announced: _Announced) -> dict[str, str]:
    """Configuration and appendix as received."""
    sections = {"configuration": announced.config, "header_appendix": user_map(announced.user)}
    return {name: in_words(fields) for name, fields in sections.items() if fields}


def _product(images: int | None, triggers: int | None, mode: str) -> int | None:
    """Images of a series: one per trigger where the trigger is the exposure (exte, inte), otherwise their product."""
    if mode in ("exte", "inte"):
        return triggers
    return None if images is None or triggers is None else images * triggers


def _bad_pixels(fields: dict[str, Any], part: Buffer) -> BoolArray | None:
    """Pixels that the detector's mask marks for any reason; None when the mask does not match its description."""
    shape, pixel = _shape(fields.get("shape")), _pixel(fields)
    if shape is None or pixel is None:
        return None
    dtype = np.dtype("<" + pixel)
    if len(part) != shape[0] * shape[1] * dtype.itemsize:
        return None
    return np.asarray(np.frombuffer(part, dtype).reshape(shape) != 0)
