"""Parsing of KEY=VALUE, as typed after ``--set`` and ``ptylive call``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptylive.schema import InputFileError, MetadataError
from ptylive.schema.foreign_plans.spelling import in_our_words
from ptylive.schema.metadata import NAMES, check_given_once, flat_name, locate, typed
from ptylive.schema.plausible import may_be_one_number, takes_one_number, thousands
from ptylive.schema.settings_text import read_json


def parse_assignments(items: Iterable[str]) -> dict[str, Any]:
    """Return {key: value} of KEY=VALUE texts. Raises MetadataError for a text without an equals sign.

    Names of py4DSTEM and PyPty are understood. Metadata are checked, so that an odd value is questioned; a unit stays
    with its value, because the server checks it too.
    A file given for descan_px or distortion is read. Raises InputFileError or MetadataError if it does not contain it.
    """
    out: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise MetadataError(f"{item!r} is not KEY=VALUE", "for example --set energy_eV=80e3")
        out[key.strip()] = _measured(key.strip(), _read(key.strip(), value.strip()))
    out = in_our_words(out)
    for key, typed_in in out.items():
        _look_at(key, typed_in)
    check_given_once(out)
    return out


def _read(key: str, text: str) -> Any:
    """Parse a value; a number with commas between groups of three digits stays as typed, and is questioned later."""
    section, name = locate(key) if _is_metadata(key) else ("", "")
    flat = flat_name(f"{section}.{name}") if section else ""
    questioned = (takes_one_number(flat) and thousands(text)) or may_be_one_number(flat, text)
    return text if questioned else parse_value(text)


def _is_metadata(key: str) -> bool:
    section, _, name = key.rpartition(".")
    return (section, name) in NAMES.values() if section else name in NAMES


def _measured(key: str, value: Any) -> Any:
    """Return the value; for descan and distortion given as a file, the one measured from that file."""
    name = key.rpartition(".")[2]
    if not isinstance(value, str) or name not in ("descan_px", "distortion"):
        return value
    from ptylive.application.analysis.descan_files import descan_of_file
    from ptylive.application.analysis.distortion_files import distortion_of_text

    try:
        return distortion_of_text(value) if name == "distortion" else descan_of_file(Path(value))
    except (InputFileError, MetadataError) as error:
        raise type(error)(f"{name}={value}: {error}", error.hint) from None


def _look_at(key: str, value: Any) -> None:
    if _is_metadata(key):
        typed({key: value})


def parse_value(text: str) -> Any:
    """Parse a number, true, false, null or a list (``64,64``); anything else is returned as text."""
    try:
        return read_json(text, text[:40])
    except ValueError:
        pass
    if "," in text and "(" not in text:  # min(1, epoch) is one expression
        return [parse_value(part.strip()) for part in text.split(",")]
    return text


def names_in(text: str) -> list[str]:
    """Return the names between commas. Raises MetadataError if there are none."""
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise MetadataError(f"{text!r} names nothing", "write names separated by commas")
    return names
