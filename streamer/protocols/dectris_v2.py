"""DECTRIS stream version 2 (SIMPLON stream interface, format ``cbor``): one CBOR map for each ZeroMQ message.

``start``, ``image``, ``end``, distinguished by ``type``. Arrays are tag 40 (shape, row-major) around a typed array (RFC
8746, tags 64 to 87) whose bytes may be compressed (tag 56500: [algorithm, element size, bytes]). Keys that captured
messages lack (``image_dtype``, ``user_data``) are not needed.
Facts: github.com/dectris/documentation ``stream_v2`` and ``cbor/dectris-compression-tag.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cbor2
import numpy as np

from ptylive.schema import WireError
from ptylive.schema.model import BoolArray
from ptylive.streamer.protocols.header import Header, electron_energy_eV, in_words, positive, user_map, whole
from ptylive.streamer.protocols.image import Image
from ptylive.streamer.protocols.image_template import CborImageTemplate, before_pattern
from ptylive.streamer.protocols.inlet import Note, ProtocolSettings
from ptylive.streamer.protocols.series import Series
from ptylive.streamer.wire import Message
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec, decode_pattern
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE, MAX_FRAME_BYTES

MULTI_DIM, COMPRESSED = 40, 56500
TYPED = {64: "|u1", 65: ">u2", 66: ">u4", 68: "|u1", 69: "<u2", 70: "<u4", 72: "|i1", 77: "<i2", 78: "<i4", 85: "<f4"}
TYPED[86] = "<f8"
"""Tags of typed arrays whose type a recording can have."""
_CODECS: dict[Any, Codec] = {"bslz4": "bslz4", "lz4": "lz4"}
_NAMED_TYPES = {"uint8": "|u1", "uint16": "<u2", "uint32": "<u4"}
_NOT_CBOR = (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Stored:
    """An array as stored in a message: (rows, columns), numpy dtype string, codec, bytes."""

    shape: tuple[int, int]
    dtype: str
    codec: Codec
    data: bytes


class DectrisV2:
    """Inlet of stream version 2 (:class:`ptylive.streamer.protocols.Inlet`)."""

    def __init__(self, settings: ProtocolSettings, note: Note) -> None:
        self._series = Series(settings, note)
        self._note = note
        self._channel = settings.channel
        self._chosen = ""
        self._noted: tuple[str, ...] = ()
        self._last: tuple[Image, tuple[bytes, bytes, bytes] | None] | None = None

    @property
    def holding(self) -> bool:
        """See :class:`Inlet`."""
        return self._series.holding

    def template(self) -> CborImageTemplate | None:
        """See :class:`Inlet`. Template for images encoded like the last one, of the open scan."""
        if self._last is None:
            return None
        image, spelling = self._last
        place = self._series.place(image.series, image.shape, image.dtype)
        if place is None or spelling is None:
            return None
        return CborImageTemplate(place[0], *spelling[:2], place[1], spelling[2])

    def advance(self, number: int) -> None:
        """See :class:`Inlet`."""
        self._series.advance(number)

    def flush(self) -> Iterator[Message]:
        """See :class:`Inlet`."""
        return self._series.flush()

    def take(self, parts: Sequence[Buffer]) -> Iterator[Message]:
        """See :class:`Inlet`."""
        if len(parts) != 1:
            raise WireError(f"message of {len(parts)} parts: stream2 messages have one part", "wrong_parts")
        fields = decode_cbor(parts[0])
        kind = fields.get("type")
        if kind == "image":
            image = self._image(fields)
            yield from self._series.image(image)
            self._last = image, _spelling(fields, bytes(parts[0]), image)
        elif kind == "start":
            yield from self._start(fields)
        elif kind == "end":
            yield from self._series.end(_key(fields))
        else:
            raise WireError(f"message of unknown type {str(kind)[:40]!r}", "unknown_type")

    def _start(self, fields: Mapping[str, Any]) -> Iterator[Message]:
        key = _key(fields)
        channels = fields.get("channels")
        names = [str(name) for name in channels] if isinstance(channels, list | tuple) else []
        self._chosen = self._channel or (names[0] if names else "")
        unique = key == fields.get("series_unique_id")
        yield from self._series.header(key, _header(fields, self._chosen), unique=unique)

    def _image(self, fields: Mapping[str, Any]) -> Image:
        number, data = whole(fields.get("image_id")), fields.get("data")
        if number is None or number >= 2**63 or not isinstance(data, Mapping) or not data:
            raise WireError("image without image_id or data", "bad_image")
        if self._chosen in data:
            chosen = self._chosen
        elif self._channel:
            raise WireError(f"image {number} has no channel {self._channel!r}", "bad_image")
        else:
            chosen = next(iter(data))
        names = tuple(sorted(map(str, data)))
        if len(names) > 1 and names != self._noted:
            self._noted = names
            self._note(f"images have the channels {', '.join(map(repr, names))}: {str(chosen)!r} is used"[:200])
        array = stored_array(data[chosen], f"image {number}")
        named = whole(fields.get("series_id"))
        name = "" if named is None or named >= 2**63 else str(named)
        return Image(_key(fields), number, array.shape, array.dtype, array.codec, array.data, name)


def decode_cbor(message: Buffer) -> dict[str, Any]:
    """Decode one CBOR map, keeping unknown tags as :class:`cbor2.CBORTag`. Raises WireError ``not_cbor``."""
    try:
        fields = cbor2.loads(bytes(message))
    except _NOT_CBOR as error:
        raise WireError(f"message is not CBOR: {type(error).__name__}", "not_cbor") from None
    if not isinstance(fields, Mapping):
        raise WireError("message is not a CBOR map", "not_cbor")
    return {key: value for key, value in fields.items() if isinstance(key, str)}


def stored_array(value: Any, name: str) -> Stored:
    """Return the array in tag 40, not yet decompressed. Raises WireError: bad_image, wrong_dtype, unknown_codec,
    truncated, oversized.
    """
    dimensions = _untagged(value, MULTI_DIM)
    if not isinstance(dimensions, list | tuple) or len(dimensions) != 2 or not isinstance(dimensions[1], cbor2.CBORTag):
        raise WireError(f"{name} is not an array (tag 40)", "bad_image")
    shape, typed = dimensions
    sides = [whole(side, 1) for side in shape] if isinstance(shape, list | tuple) else []
    if len(sides) != 2 or any(side is None or side > MAX_DETECTOR_SIDE for side in sides):
        raise WireError(f"{name} has an impossible shape", "bad_image")
    if typed.tag not in TYPED:
        raise WireError(f"{name}: typed array of tag {typed.tag}", "wrong_dtype")
    codec, data = _coded(typed.value, np.dtype(TYPED[typed.tag]).itemsize, name)
    rows, columns = (side or 0 for side in sides)
    wanted = rows * columns * np.dtype(TYPED[typed.tag]).itemsize
    if codec == "none" and len(data) != wanted:
        raise WireError(
            f"{name}: {len(data)} bytes instead of {wanted}", "truncated" if len(data) < wanted else "oversized"
        )
    return Stored((rows, columns), TYPED[typed.tag], codec, data)


def _coded(value: Any, itemsize: int, name: str) -> tuple[Codec, bytes]:
    """Return codec and bytes of a typed array's content."""
    if isinstance(value, bytes):
        return "none", value
    packed = _untagged(value, COMPRESSED)
    if not isinstance(packed, list | tuple) or len(packed) != 3 or not isinstance(packed[2], bytes):
        raise WireError(f"{name} is not a byte string, compressed or uncompressed", "bad_image")
    algorithm, element, data = packed
    codec = _CODECS.get(algorithm) if isinstance(algorithm, str) else None
    if codec is None or (codec == "bslz4" and element != itemsize):
        raise WireError(
            f"{name} is compressed with {str(algorithm)[:20]!r}, elements of {element!r}"[:120], "unknown_codec"
        )
    return codec, data


