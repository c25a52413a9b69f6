"""What a batch asks of the maps of its scans: settings for all of them, and virtual detectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptylive.application.offline import method_of
from ptylive.schema.preset.start import StartSettings


def of_the_start(preset: Mapping[str, Any], settings: Mapping[str, float]) -> dict[str, float]:
    """Those of the settings of maps, METHOD.NAME, that are of the map which the refinement of a preset starts from."""
    start_map = preset.get("start_map", StartSettings().start_map)
    method = method_of(str(start_map))
    return {name: value for name, value in settings.items() if name.partition(".")[0] == method}


def from_anywhere(detectors: Mapping[str, str]) -> dict[str, str]:
    """Virtual detectors whose masks are found from any folder: jobs run elsewhere."""
    return {name: str(Path(what).absolute()) if what.endswith(".npy") else what for name, what in detectors.items()}
