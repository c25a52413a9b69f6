"""PyPty presets as text: JSON, or the Python in which they are written, read without running any of it.

Only a subset of Python is supported: assignments of plain values, lists, dictionaries (also ``dict(…)``), lambdas (kept
as text), ``np.array`` of lists, ``np.ones``, ``np.zeros``, ``np.linspace``, ``np.arange``, ``range``, PyPty's own
helpers, ``np.inf``, ``np.pi``, arithmetic of numbers, and previously assigned names. Other statements are ignored and
their lines reported; a value of another kind is an error that names its line.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ptylive.schema.errors import MetadataError
from ptylive.schema.pypty.helpers import HELPERS, called
from ptylive.schema.settings_text import read_json

LARGEST = 64 * 2**20
"""Characters of a preset as JSON."""
LARGEST_SCRIPT = 2 * 2**20
"""Characters of a preset as Python: its syntax tree takes some hundred times as many bytes."""
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = MappingProxyType(
    {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
)
_CONSTANTS: Mapping[str, float] = MappingProxyType({"inf": math.inf, "pi": math.pi, "nan": math.nan})
_FILLED: Mapping[str, float] = MappingProxyType({"ones": 1.0, "zeros": 0.0})
MOST_FILLED, MOST_AXES = 2**20, 4
"""Numbers and axes of an array that is filled with one value."""
_MODULES = ("np", "numpy", "cp", "cupy", "math")
_ARRAY_MAKERS = ("array", "asarray", "float", "int", "list", "tuple")


@dataclass
class Parsed:
    """Parameters of a preset, and the statements that were left unread."""

    values: dict[str, Any] = field(default_factory=dict)
    unread: list[int] = field(default_factory=list)
    """Their first lines."""
    is_script: bool = False
    """Whether it was Python: presets of this program never are."""


def parse_text(text: str, name: str) -> Parsed:
    """Parse parameters from JSON or Python text; all dictionaries of a script are merged. Raises MetadataError."""
    if len(text) > LARGEST:
        raise MetadataError(f"{name} is too large for a preset", "leave arrays out, and keep them in npy files")
    try:
        loaded = read_json(text, name)
    except ValueError:
        return _parse_python(text, name)
    if not isinstance(loaded, dict):
        raise MetadataError(f"{name} holds no parameters", "a preset is one JSON object")
    return Parsed({str(key): value for key, value in loaded.items()})


def _parse_python(text: str, name: str) -> Parsed:
    if len(text) > LARGEST_SCRIPT:
        raise MetadataError(f"{name} is not JSON, and too large to be read as Python", "save the preset as JSON")
    try:
        before = text[: len(text) - len(text.lstrip())].count("\n")  # kept, so that lines have their numbers
        module = ast.parse("\n" * before + text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        number = error.lineno if isinstance(error, SyntaxError) else None  # a null byte is on no line
        line = f", line {number}" if number else ""
        raise MetadataError(f"{name}{line}: neither JSON nor Python", "save the preset as JSON") from None
    reader = _Reader(name)
    try:
        for statement in module.body:
            reader.take(statement)
    except RecursionError:
        raise MetadataError(f"{name} is nested too deeply", "save the preset as JSON") from None
    if not reader.parsed.values:
        raise MetadataError(
            f"{name} does not hold a dictionary of parameters", "write pypty_params = {…}, or save it as JSON"
        )
    reader.parsed.is_script = True
    return reader.parsed


class _Reader:
    """Reads the statements of a script."""

    def __init__(self, name: str) -> None:
        self.parsed = Parsed()
        self._name = name
        self._known: dict[str, Any] = {}

    def take(self, statement: ast.stmt) -> None:
        """Read a dictionary, an entry of one, or a plain name; anything else is left unread."""
        match statement:
            case ast.Expr(value=ast.Dict() as value):
                self.parsed.values.update(self._dictionary(value))
            case (
                ast.Expr(value=ast.Call() as call) | ast.Assign(targets=[ast.Name(id=_)], value=ast.Call() as call)
            ) if _helper(call.func):
                self.parsed.values.update(self._called(call))
            case ast.Assign(targets=[ast.Name(id=_)], value=ast.Dict() | ast.Call(func=ast.Name(id="dict")) as value):
                self.parsed.values.update(self._dictionary(value))
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str() as key))], value=value):
                self.parsed.values[key] = self._value(value)
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                try:
                    self._known[target] = self._value(value)
                except MetadataError:
                    self.parsed.unread.append(statement.lineno)
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                pass  # modules and comments set no parameter
            case _:
                self.parsed.unread.append(statement.lineno)

    def _dictionary(self, node: ast.expr) -> dict[str, Any]:
        if isinstance(node, ast.Call):
            return {word.arg: self._value(word.value) for word in node.keywords if word.arg is not None}
        assert isinstance(node, ast.Dict)  # noqa: S101  (the callers match nothing else)
        found = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                raise self._refusal(value, "a key that is not text")
            found[key.value] = self._value(value)
        return found

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item) for item in items]
            case ast.Dict():
                return self._dictionary(node)
            case ast.Lambda():
                return ast.unparse(node)
            case ast.Name(id=name) if name in self._known:
                return self._known[name]
            case ast.Call():
                return self._result(node)
        return self._computed(node)

    def _result(self, node: ast.Call) -> Any:
        """Result of calls that make arrays, and of the helper that returns a list."""
        match node:
            case ast.Call(func=function, args=[first, *_]) if _makes_arrays(function):
                return self._value(first)
            case ast.Call(func=function, args=[shape, *_]) if (filling := _fills(function)) is not None:
                return self._filled(shape, filling)
            case ast.Call(func=function, args=bounds, keywords=[]) if (made := _range(function)) is not None:
                return self._spread(node, made, bounds)
            case ast.Call(func=function) if _helper(function) == "create_sequence_from_points":
                return self._called(node)["sequence"]
        raise self._refusal(node, ast.unparse(node)[:60])

    def _filled(self, node: ast.expr, filling: float) -> Any:
        """``np.ones`` and ``np.zeros`` of a shape."""
        lengths = self._value(node)
        shape = lengths if isinstance(lengths, list) else [lengths]
        whole = all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape)
        if not whole or len(shape) > MOST_AXES or math.prod(shape) > MOST_FILLED:
            raise self._refusal(node, ast.unparse(node)[:60])
        value: Any = filling
        for size in reversed(shape):
            value = [value] * size
        return value

    def _spread(self, node: ast.Call, made: Callable[..., list[Any]], bounds: list[ast.expr]) -> list[Any]:
        """``range``, ``np.arange`` and ``np.linspace``."""
        try:
            return made(*(self._number(bound) for bound in bounds))
        except (TypeError, ValueError, ArithmeticError):
            raise self._refusal(node, ast.unparse(node)[:60]) from None

    def _called(self, call: ast.Call) -> dict[str, Any]:
        """Entries that one of PyPty's helpers would set."""
        words = {word.arg: self._value(word.value) for word in call.keywords if word.arg not in (None, "pypty_params")}
        given = [self._value(argument) for argument in call.args[0 if "pypty_params" in _names(call) else 1 :]]
        return called(_helper(call.func) or "", self.parsed.values, given, {str(key): v for key, v in words.items()})

    def _computed(self, node: ast.expr) -> Any:
        """Result of arithmetic, and names of numpy."""
        match node:
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                number = self._number(operand)
                return -number if isinstance(op, ast.USub) else number
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._combined(node, op, self._number(left), self._number(right))
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in _MODULES:
                return _CONSTANTS.get(name, f"{module}.{name}")
        raise self._refusal(node, ast.unparse(node)[:60])

    def _number(self, node: ast.expr) -> float:
        value = self._value(node)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refusal(node, ast.unparse(node)[:60])
        return value

    def _combined(self, node: ast.expr, op: ast.operator, left: float, right: float) -> float:
        try:
            return float(_ARITHMETIC[type(op)](left, right))
        except ArithmeticError:
            raise self._refusal(node, ast.unparse(node)[:60]) from None

    def _refusal(self, node: ast.expr, expression: str) -> MetadataError:
        return MetadataError(
            f"{self._name}, line {node.lineno}: {expression!r} cannot be read", "write the value directly"
        )


