"""Settings as text (TOML, JSON), read in bounded time whatever they contain."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from ptylive.schema.errors import MetadataError, brief

MAX_TOML = 2 * 2**20
"""Characters of a TOML file."""
MAX_DOTS = 32
"""Parts of a dotted key: the parser's time grows with their square."""
_KEY = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_PLACE = re.compile(r"at line (\d+)")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_BARE_TEXT = re.compile(r"[A-Za-z_~./][^\[\]{}\"'#]*|\d[\d.eE+-]*[ \t]*[A-Za-zÅµ°][^\[\]{}\"'#]*")
_COLON = re.compile(r"\{|[\w-]+[ \t]*:")
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-]){_KEY}(?:[ \t]*+\.[ \t]*+{_KEY}){{{MAX_DOTS}}}")


def read_toml(text: str, name: str) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises MetadataError if it is invalid, or larger than settings are."""
    if len(text) > MAX_TOML:
        raise MetadataError(f"{name} has {len(text)} characters: at most {MAX_TOML}", "is it the right file?")
    if _LONG_KEY.search(text):
        raise MetadataError(f"{name} has a key of more than {MAX_DOTS} parts", "correct the TOML")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise MetadataError(f"{name} is nested too deeply", "correct the TOML") from None
    except ValueError as error:  # also numbers of too many digits
        line = _faulty_line(text, error)
        quoted = f": {brief(line)}" if line else ""
        raise MetadataError(f"{name} is not TOML: {_first_line(error)}{quoted}", _remedy(line, str(error))) from None


def _faulty_line(text: str, error: ValueError) -> str:
    """The line of a TOML text to which a parser error refers; empty where it names none."""
    lines = text.split("\n")
    if "end of document" in str(error):
        return text.strip().split("\n")[-1].strip()
    found = _PLACE.search(str(error))
    return lines[int(found[1]) - 1].strip() if found and int(found[1]) <= len(lines) else ""


def _remedy(line: str, message: str) -> str:
    """Remedy for an invalid line of TOML, for common mistakes."""
    if message.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        return "the same name is given twice: leave one of them out"
    name, equals, value = (part.strip() for part in line.partition("="))
    if equals and _DECIMAL_COMMA.fullmatch(value):
        return f"write a decimal point: {name} = {value.replace(',', '.')}"
    if equals and value.startswith('"') and "\\" in value:
        return f"write a path with backslashes in single quotes: {name} = '{value.strip(chr(34))}'"
    if equals and _BARE_TEXT.fullmatch(value):
        return f'write text in quotes: {name} = "{value}"'
    if not equals and _COLON.match(line):
        return "write NAME = VALUE below a line [TABLE]: this is TOML, not YAML or JSON"
    return "correct the TOML"


def read_json(text: str, name: str) -> Any:
    """Return the value of a JSON text. Raises ValueError for an invalid one, MetadataError for too deep nesting."""
    try:
        return json.loads(text)
    except RecursionError:
        raise MetadataError(f"{name} is nested too deeply", "correct the JSON") from None


def flattened(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten tables: ``[maps.wdd] epsilon`` becomes the same as ``[maps] "wdd.epsilon"``."""
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def as_table(value: Any, name: str) -> dict[str, Any]:
    """Return a section of settings. Raises MetadataError if it is not a table."""
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else repr(value)[:40]
        raise MetadataError(f"{name} is {kind}", f"write it as a table: [{name}] and lines NAME = VALUE")
    return value


def _first_line(error: ValueError) -> str:
    return (str(error).splitlines() or [""])[0][:200]
