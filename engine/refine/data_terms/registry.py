"""Registry of data terms that are Python functions: those of this folder, found automatically, and of plug-ins.

Plug-ins declare theirs as entry points of the group ``ptylive.data_terms``. All are loaded once, on first use by a
refinement or a listing of settings; from then on the preset's ``algorithm`` accepts their names.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import partial
from typing import get_args

from ptylive.engine import plugins
from ptylive.engine.backend.multislice.problem import PythonTerm
from ptylive.engine.refine.data_terms.registration import MARK
from ptylive.schema.errors import MetadataError, RefinementError, brief
from ptylive.schema.preset.added import declare_choice, provided_by
from ptylive.schema.preset.loss import LossSettings

GROUP = "ptylive.data_terms"
FOLDER = "ptylive.engine.refine.data_terms"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,59}")


@dataclass
class _Known:
    by_name: dict[str, PythonTerm] | None = None


_known = _Known()
_lock = threading.RLock()


def python_terms() -> dict[str, PythonTerm]:
    """All data terms by name."""
    with _lock:
        if _known.by_name is None:
            _known.by_name = {}  # for calls by a plug-in while it loads
            _load(_known.by_name)
        return dict(_known.by_name)


def python_term(name: str) -> PythonTerm:
    """Return a data term by name. Raises RefinementError for an unknown name."""
    found = python_terms().get(name)
    if found is None:
        raise RefinementError(f"no data term is called {brief(name)}", "is the plug-in that provides it installed?")
    return found


def add(into: dict[str, PythonTerm], found: PythonTerm) -> None:
    """Register a data term. Raises MetadataError for a name in use, and for an incomplete declaration."""
    own = get_args(LossSettings.model_fields["algorithm"].annotation)
    if not isinstance(found.name, str) or not _NAME.fullmatch(found.name):
        raise MetadataError(f"{brief(found.name)} is not a valid name for a data term", "letters, digits and _ only")
    if found.name in own or found.name in into:
        raise MetadataError(f"the name {found.name} is already used", "give it another")
    if not callable(found.compare) or not callable(found.curvature):
        raise MetadataError(f"{found.name} needs two functions: the term itself, and its curvature", "give both")
    if found.pixel is not None and not callable(found.pixel):
        raise MetadataError(f"{found.name}: pixel = {brief(found.pixel)}", "give a function of one pixel, or none")
    if found.constant not in ("", "loss_offset", "loss_floor"):
        raise MetadataError(f"{found.name}: constant = {brief(found.constant)}", "loss_offset, loss_floor or nothing")
    declare_choice(f"the data term {found.name}", "algorithm", found.name, found.help)
    into[found.name] = found


def _load(into: dict[str, PythonTerm]) -> None:
    plugins.register_all(FOLDER, GROUP, MARK, partial(add, into))


def _provide() -> None:
    python_terms()


provided_by(_provide)
