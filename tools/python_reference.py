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
    exported = getattr(ptylive, name)
    lines = [f"## {name}", f"`ptylive.{name}{_signature(exported)}`", _text(exported)]
    if inspect.isclass(exported):
        members = list(_members(exported))
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
            names = [
                parameter
                for parameter in inspect.signature(function).parameters.values()
                if parameter.name not in ("self", "cls")
            ]
            yield f"{name}({', '.join(_argument(parameter) for parameter in names)})", function


def _argument(parameter: inspect.Parameter) -> str:
    """Name of an argument, and its default if short; the docstring explains all of them."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is parameter.empty or not _short(parameter.default) else f"={parameter.default!r}"
    return f"{stars}{parameter.name}{default}"


def _short(default: object) -> bool:
    return default is None or isinstance(default, bool | int | float | str)


def _signature(exported: Any) -> str:
    names = list(inspect.signature(exported).parameters.values())
    if exported is ptylive.Preset:
        return "(**settings)"
    if exported in (ptylive.Scan, ptylive.Maps, ptylive.Refined):  # users do not create it directly
        return ""
    return f"({', '.join(_argument(parameter) for parameter in names)})"


def _text(documented: Any) -> str:
    """A docstring as Markdown: its paragraphs, and its examples in a block."""
    paragraphs = []
    for part in (inspect.getdoc(documented) or "").split("\n\n"):
        if part.startswith(">>>"):
            paragraphs.append(f"```python\n{part}\n```")
        else:
            paragraphs.append(_inline(" ".join(part.split())))
    return "\n\n".join(paragraphs)


def _first_sentence(documented: Any) -> str:
    text = _inline(" ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split()))
    return text.replace("|", "\\|")


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(r"\bdocs/([\w-]+)\.md", r"[\1](\1.md)", text)
