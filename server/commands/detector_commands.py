"""Active mode: the commands that drive a DECTRIS detector (docs/protocol.md). Passive mode needs none of this."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ptylive.schema import CommandError, PtyliveError
from ptylive.server.process.config import ServerConfig
from ptylive.server.wire.publisher import Publisher
from ptylive.streamer.protocols.simplon import INTERNAL_TRIGGERS, Simplon


class DetectorCommands:
    """Commands `arm`, `trigger`, `disarm` of the control protocol, for the detector at ``detector_api``."""

    def __init__(self, config: ServerConfig, publisher: Publisher) -> None:
        self._config = config
        self._publisher = publisher

    def command_arm(
        self, frames: int | None = None, settings: Mapping[str, Any] | None = None, trigger: bool = True
    ) -> dict[str, Any]:
        """Configure the stream and the detector, and arm it; with an internal trigger, start the exposure as well.

        frames: images of the series, one for each trigger; settings: further values in SIMPLON's names.
        """
        detector = self._detector()
        detector.stream("cbor" if self._config.protocol == "dectris-v2" else "legacy")
        wanted = {} if frames is None else {"nimages": 1, "ntrigger": int(frames)}
        detector.configure({**wanted, **(settings or {})})
        series = detector.arm()
        mode = str(detector.get("trigger_mode"))
        if trigger and mode in INTERNAL_TRIGGERS:
            self.command_trigger()
        return {"detector_series": series, "trigger_mode": mode}

    def command_trigger(self) -> dict[str, Any]:
        """Start the exposure; the answer does not wait for its end."""
        threading.Thread(target=self._expose, args=(self._detector(),), name="exposure", daemon=True).start()
        return {}

    def command_disarm(self) -> dict[str, Any]:
        """End the series after the image that is being taken."""
        self._detector().disarm()
        return {}

    def _detector(self) -> Simplon:
        if self._config.detector_api is None:
            raise CommandError("no detector to command: detector_api is not set", "--set detector_api=http://HOST")
        return Simplon(self._config.detector_api)

    def _expose(self, detector: Simplon) -> None:
        try:
            detector.trigger()
        except PtyliveError as error:
            self._publisher.log("error", error.line())