def decode_array(stored: Stored) -> np.ndarray[Any, Any]:
    """Decompress the array, (rows, columns). Raises WireError ``truncated``, ``wrong_size`` or ``corrupt``."""
    dtype = np.dtype(stored.dtype)
    nbytes = math.prod(stored.shape) * dtype.itemsize
    if nbytes > MAX_FRAME_BYTES:
        raise WireError(f"array of {nbytes} bytes", "oversized")
    raw = stored.data
    if stored.codec != "none":
        raw = decode_pattern(stored.codec, raw, nbytes, dtype.itemsize)
    return np.frombuffer(raw, dtype).reshape(stored.shape)


def _spelling(fields: Mapping[str, Any], message: bytes, image: Image) -> tuple[bytes, bytes, bytes] | None:
    """Series, unique id and the bytes before the pattern, as CBOR; None for images that Python must read."""
    before = before_pattern(message, bytes(image.data)) if image.codec == "bslz4" else None
    if before is None or "series_id" not in fields:
        return None
    unique = fields.get("series_unique_id")
    return cbor2.dumps(fields["series_id"]), b"" if unique is None else cbor2.dumps(unique), before


def _untagged(value: Any, tag: int) -> Any:
    """Return the content of a tag; None when it is another tag."""
    return value.value if isinstance(value, cbor2.CBORTag) and value.tag == tag else None


def _key(fields: Mapping[str, Any]) -> str:
    """Key that identifies a series: its unique id where there is one, otherwise its number."""
    unique, number = fields.get("series_unique_id"), whole(fields.get("series_id"))
    if isinstance(unique, str) and 0 < len(unique) <= 200 and unique.isprintable():
        return unique
    if number is None or number >= 2**63:
        raise WireError("message without series_id", "bad_series")
    return str(number)


def _header(fields: Mapping[str, Any], channel: str) -> Header:
    sides = whole(fields.get("image_size_y"), 1), whole(fields.get("image_size_x"), 1)
    number, named = whole(fields.get("series_id")), fields.get("image_dtype")
    return Header(
        str(number) if number is not None and number < 2**63 else _key(fields),
        frames=whole(fields.get("number_of_images"), 1),
        shape=None if sides[0] is None or sides[1] is None else (sides[0], sides[1]),
        dtype=_NAMED_TYPES.get(named) if isinstance(named, str) else None,
        frame_time_s=positive(fields.get("frame_time")),
        energy_eV=electron_energy_eV(fields.get("incident_energy"), fields.get("incident_wavelength")),
        user=user_map(fields.get("user_data")),
        saturation_value=positive(fields.get("saturation_value")),
        bad_pixels=_bad_pixels(fields.get("pixel_mask"), channel),
        sent={"start": in_words(fields)},
    )


def _bad_pixels(masks: Any, channel: str) -> BoolArray | None:
    """Pixels that the detector's mask marks for any reason; None where no mask is sent, or one shortened to nothing."""
    mask = masks.get(channel) if isinstance(masks, Mapping) else None
    if mask is None:
        return None
    try:
        return np.asarray(decode_array(stored_array(mask, "pixel_mask")) != 0)
    except WireError:
        return None
