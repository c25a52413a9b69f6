"""Bluesky: frames of a grid scan go to ptylive. Tried with bluesky 1.15 and simulated devices, not at a microscope.

::

    RE = RunEngine()
    RE.subscribe(PtyliveCallback("camera_image", energy_eV=200e3, scan_step_A=0.4))
    RE(grid_scan([camera], y, 0, 1, 64, x, 0, 1, 64))

The images must be in the events. Those that a device writes into files are sent by `ptylive serve --watch FOLDER`.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

import ptylive
from ptylive.schema import Detector, Optics, PtyliveError, Scan, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.streamer.wire import EndMessage

log = logging.getLogger(__name__)


class PtyliveCallback:
    """Sends every run that has images in the field ``image``: runs of a grid as a map, others as a line.

    metadata: what is known of the microscope (docs/conventions.md). A server that is away costs the maps, not the run.
    """

    def __init__(self, image: str, to: str = "tcp://127.0.0.1:9999", **metadata: Any) -> None:
        self.image, self.to, self.metadata = image, to, metadata
        self._sender: ptylive.Sender | None = None
        self._start: dict[str, Any] = {}
        self._header: ScanHeader | None = None
        self._sent = 0

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        """Take a document of a run."""
        try:
            if name == "start":
                self._start, self._header, self._sent = document, None, 0
            elif name == "event" and self.image in document["data"]:
                self._take(document["seq_num"] - 1, np.asarray(document["data"][self.image]))
            elif name == "stop":
                self._end("complete" if document["exit_status"] == "success" else "aborted")
        except (PtyliveError, ValueError) as error:
            log.warning("this run is not sent to ptylive any more: %s", error)
            self._drop()
            self._start = {}

    def _take(self, number: int, image: np.ndarray) -> None:
        if not self._start:
            return
        if self._sender is None:
            self._header = self._header_for(image)
            self._sender = ptylive.Sender(self.to)
            self._sender.arm(self._header)
        self._sender.patterns(number, image[np.newaxis])
        self._sent += 1

    def _header_for(self, image: np.ndarray) -> ScanHeader:
        if image.ndim != 2:
            raise ValueError(f"{self.image} is no image in the event: it has the shape {image.shape}")
        shape = tuple(self._start.get("shape") or (1, self._start.get("num_points") or 1))
        if len(shape) != 2:
            raise ValueError(f"a scan has rows and columns, not the shape {shape}")
        snake = any(self._start.get("snaking") or ())
        scan = Scan(shape=shape, pattern="snake" if snake else "raster")
        detector = Detector(shape=image.shape, dtype=image.dtype.str)
        series = f"{self._start.get('plan_name', 'run')}-{self._start.get('scan_id', 0)}"
        header = ScanHeader(self._start["uid"], series, scan.frames, scan, Optics(), detector)
        return overlay(header, self.metadata)

    def _end(self, reason: str) -> None:
        if self._sender is not None and self._header is not None:
            self._sender.end(EndMessage(self._header.uid, self._sent, reason))
            self._sender.close()
            self._sender = None

    def _drop(self) -> None:
        if self._sender is not None:
            self._sender.close(flush=False)
            self._sender = None
