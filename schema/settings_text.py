"""Settings as text (TOML, JSON), read in bounded time whatever they hold."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from ptylive.schema.errors import MetadataError

MAX_TOML = 2 * 2**20
"""Characters of a TOML file."""
MAX_DOTS = 32
"""Parts of a dotted key: the parser's time grows with their square."""
_KEY = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-]){_KEY}(?:[ \t]*+\.[ \t]*+{_KEY}){{{MAX_DOTS}}}")


def read_toml(text: str, name: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises MetadataError for what is none, or is larger than settings are."""
    if len(text) > MAX_TOML:
        raise MetadataError(f"{name} has {len(text)} characters: at most {MAX_TOML}", "is it another file?")
    if _LONG_KEY.search(text):
        raise MetadataError(f"{name} has a key of more than {MAX_DOTS} parts", "correct the TOML")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise MetadataError(f"{name} is nested too deeply", "correct the TOML") from None
    except ValueError as error:  # also numbers of too many digits
        raise MetadataError(f"{name}: {_first_line(error)}", "correct the TOML") from None


def read_json(text: str, name: str) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, MetadataError for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise MetadataError(f"{name} is nested too deeply", "correct the JSON") from None


def as_table(value: Any, name: str) -> dict[str, Any]:
    """A section of settings. Raises MetadataError for what is no table."""
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else repr(value)[:40]
        raise MetadataError(f"{name} is {kind}", f"write it as a table: [{name}] and lines NAME = VALUE")
    return value


def _first_line(error: ValueError) -> str:
    return (str(error).splitlines() or [""])[0][:200]
