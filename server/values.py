"""What people type after ``--set`` and ``ptylive call``: KEY=VALUE."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ptylive.schema import MetadataError


def parse_assignments(items: Iterable[str]) -> dict[str, Any]:
    """{key: value} of KEY=VALUE texts. Raises MetadataError for one without an equals sign."""
    out: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise MetadataError(f"{item!r} is not KEY=VALUE", "write for example --set energy_eV=80e3")
        out[key.strip()] = parse_value(value.strip())
    return out


def parse_value(text: str) -> Any:
    """A number, true, false, null, a list (``64,64``) or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    if "," in text and "(" not in text:  # min(1, epoch) is one expression
        return [parse_value(part.strip()) for part in text.split(",")]
    return text
