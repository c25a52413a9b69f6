"""Active mode: commands that drive a DECTRIS or Merlin detector (docs/protocol.md). Passive mode needs none of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ptylive.schema import CommandError, PtyliveError, Scan, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.server.process.config import ServerConfig
from ptylive.server.wire.publisher import Publisher
from ptylive.streamer.protocols.merlin.control import SOFT_TRIGGER, MerlinControl
from ptylive.streamer.protocols.simplon import INTERNAL_TRIGGERS, Simplon


class DetectorCommands:
    """Commands `arm`, `trigger` and `disarm` of the control protocol, for the detector at ``detector_api``."""

    def __init__(self, config: ServerConfig, publisher: Publisher) -> None:
        self._config = config
        self._publisher = publisher

    def command_arm(
        self, frames: int | None = None, settings: Mapping[str, Any] | None = None, trigger: bool = True
    ) -> dict[str, Any]:
        """Configure the stream and the detector, then arm it; with an internal trigger, also start the exposure.

        frames: images of the series, one per trigger; settings: further values under SIMPLON's or Merlin's names.
        """
        if frames is not None and frames < 1:
            raise CommandError(
                f"arm: frames must be a number of images, at least 1, not {frames}", "correct it, or leave it out"
            )
        if (merlin := self._merlin()) is not None:
            return self._arm_merlin(merlin, frames, settings or {}, trigger=trigger)
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
        """Start the exposure and reply without waiting for its end."""
        if (merlin := self._merlin()) is not None:
            merlin.trigger()
            return {}
        threading.Thread(target=self._expose, args=(self._detector(),), name="exposure", daemon=True).start()
        return {}

    def command_disarm(self) -> dict[str, Any]:
        """End the series after the image being taken."""
        (self._merlin() or self._detector()).disarm()
        return {}

    def greet(self) -> None:
        """Log the settings of a Merlin detector, or that its control port cannot be reached."""
        try:
            if (merlin := self._merlin()) is not None:
                known = ", ".join(f"{name} {value}" for name, value in merlin.known().items())
                self._publisher.log("info", f"the Merlin detector at {merlin.address} says: {known or 'nothing'}")
        except PtyliveError as error:
            self._publisher.log("warning", error.line())

    def _merlin(self) -> MerlinControl | None:
        """Return the control port of a Merlin detector, if frames come from one and its address is known."""
        address = self._config.detector_api
        return MerlinControl(address) if self._config.protocol == "merlin" and address is not None else None

    def _arm_merlin(
        self, merlin: MerlinControl, frames: int | None, settings: Mapping[str, Any], *, trigger: bool
    ) -> dict[str, Any]:
        """Arm a Merlin detector, by default for as many frames as the configured scan has."""
        if frames is None and not any(name.upper() == "NUMFRAMESTOACQUIRE" for name in settings):
            header = overlay(ScanHeader("", "", 0, Scan()), {**self._config.defaults, **self._config.overrides})
            frames = header.scan.frames if header.scan.shape is not None else None
        mode = merlin.arm(frames, settings)
        if trigger and mode == SOFT_TRIGGER:
            merlin.trigger()
        return {"frames": frames, "trigger_mode": mode}

    def _detector(self) -> Simplon:
        if self._config.detector_api is None:
            raise CommandError("no detector to control: detector_api is not set", "--set detector_api=http://HOST")
        return Simplon(self._config.detector_api)

    def _expose(self, detector: Simplon) -> None:
        try:
            detector.trigger()
        except PtyliveError as error:
            self._publisher.log("error", error.line())
