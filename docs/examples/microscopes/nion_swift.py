"""Nion Swift: a 4D acquisition goes to ptylive while it runs. Tried with Nion's test instrument, not at a microscope.

Run it in Swift (Window, Run Script), or import it in the console and call :func:`acquire`. The scan has the size and
the field of view of the scan panel, the camera the settings of its panel.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nion.instrumentation import Acquisition
from nion.utils import Registry

import ptylive
from ptylive.schema import Detector, Optics, PtyliveError, Scan, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.streamer.wire import EndMessage

log = logging.getLogger(__name__)
TO = "tcp://127.0.0.1:9999"
METADATA = {"convergence_semiangle_mrad": 30.0}
"""What the instrument does not say (docs/conventions.md)."""


class FramesToPtylive(Acquisition.DataAndMetadataDataChannel):
    """Keeps what is acquired, as Swift does, and sends the frames of a camera on their way.

    A server that is away costs the maps, not the acquisition.
    """

    def __init__(self, sender: ptylive.Sender, camera_id: str, known: Mapping[str, Any]) -> None:
        super().__init__()
        self.header: ScanHeader | None = None
        self.sent = 0
        self._sender: ptylive.Sender | None = sender
        self._camera_id, self._known = camera_id, known

    def update_data(
        self, channel: Any, source_data: Any, source_slice: Any, dest_slice: slice, data_metadata: Any
    ) -> None:
        """Called by Swift from time to time, with the frames that have come."""
        super().update_data(channel, source_data, source_slice, dest_slice, data_metadata)
        if channel.segments[0] != self._camera_id or self._sender is None:
            return
        shape = tuple(data_metadata.data_shape)  # rows, columns, Qy, Qx
        frames = np.asarray(source_data[source_slice]).reshape(-1, *shape[2:])
        try:
            if self.header is None:
                known = {**steps(data_metadata.dimensional_calibrations), **self._known}
                self.header = header_of(shape, frames.dtype, known)
                self._sender.arm(self.header)
            self._sender.patterns(dest_slice.start // frames[0].size, frames)
            self.sent += len(frames)
        except (PtyliveError, ValueError) as error:
            log.warning("this acquisition is not sent to ptylive any more: %s", error)
            self._sender = None

    def end(self, *, complete: bool) -> None:
        """Tell the server that the scan is over."""
        if self._sender is not None and self.header is not None:
            self._sender.end(EndMessage(self.header.uid, self.sent, "complete" if complete else "aborted"))


def acquire(to: str = TO, **metadata: Any) -> Any:
    """Acquire a scan with the settings of the panels, and send it; what Swift's grab_synchronized returns.

    metadata: by the names of docs/conventions.md, over METADATA and over what the instrument says.
    """
    stem = Registry.get_component("stem_controller")
    scan, camera = stem.scan_controller, stem.ronchigram_camera
    scan_parameters, camera_parameters = scan.get_current_frame_parameters(), camera.get_current_frame_parameters()
    camera_parameters.processing = None  # whole frames
    known = {"energy_eV": float(stem.GetVal("EHT")), **METADATA, **metadata}
    with ptylive.Sender(to) as sender:
        channel = FramesToPtylive(sender, camera.hardware_source_id, known)
        done = scan.grab_synchronized(
            scan_frame_parameters=scan_parameters,
            camera=camera,
            camera_frame_parameters=camera_parameters,
            data_channel=channel,
        )
        channel.end(complete=done is not None)
    return done


def steps(calibrations: Sequence[Any]) -> dict[str, Any]:
    """Distance of the points (row, col), Å, where Swift's calibrations of a data set say it in nm."""
    if [one.units for one in calibrations[:2]] != ["nm", "nm"]:
        return {}
    return {"scan_step_A": [10.0 * float(one.scale) for one in calibrations[:2]]}


def header_of(shape: tuple[int, ...], dtype: np.dtype[Any], known: Mapping[str, Any]) -> ScanHeader:
    """The scan of a 4D data set of that shape. Raises MetadataError for what cannot be."""
    scan, detector = Scan(shape=shape[:2]), Detector(shape=shape[2:], dtype=dtype.str)
    return overlay(ScanHeader(str(uuid.uuid4()), "swift", scan.frames, scan, Optics(), detector), known)


if __name__ == "__main__":
    acquire()
