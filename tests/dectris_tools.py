"""DECTRIS messages as detectors and simulators write them, made here from the public descriptions."""

import contextlib
import json
import random
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import cbor2
import numpy as np
from stream_tools import compressed

from ptylive.schema import ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.schema.model import Array
from ptylive.streamer.protocols import Inlet, ProtocolSettings, make_inlet
from ptylive.streamer.wire import ArmMessage, FrameLayout, FramesMessage, Message, decode_frames

Parts = list[bytes]
TAGS = {"|u1": 64, "<u2": 69, "<u4": 70, ">u2": 65, ">u4": 66}


def free_port() -> int:
    """A free TCP port below the ephemeral ports.

    A receiver that keeps trying to connect to an ephemeral port while nobody listens may be assigned that very port,
    and is then connected to itself.
    """
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


def patterns(count: int = 24, shape: tuple[int, int] = (16, 12), dtype: str = "<u2", seed: int = 0) -> Array:
    """Poisson patterns (count, rows, columns); not square, so that a transposed shape is noticed."""
    return np.random.default_rng(seed).poisson(3, (count, *shape)).astype(dtype)


def chunk(pattern: Array, codec: str) -> bytes:
    """One pattern in the framing of the HDF5 filters, written by the filter itself."""
    return compressed(pattern, codec)


def bare_lz4(pattern: Array) -> bytes:
    """One pattern as a single LZ4 block without framing, as in stream v1."""
    return chunk(pattern, "lz4")[16:]


def v1_blob(pattern: Array, encoding: str) -> bytes:
    """A pattern in one of v1's encodings."""
    if encoding.startswith("bs"):
        return chunk(pattern, "bslz4")
    return bare_lz4(pattern) if encoding.startswith("lz4") else pattern.tobytes()


def text(**fields: Any) -> bytes:
    """A text part."""
    return json.dumps(fields).encode()


def v1_config(frames: int, shape: tuple[int, int], depth: int = 16, **more: Any) -> bytes:
    """The configuration part of a header, which has no htype."""
    sizes = {"x_pixels_in_detector": shape[1], "y_pixels_in_detector": shape[0], "bit_depth_image": depth}
    return text(**{"nimages": 1, "ntrigger": frames, "trigger_mode": "exte", "frame_time": 1e-4, **sizes, **more})


def v1_header(series: int, frames: int, shape: tuple[int, int], detail: str = "basic", **more: Any) -> Parts:
    """Both parts of a basic header."""
    first = text(htype="dheader-1.0", series=series, header_detail=detail)
    return [first] if detail == "none" else [first, v1_config(frames, shape, **more)]


def v1_image(series: int, number: int, pattern: Array, encoding: str = "bs16-lz4<", **more: Any) -> Parts:
    """The four parts of an image."""
    blob = v1_blob(pattern, encoding)
    shape = [pattern.shape[1], pattern.shape[0]]
    described = {"shape": shape, "type": pattern.dtype.name, "encoding": encoding, "size": len(blob), **more}
    return [
        text(htype="dimage-1.0", series=series, frame=number, hash=""),
        text(htype="dimage_d-1.0", **described),
        blob,
        text(htype="dconfig-1.0", start_time=number, stop_time=number + 1, real_time=1),
    ]


def v1_end(series: int) -> Parts:
    """The end of a series."""
    return [text(htype="dseries_end-1.0", series=series)]


def v1_series(number: int = 34, encoding: str = "bs16-lz4<", **config: Any) -> list[Parts]:
    """A whole series of :func:`patterns`; each header, image and end is one ZeroMQ message."""
    frames = patterns()
    images = [v1_image(number, k, frame, encoding) for k, frame in enumerate(frames)]
    return [v1_header(number, len(frames), frames.shape[1:], **config), *images, v1_end(number)]


def v2_start(series: int, frames: int, shape: tuple[int, int], unique: str | None = None, **more: Any) -> Parts:
    """A start message."""
    fields = {"type": "start", "series_id": series, "number_of_images": frames, "channels": ["threshold_1"]}
    fields |= {"image_size_x": shape[1], "image_size_y": shape[0], "image_dtype": "uint16", "frame_time": 1e-4}
    if unique is not None:
        fields["series_unique_id"] = unique
    return [cbor2.dumps({**fields, **more})]


def v2_array(pattern: Array, codec: str = "bslz4") -> cbor2.CBORTag:
    """A pattern as tag 40 around a typed array."""
    body: Any = pattern.tobytes()
    if codec != "none":
        body = cbor2.CBORTag(56500, [codec, pattern.itemsize if codec == "bslz4" else 0, chunk(pattern, codec)])
    return cbor2.CBORTag(40, [list(pattern.shape), cbor2.CBORTag(TAGS[pattern.dtype.str], body)])


def v2_image(series: int, number: int, pattern: Array, codec: str = "bslz4", unique: str | None = None) -> Parts:
    """An image message."""
    fields: dict[str, Any] = {"type": "image", "series_id": series, "image_id": number}
    if unique is not None:
        fields["series_unique_id"] = unique
    return [cbor2.dumps({**fields, "real_time": [1, 50], "data": {"threshold_1": v2_array(pattern, codec)}})]


def v2_end(series: int, unique: str | None = None) -> Parts:
    """An end message."""
    fields: dict[str, Any] = {"type": "end", "series_id": series}
    return [cbor2.dumps(fields if unique is None else {**fields, "series_unique_id": unique})]


def inlet(
    protocol: str, notes: list[str] | None = None, values: dict[str, Any] | None = None, **settings: Any
) -> Inlet:
    """An inlet whose configuration is a few metadata values."""

    def prepare(header: ScanHeader) -> ScanHeader:
        return overlay(header, values or {})

    said = [] if notes is None else notes
    return make_inlet(ProtocolSettings(protocol, prepare, **settings), said.append)  # type: ignore[arg-type]


def taken(inlet: Inlet, messages: Iterable[Sequence[bytes]]) -> list[Message]:
    """All messages that an inlet makes of some parts."""
    out = [message for parts in messages for message in inlet.take(parts)]
    return [*out, *inlet.flush()]


def scans_of(messages: Iterable[Message]) -> dict[str, dict[int, bytes]]:
    """uid -> acquisition number -> bytes of the decoded pattern, in native byte order."""
    layouts: dict[str, FrameLayout] = {}
    scans: dict[str, dict[int, bytes]] = {}
    for message in messages:
        if isinstance(message, ArmMessage):
            layouts[message.header.uid] = FrameLayout.of(message.header)
            scans.setdefault(message.header.uid, {})
        elif isinstance(message, FramesMessage):
            frames, good, problems = decode_frames(message, layouts[message.uid])
            assert good.all(), problems
            for number, frame in enumerate(frames, message.first):
                scans[message.uid][number] = frame.tobytes()
    return scans


def as_scan(frames: Array) -> dict[int, bytes]:
    """The result of :func:`scans_of` expected for these patterns."""
    native = frames.astype(frames.dtype.newbyteorder("="))
    return {number: frame.tobytes() for number, frame in enumerate(native)}


def dump(path: Any, messages: Iterable[Parts]) -> None:
    """Write a file of messages as LiberTEM's simulator replays it: length (8 bytes, little-endian), part."""
    with path.open("wb") as file:
        for parts in messages:
            for part in parts:
                file.write(struct.pack("<q", len(part)) + part)
