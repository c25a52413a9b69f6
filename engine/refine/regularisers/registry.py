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


def add(registrations: dict[str, Registration], registration: Registration) -> None:
    """Register a regulariser. Raises MetadataError for a name or setting in use, and for an incomplete declaration."""
    if registration.name in registrations:
        raise MetadataError(f"the name {registration.name} is already used", "give it another")
    if registration.kind == "projection" and registration.acts_on == "parameters":
        raise MetadataError(f"{registration.name}: projections change object or probe", "choose one")
    if registration.kind == "held" and registration.acts_on != "parameters":
        raise MetadataError(
            f"{registration.name}: a constraint that is held acts on parameters", "set acts_on='parameters'"
        )
    if registration.kind == "penalty" and registration.acts_on == "both":
        raise MetadataError(
            f"{registration.name}: a penalty acts on object or probe", "choose one, or set acts_on='parameters'"
        )
    if registration.missing:
        raise MetadataError(
            f"{registration.name} has no {' and no '.join(registration.missing)}", "see docs/extensions.md"
        )
    names = {setting.name for setting in registration.settings} | declared(ask=False).keys()
    if not registration.switches or not set(registration.switches) <= names | RegulariserSettings.model_fields.keys():
        raise MetadataError(f"{registration.name} has no setting that turns it on", "declare its weight")
    declare(f"the regulariser {registration.name}", registration.settings, taken=reserved_names())
    registrations[registration.name] = registration


def _load(registrations: dict[str, Registration]) -> None:
    plugins.register_all(FOLDER, GROUP, MARK, partial(add, registrations))


def _provide() -> None:
    registered()


provided_by(_provide)
