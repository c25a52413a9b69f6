"""A scan of a script as its steps see it: opened anew for each of them, under the metadata that the script gave."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptylive.application.offline import Reconstruction
    from ptylive.application.presets import PresetFile
    from ptylive.application.tilt_series import RecordedScan
    from ptylive.schema import LiveMap
    from ptylive.schema.preset.start import StartSettings
    from ptylive.streamer.source import FileSource

log = logging.getLogger("ptylive.scans")


@dataclass(frozen=True)
class ScanAccess:
    """How a recording or patterns in memory are opened, with the metadata that apply to them."""

    open: Callable[..., AbstractContextManager[FileSource]]
    values: Mapping[str, Any] = field(default_factory=dict)
    starts: dict[tuple[Any, ...], Reconstruction] = field(default_factory=dict)
    """Maps from which refinements started, by their settings: each is made once."""

    def described_by(self, loaded: PresetFile) -> ScanAccess:
        """The scan with what a preset file says of the experiment."""
        if not (loaded.metadata or loaded.corrections):
            return self
        with self.open() as source:
            values = loaded.described(source.header, self.values)
        return ScanAccess(partial(self.open, values=values), values)

    def start(self, settings: StartSettings) -> Reconstruction:
        """The map from which a refinement starts; logs the reason if it cannot be made."""
        from ptylive.application.offline import MapRequest, reconstruct_source

        key = (name := settings.start_map, *sorted(settings.map_settings.items()))
        if key not in self.starts:
            with self.open() as source:
                request = MapRequest(settings=settings.map_settings)
                self.starts[key] = reconstruct_source(source, self.values, [name], request)
        made = self.starts[key]
        if map_named(made, name) is None:
            reasons = "; ".join(made.rendering.missing.values())
            log.warning("%s was not made, so the object starts empty: %s", name, reasons)
        return made

    def beside(self, first: RecordedScan, settings: StartSettings, opened: ExitStack) -> RecordedScan:
        """One of several scans: this one, with its file open as long as ``opened`` is."""
        from ptylive.application.tilt_series import RecordedScan

        source, made = opened.enter_context(self.open()), self.start(settings)
        return RecordedScan.beside(first, source, made.calibration, map_named(made, settings.start_map))


def map_named(made: Reconstruction, name: str) -> LiveMap | None:
    """The map of that name, None if it was not made."""
    return next((live_map for live_map in made.rendering.maps if live_map.name == name), None)
