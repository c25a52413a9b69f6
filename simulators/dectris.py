"""A DECTRIS detector for tests and demonstrations: binds a PUSH socket and sends stream v1 or stream2.

The messages follow DECTRIS' public descriptions (see ptylive.streamer.protocols). Further properties of a scan (its
shape, step, …) are sent in the header appendix or the user data, where the server looks for them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from ptylive.schema import InputFileError, ScanHeader
from ptylive.schema.model import Array
from ptylive.schema.units import wavelength_A
from ptylive.simulators.outlet import Outlet, SendPatience
from ptylive.streamer.wire import EndMessage, FrameLayout, FramesMessage
from ptylive.streamer.wire.armmap import arm_to_map
from ptylive.streamer.wire.arrays import Buffer

DectrisProtocol = Literal["dectris-v1", "dectris-v2"]
_TAGS = {"|u1": 64, "<u2": 69, "<u4": 70}
_DEFAULT_FRAME_TIME_S = 1e-5
_CHANNEL = "threshold_1"


class DectrisDetector:
    """Replaces :class:`ptylive.simulators.sender.Sender`: arm, frames, end, for one scan after the other."""

    def __init__(self, address: str, patience: SendPatience, protocol: DectrisProtocol) -> None:
        """Bind the address (port 0: any). Raises ServerGoneError when it is taken."""
        self._outlet = Outlet(address, patience, binds=True)
        self.address = self._outlet.address
        self._spell: _Spelling = StreamV1() if protocol == "dectris-v1" else Stream2()
        self._series = 0

    def arm(self, scan_header: ScanHeader) -> None:
        """Announce a series. Raises InputFileError for patterns that no such detector makes."""
        if not scan_header.basis.is_raw or scan_header.detector.dtype not in _TAGS:
            data = scan_header.detector.dtype if scan_header.basis.is_raw else "coefficients"
            raise InputFileError(f"a DECTRIS detector cannot send {data}", "replay it with the native protocol")
        self._series += 1
        self._outlet.send(self._spell.header(self._series, scan_header))

    def frames(self, message: FramesMessage) -> None:
        """Send images coded ``bslz4``, one message each."""
        for number, blob in enumerate(message.parts, message.first):
            self._outlet.send(self._spell.image(number, blob))

    def pause(self, seconds: float) -> None:
        """Wait."""
        if seconds > 0:
            time.sleep(seconds)

    def end(self, message: EndMessage) -> None:
        """Announce the end of the series."""
        self._outlet.send(self._spell.end())

    def close(self, *, flush: bool = True) -> None:
        """Close the connection; with ``flush`` once everything has been sent."""
        self._outlet.close(flush=flush)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(flush=kind is None)


class _Spelling:
    """Encoding of the messages of one series."""

    layout: FrameLayout

    def header(self, series: int, scan_header: ScanHeader) -> list[Buffer]:
        """Return the header of a series."""
        raise NotImplementedError

    def image(self, number: int, blob: Buffer) -> list[Buffer]:
        """Return one image, compressed with bslz4."""
        raise NotImplementedError

    def end(self) -> list[Buffer]:
        """Return the end of the series."""
        raise NotImplementedError


class StreamV1(_Spelling):
    """Stream v1: parts of JSON and blobs; header, image and end are one multipart message each."""

    def header(self, series: int, scan_header: ScanHeader) -> list[Buffer]:
        """dheader, configuration, tables where there is a pixel mask, appendix."""
        self._series, self.layout = series, FrameLayout.of(scan_header)
        tables = list(_tables(scan_header))
        rows, columns = scan_header.detector_shape
        config = {
            "nimages": 1,
            "ntrigger": scan_header.frames,
            "trigger_mode": "exte",
            "x_pixels_in_detector": columns,
            "y_pixels_in_detector": rows,
            "bit_depth_image": 8 * self.layout.dtype.itemsize,
            "compression": "bslz4",
            "frame_time": _frame_time_s(scan_header),
            "count_time": _frame_time_s(scan_header),
        }
        if scan_header.optics.energy_eV is not None:
            config |= {"incident_energy": scan_header.optics.energy_eV, "wavelength": scan_header.optics.wavelength_A}
        detail = "all" if tables else "basic"
        head = _json(htype="dheader-1.0", series=series, header_detail=detail)
        return [head, _json(**config), *tables, _json(**_user(scan_header))]

    def image(self, number: int, blob: Buffer) -> list[Buffer]:
        """dimage, dimage_d, blob, dconfig."""
        dtype, (rows, columns) = self.layout.dtype, self.layout.shape
        digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        encoding = f"bs{8 * dtype.itemsize}-lz4<"
        return [
            _json(htype="dimage-1.0", series=self._series, frame=number, hash=digest),
            _json(htype="dimage_d-1.0", shape=[columns, rows], type=dtype.name, encoding=encoding, size=len(blob)),
            blob,
            _json(htype="dconfig-1.0", start_time=10_000 * number, stop_time=10_000 * number + 9_900, real_time=9_900),
        ]

    def end(self) -> list[Buffer]:
        """dseries_end."""
        return [_json(htype="dseries_end-1.0", series=self._series)]


class Stream2(_Spelling):
    """Stream2: one CBOR map for each message."""

    def header(self, series: int, scan_header: ScanHeader) -> list[Buffer]:
        """Return the start message."""
        import cbor2

        self.layout = FrameLayout.of(scan_header)
        self._identity = {"series_id": series, "series_unique_id": scan_header.uid}
        rows, columns = scan_header.detector_shape
        fields: dict[str, Any] = {
            "type": "start",
            **self._identity,
            "arm_date": datetime.now(UTC),
            "channels": [_CHANNEL],
            "count_time": _frame_time_s(scan_header),
            "frame_time": _frame_time_s(scan_header),
            "image_dtype": self.layout.dtype.name,
            "image_size_x": columns,
            "image_size_y": rows,
            "number_of_images": scan_header.frames,
            "user_data": _user(scan_header),
        }
        if scan_header.optics.energy_eV is not None:
            wavelength = wavelength_A(scan_header.optics.energy_eV)
            fields |= {"incident_energy": scan_header.optics.energy_eV, "incident_wavelength": wavelength}
        mask = _pixel_mask(scan_header)
        if mask is not None:
            content = cbor2.CBORTag(_TAGS[mask.dtype.str], mask.tobytes())
            fields["pixel_mask"] = {_CHANNEL: cbor2.CBORTag(40, [list(mask.shape), content])}
        return [cbor2.dumps(fields)]

    def image(self, number: int, blob: Buffer) -> list[Buffer]:
        """Return an image message."""
        import cbor2

        body = cbor2.CBORTag(56500, ["bslz4", self.layout.dtype.itemsize, bytes(blob)])
        array = cbor2.CBORTag(40, [list(self.layout.shape), cbor2.CBORTag(_TAGS[self.layout.dtype.str], body)])
        times = {"start_time": [500 * number, 50_000_000], "stop_time": [500 * number + 495, 50_000_000]}
        fields = {"type": "image", **self._identity, "image_id": number, "real_time": [495, 50_000_000], **times}
        return [cbor2.dumps({**fields, "data": {_CHANNEL: array}})]

    def end(self) -> list[Buffer]:
        """Return the end message."""
        import cbor2

        return [cbor2.dumps({"type": "end", **self._identity})]


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _user(scan_header: ScanHeader) -> dict[str, Any]:
    """Properties of the scan that the detector itself does not provide."""
    described = arm_to_map(scan_header)
    return {name: described[name] for name in ("scan", "optics", "detector")}


def _frame_time_s(scan_header: ScanHeader) -> float:
    dwell_us = scan_header.scan.dwell_time_us
    return _DEFAULT_FRAME_TIME_S if dwell_us is None else 1e-6 * dwell_us


def _pixel_mask(scan_header: ScanHeader) -> Array | None:
    bad = scan_header.arrays.get("bad_pixel_mask")
    return None if bad is None else np.asarray(bad).astype("<u4")


def _tables(scan_header: ScanHeader) -> Iterator[bytes]:
    """Flat field, pixel mask and count-rate table, each announced; nothing without a pixel mask."""
    mask = _pixel_mask(scan_header)
    if mask is None:
        return
    curve = np.array([[0.0, 1.0]], "<f4")
    named = (("dflatfield-1.0", np.ones(mask.shape, "<f4")), ("dpixelmask-1.0", mask), ("dcountrate_table-1.0", curve))
    for name, table in named:
        yield _json(htype=name, shape=list(table.shape[::-1]), type=table.dtype.name)
        yield table.tobytes()