def _helper(function: ast.expr) -> str | None:
    """The name of the called helper; None for any other function."""
    match function:
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in HELPERS:
            return name
    return None


def _names(call: ast.Call) -> list[str | None]:
    return [word.arg for word in call.keywords]


def _fills(function: ast.expr) -> float | None:
    """The value with which ``np.ones`` or ``np.zeros`` fill an array; None for any other function."""
    match function:
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in _MODULES and name in _FILLED:
            return _FILLED[name]
    return None


def _range(function: ast.expr) -> Callable[..., list[Any]] | None:
    """The function that makes the numbers of ``range``, ``np.arange`` or ``np.linspace``; None for any other."""
    match function:
        case ast.Name(id="range") | ast.Attribute(value=ast.Name(id="np" | "numpy" | "cp" | "cupy"), attr="arange"):
            return _arange
        case ast.Attribute(value=ast.Name(id="np" | "numpy" | "cp" | "cupy"), attr="linspace"):
            return _linspace
    return None


def _arange(*bounds: float) -> list[Any]:
    first, last, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    return _few(math.ceil((last - first) / step), lambda number: first + number * step)


def _linspace(first: float, last: float, count: int = 50) -> list[Any]:
    return _few(count, lambda number: first + (last - first) * number / max(count - 1, 1))


def _few(count: int, value: Callable[[int], float]) -> list[Any]:
    """Values of the first ``count`` whole numbers. Raises ValueError for too many."""
    if count > MOST_FILLED:
        raise ValueError
    return [value(number) for number in range(count)]


def _makes_arrays(function: ast.expr) -> bool:
    """Whether a call only wraps the list it is given."""
    match function:
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return module in _MODULES and name in _ARRAY_MAKERS
        case ast.Name(id=name):
            return name in _ARRAY_MAKERS
    return False
