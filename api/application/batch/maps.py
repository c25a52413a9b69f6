"""Options of a batch for the maps of its scans: common settings, and virtual detectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptylive.application.offline import method_of
from ptylive.schema.errors import MetadataError, brief
from ptylive.schema.preset.start import StartSettings


def start_map_settings(preset: Mapping[str, Any], settings: Mapping[str, float]) -> dict[str, float]:
    """Settings (METHOD.NAME) of the map from which the refinement of a preset starts."""
    start_map = preset.get("start_map", StartSettings().start_map)
    method = method_of(str(start_map))
    return {name: value for name, value in settings.items() if name.partition(".")[0] == method}


def with_absolute_masks(detectors: Mapping[str, object]) -> dict[str, str]:
    """Virtual detectors with mask paths that are valid from any folder, because jobs run elsewhere.

    Raises MetadataError for one that is not text.
    """
    texts = {name: text for name, text in detectors.items() if isinstance(text, str)}
    for name in detectors.keys() - texts:
        problem = f"detectors: {brief(name)} is not text but of type {type(detectors[name]).__name__}"
        raise MetadataError(problem, 'write it, as "ring:60mrad,200mrad"; save weights with numpy.save, as "mask.npy"')
    return {name: str(Path(text).absolute()) if text.endswith(".npy") else text for name, text in texts.items()}
