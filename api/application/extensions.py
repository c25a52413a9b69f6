"""Whoever imports this has settings and data terms of extensions accepted by presets; they load when asked for."""

from __future__ import annotations

from ptylive.schema.preset import Preset
from ptylive.schema.preset.added import provided_by

__all__ = ["Preset", "declare_extensions"]


def declare_extensions() -> None:
    """Load regularisers and data terms, once, and have them declare what they add to the preset."""
    from ptylive.engine.refine.data_terms.registry import python_terms
    from ptylive.engine.refine.regularisers.registry import registered

    registered()
    python_terms()


provided_by(declare_extensions)
