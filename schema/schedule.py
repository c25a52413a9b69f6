"""Values that follow the epoch, written as small expressions: ``0.1 if epoch < 20 else 0``.

The grammar: numbers, True, False, inf; the variable ``epoch`` (epochs finished, 0 in the first one); + - * / // % **;
comparisons; and, or, not; ``a if condition else b``; min, max, abs, exp, log, sqrt. PyPty's spelling ``lambda x: x % 10
== 0`` is accepted too, with the lambda's own variable. Text is parsed, never evaluated as code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ptylive.schema.errors import MetadataError

VARIABLE = "epoch"
LONGEST = 500
"""Characters of an expression."""
DEEPEST = 50
"""Levels of nesting."""
LARGEST_POWER = 64.0

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
        ast.Pow: operator.pow,
    }
)
_COMPARED: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = MappingProxyType(
    {
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
    }
)
_FUNCTIONS: Mapping[str, Callable[..., float]] = MappingProxyType(
    {"min": min, "max": max, "abs": abs, "exp": math.exp, "log": math.log, "sqrt": math.sqrt}
)
_CONSTANTS: Mapping[str, float] = MappingProxyType({"inf": math.inf})
_ONE_ARGUMENT = ("abs", "exp", "log", "sqrt")
_GRAMMAR = "numbers, epoch, + - * / // % **, comparisons, and or not, a if b else c, min max abs exp log sqrt"


@dataclass(frozen=True)
class Schedule:
    """A value for every epoch. Equal texts are equal schedules."""

    text: str
    """The expression in the variable ``epoch``."""
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Parse an expression, or PyPty's ``lambda x: …``. Raises MetadataError naming anything outside the grammar."""
        tree = expression_in_epoch(text)
        _check(tree, text, 0)
        return cls(ast.unparse(tree), tree)

    def at(self, epoch: int) -> float:
        """Return the value in an epoch, conditions as 1 and 0. Raises MetadataError if undefined (log of 0, 1 / 0)."""
        try:
            value = _value(self._tree, float(epoch))
        except (ArithmeticError, ValueError) as error:
            raise MetadataError(f"schedule {self.text!r} has no value in epoch {epoch}: {error}", "change it") from None
        if math.isnan(value):
            raise MetadataError(f"schedule {self.text!r} has no value in epoch {epoch}", "change it")
        return float(value)

    @property
    def constant(self) -> bool:
        """Whether it does not depend on the epoch."""
        return not any(isinstance(node, ast.Name) and node.id == VARIABLE for node in ast.walk(self._tree))

    def __str__(self) -> str:
        return self.text


def expression_in_epoch(text: str) -> ast.expr:
    """The tree of an expression or of the body of PyPty's ``lambda x: …``, not checked yet. Raises MetadataError."""
    if len(text) > LONGEST:
        raise MetadataError(f"schedule of {len(text)} characters", f"at most {LONGEST}")
    try:
        tree = ast.parse(text.strip().rstrip(";"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise MetadataError(f"schedule {text!r} is not an expression", f"use {_GRAMMAR}") from None
    return _body(tree, text) if isinstance(tree, ast.Lambda) else tree


def _body(tree: ast.Lambda, text: str) -> ast.expr:
    """The body of ``lambda x: …`` with its one variable renamed to ``epoch``."""
    arguments = tree.args
    if len(arguments.args) != 1 or ast.unparse(arguments) != arguments.args[0].arg:
        raise MetadataError(f"schedule {text!r}: a lambda must have exactly one variable", "write lambda x: …")
    variable = arguments.args[0].arg
    for node in ast.walk(tree.body):
        if isinstance(node, ast.Name) and node.id == variable:
            node.id = VARIABLE
    return tree.body


def _check(node: ast.AST, text: str, depth: int) -> None:
    """Refuse everything outside the grammar."""
    if depth > DEEPEST:
        raise MetadataError(f"schedule {text!r} is nested too deeply", "simplify it")
    if not _allowed(node):
        raise MetadataError(f"schedule {text!r}: {ast.unparse(node)!r} is not allowed", f"use {_GRAMMAR}")
    children = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
    for child in children:
        if isinstance(child, ast.expr):
            _check(child, text, depth + 1)


def _allowed(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, bool | int | float) and abs(value) < 1e300
        case ast.Name(id=name):
            return name == VARIABLE or name in _CONSTANTS
        case ast.UnaryOp(op=op):
            return isinstance(op, ast.USub | ast.UAdd | ast.Not)
        case ast.BinOp(op=op):
            return type(op) in _BINARY
        case ast.Compare(ops=ops):
            return all(type(op) in _COMPARED for op in ops)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return name in _FUNCTIONS and (len(args) == 1 if name in _ONE_ARGUMENT else len(args) >= 2)
        case _:
            return isinstance(node, ast.BoolOp | ast.IfExp)


def _value(node: ast.expr, epoch: float) -> float:
    """Evaluate a checked expression; ``and``, ``or`` and ``if`` evaluate only what decides, as in Python."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return epoch if name == VARIABLE else _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand):
            inner = _value(operand, epoch)
            return float(not inner) if isinstance(op, ast.Not) else -inner if isinstance(op, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(op, _value(left, epoch), _value(right, epoch))
        case ast.BoolOp(op=op, values=values):
            decides = any if isinstance(op, ast.Or) else all
            return float(decides(bool(_value(value, epoch)) for value in values))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, epoch) else orelse, epoch)
        case ast.Compare():
            return _comparison(node, epoch)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_value(arg, epoch) for arg in args))
    raise AssertionError(f"unchecked expression {ast.dump(node)}")


def _binary(op: ast.operator, left: float, right: float) -> float:
    if isinstance(op, ast.Pow) and abs(right) > LARGEST_POWER:
        raise OverflowError(f"powers up to {LARGEST_POWER:.0f} only")
    value = _BINARY[type(op)](left, right)
    if isinstance(value, complex):
        raise ValueError(f"{left:g} ** {right:g} is not a real number")
    return value


def _comparison(node: ast.Compare, epoch: float) -> float:
    left = _value(node.left, epoch)
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = _value(comparator, epoch)
        if not _COMPARED[type(op)](left, right):
            return 0.0
        left = right
    return 1.0
