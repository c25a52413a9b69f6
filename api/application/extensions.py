"""Importing this module makes presets accept settings and data terms of extensions; these are loaded on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptylive.schema.preset import Preset
from ptylive.schema.preset.added import provided_by
from ptylive.schema.preset.start import read_by

__all__ = ["Preset", "declare_extensions"]


def declare_extensions() -> None:
    """Load regularisers and data terms, once, so that they declare their additions to the preset."""
    from ptylive.engine.refine.data_terms.registry import python_terms
    from ptylive.engine.refine.regularisers.registry import registered

    registered()
    python_terms()


def read_map_settings(values: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Split values into settings of maps and the others. Raises MetadataError."""
    from ptylive.engine.imaging.registry import read_settings

    return read_settings(values)


provided_by(declare_extensions)
read_by(read_map_settings)
