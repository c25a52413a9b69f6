"""YAML restricted to values: no Python tags, no aliases (which can unfold to any size), limited depth."""

from __future__ import annotations

from typing import Any

from ptylive.schema.errors import MetadataError

LARGEST = 2**20
"""Characters."""
DEEPEST = 40
_HINT = "write plain YAML: values, lists and tables"


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """Read the one table of a file. Raises MetadataError: no YAML, no table, too large, too deep, aliases, tags."""
    import yaml

    class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
        """Tracks its depth and refuses aliases."""

        deep = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise MetadataError(f"{name} has aliases (*name)", _HINT)
            self.deep += 1
            if self.deep > DEEPEST:
                raise MetadataError(f"{name} is nested too deeply", _HINT)
            node = super().compose_node(parent, index)
            self.deep -= 1
            return node

    if len(text) > LARGEST:
        raise MetadataError(f"{name} is too large for a file of parameters", "leave arrays out")
    try:
        found = yaml.load(text, Loader=PlainLoader)  # noqa: S506  (a SafeLoader, narrowed)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise MetadataError(f"{name}{line}: {' '.join(str(problem).split())[:200]}", _HINT) from None
    if not isinstance(found, dict):
        raise MetadataError(f"{name} does not hold a table of parameters", _HINT)
    return {str(key): value for key, value in found.items()}
