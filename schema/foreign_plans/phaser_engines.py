"""The list of engines in a plan of phaser, each of a known kind, or a function of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ptylive.schema.errors import MetadataError, brief, did_you_mean
from ptylive.schema.foreign_plans.plan import table_of

ENGINE = "engines"
KINDS = ("conventional", "gradient")
_ALIKE = 0.8


def engines_there(values: Mapping[str, Any]) -> str | None:
    """The name under which a plan has its engines, possibly misspelt."""
    return next(iter(get_close_matches(ENGINE, values, 1, _ALIKE)), None)


def engines_of(values: Mapping[str, Any]) -> list[Any]:
    """Return the engines. Raises MetadataError where there are none, or where a name is misspelt."""
    engine_name = engines_there(values)
    if engine_name not in (None, ENGINE):
        raise MetadataError(f"{engine_name}: phaser has no such parameter", f"did you mean {ENGINE!r}?")
    engines = values.get(ENGINE)
    if not isinstance(engines, list) or not engines:
        raise MetadataError("the plan has no engines", "a plan of phaser lists what it runs")
    for each in engines:
        kind = str(table_of(each, ENGINE).get("type", KINDS[0]))
        if kind not in KINDS and ":" not in kind:
            known = f"known are {', '.join(KINDS)}"
            raise MetadataError(f"{ENGINE}.type: phaser has no type {brief(kind)}", did_you_mean(kind, KINDS, known))
    return engines
