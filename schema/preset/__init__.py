"""Presets: the settings of a refinement, one module per subject."""

from ptylive.schema.preset.model import Preset

__all__ = ["Preset"]
