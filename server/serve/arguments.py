"""Check the arguments of a command against the signature of its method.

Commands can rely on their annotations: an error names the argument that does not match and what it should be.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from ptylive.schema import CommandError
from ptylive.schema.errors import brief

DEEPEST = 32
"""Maximum nesting of a request: code that walks through it later may be recursive."""
_REFUSED = object()


def check_form(request: Mapping[Any, Any]) -> None:
    """Raise CommandError for a request that is nested too deeply or has a map whose keys are not strings."""
    level: list[Any] = [request]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                _check_keys(item)
                inner += item.values()
            elif isinstance(item, list | tuple):
                inner += item
        if not inner:
            return
        level = inner
    raise CommandError(f"the request is nested more than {DEEPEST} levels deep", "nest fewer lists and maps")


def _check_keys(plain: Mapping[Any, Any]) -> None:
    for key in plain:
        if not isinstance(key, str):
            raise CommandError(f"a map has the key {brief(key)}", "keys must be text")


def checked(command: str, method: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for a method, each of its annotated type; None stands for a default.

    Raises CommandError naming the first argument that is unknown, missing or of another type.
    """
    wanted = _wanted(getattr(method, "__func__", method))
    for name in arguments:
        if name not in wanted:
            raise CommandError(
                f"{command} has no argument {brief(name)}", f"its arguments are: {', '.join(wanted) or 'none'}"
            )
    fitting: dict[str, Any] = {}
    for name, (kind, optional, required) in wanted.items():
        value = arguments.get(name)
        if value is None and (optional or not required):
            if name in arguments and optional:
                fitting[name] = None
            continue
        if name not in arguments:
            raise CommandError(
                f"{command} needs {name}, {_WORDS[kind]}", "see the table of commands in docs/protocol.md"
            )
        fitting[name] = _FITTING[kind](value)
        if fitting[name] is _REFUSED:
            raise CommandError(f"{command}: {name} must be {_WORDS[kind]}, not {brief(value)}", "correct it")
    return fitting


@cache
def _wanted(function: Callable[..., Any]) -> dict[str, tuple[Any, bool, bool]]:
    """Return name of each argument -> its type, whether it may be None, whether it is required."""
    hints = get_type_hints(function)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        kind, choices = hints[name], get_args(hints[name])
        optional = NoneType in choices
        if optional:
            (kind,) = (choice for choice in choices if choice is not NoneType)
        found[name] = kind, optional, parameter.default is parameter.empty
    return found


def _text(value: Any) -> Any:
    """Accept numbers too: a name that was typed may look like a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else _REFUSED


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else _REFUSED


def _number(value: Any) -> Any:
    ordinary = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if ordinary else _REFUSED


def _whole(value: Any) -> Any:
    number = _number(value)
    return _REFUSED if number is _REFUSED or number != int(number) else int(value)


def _map(value: Any) -> Any:
    return value if isinstance(value, dict) else _REFUSED


def _list_of(read_item: Callable[[Any], Any], *, or_one: bool = False) -> Callable[[Any], Any]:
    def fitting(value: Any) -> Any:
        if or_one and isinstance(value, str):  # otherwise its letters would be taken for names
            return [value]
        if not isinstance(value, list | tuple):
            return _REFUSED
        found = [read_item(inner) for inner in value]
        return _REFUSED if any(inner is _REFUSED for inner in found) else found

    return fitting


_FITTING: Mapping[Any, Callable[[Any], Any]] = {
    str: _text,
    bool: _flag,
    int: _whole,
    float: _number,
    Mapping[str, Any]: _map,
    Iterable[str]: _list_of(_text, or_one=True),
    Iterable[float]: _list_of(_number),
    Iterable[Mapping[str, Any]]: _list_of(_map),
}
_WORDS: Mapping[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    Mapping[str, Any]: "a map of names to values",
    Iterable[str]: "a list of names",
    Iterable[float]: "a list of finite numbers",
    Iterable[Mapping[str, Any]]: "a list of maps",
}
