"""The public interface of `import ptylive` as Markdown, from signatures and docstrings: for docs/python.md."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import ptylive

ORDER = (
    "open_scan", "Scan", "reconstruct", "Maps", "refine", "Refined", "Preset", "batch", "tune", "simulate", "plan",
    "connect", "Sender", "LiveEngine",
)  # fmt: skip
"""Order from what most people need to what few do."""


def reference() -> str:
    """A heading for each public name, with signature and docstring; classes with their public members."""
    left = set(ptylive.__all__) - {"__version__"} - set(ORDER)
    if left:
        raise SystemExit(f"give {sorted(left)} a place in tools/python_reference.py")
    return "\n\n".join(_entry(name) for name in ORDER) + "\n"


def _entry(name: str) -> str:
    thing = getattr(ptylive, name)
    lines = [f"## {name}", f"`ptylive.{name}{_signature(thing)}`", _text(thing)]
    if inspect.isclass(thing):
        members = list(_members(thing))
        if members:
            rows = [f"| `{label}` | {_first_sentence(member)} |" for label, member in members]
            lines.append("\n".join(["| member | what it is |", "| --- | --- |", *rows]))
    return "\n\n".join(lines)


def _members(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property) and value.fget is not None:
            yield name, value.fget
        elif inspect.isfunction(value) or isinstance(value, classmethod | staticmethod):
            function = value if inspect.isfunction(value) else value.__func__
            names = [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
            yield f"{name}({', '.join(_argument(one) for one in names)})", function


def _argument(one: inspect.Parameter) -> str:
    """Name of an argument, and its default if short; the docstring explains all of them."""
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    default = "" if one.default is one.empty or not _short(one.default) else f"={one.default!r}"
    return f"{stars}{one.name}{default}"


def _short(default: object) -> bool:
    return default is None or isinstance(default, bool | int | float | str)


def _signature(thing: Any) -> str:
    names = list(inspect.signature(thing).parameters.values())
    if thing is ptylive.Preset:
        return "(**settings)"
    if any(one.name.startswith("_") for one in names) or thing in (ptylive.Maps, ptylive.Refined):
        return ""  # users do not create it directly
    return f"({', '.join(_argument(one) for one in names)})"


def _text(thing: Any) -> str:
    """A docstring as Markdown: its paragraphs, and its examples in a block."""
    paragraphs = []
    for part in (inspect.getdoc(thing) or "").split("\n\n"):
        if part.startswith(">>>"):
            paragraphs.append(f"```python\n{part}\n```")
        else:
            paragraphs.append(_inline(" ".join(part.split())))
    return "\n\n".join(paragraphs)


def _first_sentence(thing: Any) -> str:
    text = _inline(" ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()))
    return text.replace("|", "\\|")


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(r"\bdocs/([\w-]+)\.md", r"[\1](\1.md)", text)
