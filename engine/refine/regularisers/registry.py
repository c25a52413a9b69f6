"""Registry of regularisers: those of this folder and its subfolders, found automatically, and those of plug-ins.

Plug-ins declare theirs as entry points of the group ``ptylive.regularisers``. All are loaded once, on first use by a
refinement or a listing of settings; the settings they add are then passed to the preset.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

from ptylive.engine import plugins
from ptylive.engine.refine.regularisers.registration import MARK, Registration
from ptylive.schema.errors import MetadataError
from ptylive.schema.preset.added import declare, declared, provided_by
from ptylive.schema.preset.model import reserved_names
from ptylive.schema.preset.regularisers import RegulariserSettings

GROUP = "ptylive.regularisers"
FOLDER = "ptylive.engine.refine.regularisers"


@dataclass
class _Known:
    by_name: dict[str, Registration] | None = None


_known = _Known()
_lock = threading.RLock()


def registered() -> tuple[Registration, ...]:
    """All regularisers, in the order in which they are applied."""
    with _lock:
        if _known.by_name is None:
            _known.by_name = {}  # for calls by a plug-in while it loads
            _load(_known.by_name)
        return tuple(sorted(_known.by_name.values(), key=lambda each: (each.order, each.name)))


def switched_on(settings: RegulariserSettings) -> frozenset[str]:
    """Settings that switch regularisers on, and are on in an epoch."""
    return frozenset(name for each in registered() for name in each.switches if settings.value(name))


def add(into: dict[str, Registration], found: Registration) -> None:
    """Register a regulariser. Raises MetadataError for a name or setting in use, and for an incomplete declaration."""
    if found.name in into:
        raise MetadataError(f"the name {found.name} is already used", "give it another")
    if found.kind == "projection" and found.acts_on == "parameters":
        raise MetadataError(f"{found.name}: projections change object or probe", "choose one")
    if found.kind == "held" and found.acts_on != "parameters":
        raise MetadataError(f"{found.name}: a constraint that is held acts on parameters", "set acts_on='parameters'")
    if found.kind == "penalty" and found.acts_on == "both":
        raise MetadataError(
            f"{found.name}: a penalty acts on object or probe", "choose one, or set acts_on='parameters'"
        )
    if found.missing:
        raise MetadataError(f"{found.name} has no {' and no '.join(found.missing)}", "see docs/extensions.md")
    known = {setting.name for setting in found.settings} | declared(ask=False).keys()
    if not found.switches or not set(found.switches) <= known | RegulariserSettings.model_fields.keys():
        raise MetadataError(f"{found.name} has no setting that turns it on", "declare its weight")
    declare(f"the regulariser {found.name}", found.settings, taken=reserved_names())
    into[found.name] = found


def _load(into: dict[str, Registration]) -> None:
    plugins.register_all(FOLDER, GROUP, MARK, partial(add, into))


def _provide() -> None:
    registered()


provided_by(_provide)
