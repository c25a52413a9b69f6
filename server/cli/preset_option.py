"""``--preset`` of commands that write into a folder: reading the file, and vetting the files it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptylive.application.extensions import Preset
from ptylive.schema.metadata import MASKS
from ptylive.server.cli.output import say

if TYPE_CHECKING:
    from ptylive.application.presets import PresetFile


def preset_file(path: Path | None, folder: Path) -> PresetFile:
    """Read the file given with ``--preset``; arrays of PyPty presets go into ``folder``. Raises MetadataError."""
    from ptylive.application.presets import preset_of

    loaded = preset_of(path, folder)
    for note in loaded.notes:
        say(note)
    return loaded


def looked_through(settings: dict[str, Any]) -> Preset:
    """Make the preset from settings and vet the files it names. Raises MetadataError, InputFileError."""
    from ptylive.application.presets import files_of
    from ptylive.streamer.vetting.whole_file import vet_results

    preset = Preset.from_mapping(settings)
    vet_results(*files_of(preset))
    return preset


def with_masks(preset: Path | None, values: dict[str, Any], output: Path) -> dict[str, Any]:
    """Add the masks of a PyPty preset to given metadata: without them a recording of readings cannot be opened."""
    from ptylive.application.presets import load_preset

    if preset is None or MASKS in values or preset.suffix.lower() in (".toml", ".yaml", ".yml"):
        return values
    masks = load_preset(preset, beside=output, lenient=True).masks
    return values if masks is None else {**values, MASKS: masks}
