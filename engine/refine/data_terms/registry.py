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
    term = python_terms().get(name)
    if term is None:
        raise RefinementError(f"no data term is called {brief(name)}", "is the plug-in that provides it installed?")
    return term


def add(terms: dict[str, PythonTerm], term: PythonTerm) -> None:
    """Register a data term. Raises MetadataError for a name in use, and for an incomplete declaration."""
    built_in = get_args(LossSettings.model_fields["algorithm"].annotation)
    if not isinstance(term.name, str) or not _NAME.fullmatch(term.name):
        raise MetadataError(f"{brief(term.name)} is not a valid name for a data term", "letters, digits and _ only")
    if term.name in built_in or term.name in terms:
        raise MetadataError(f"the name {term.name} is already used", "give it another")
    if not callable(term.compare) or not callable(term.curvature):
        raise MetadataError(f"{term.name} needs two functions: the term itself, and its curvature", "give both")
    if term.pixel is not None and not callable(term.pixel):
        raise MetadataError(f"{term.name}: pixel = {brief(term.pixel)}", "give a function of one pixel, or none")
    if term.constant not in ("", "loss_offset", "loss_floor"):
        raise MetadataError(f"{term.name}: constant = {brief(term.constant)}", "loss_offset, loss_floor or nothing")
    declare_choice(f"the data term {term.name}", "algorithm", term.name, term.help)
    terms[term.name] = term


def _load(terms: dict[str, PythonTerm]) -> None:
    plugins.register_all(FOLDER, GROUP, MARK, partial(add, terms))


def _provide() -> None:
    python_terms()


provided_by(_provide)
