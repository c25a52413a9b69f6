"""Words that follow the epoch: ``phase if epoch < 10 else both``, ``'0:100' if epoch < 5 else None``.

The grammar: a word, a text in quotes, None (everything), a list of integers, or range(first, last, step) of expressions
in ``epoch``, joined by ``a if condition else b``; conditions are those of schema/schedule.py. PyPty's ``lambda x: …``
is accepted too, with np.arange for range. Text is parsed, never evaluated as code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from ptylive.schema.errors import MetadataError
from ptylive.schema.schedule import Schedule, expression_in_epoch

EVERYTHING = ":"
_GRAMMAR = "write WORD if CONDITION else WORD; words are names, quoted texts, None, lists of numbers, range(a, b, step)"
_RANGES = ("range", "arange")
_WRAPPERS = ("list", "tuple", "array", "asarray")


@dataclass(frozen=True)
class WordSchedule:
    """A word for every epoch. Equal texts are equal choices."""

    text: str
    """The expression in the variable ``epoch``."""
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> WordSchedule:
        """Parse an expression, or PyPty's ``lambda x: …``. Raises MetadataError naming anything outside the grammar."""
        tree = expression_in_epoch(text)
        for condition, leaf in _parts(tree):
            if condition is not None:
                Schedule.parse(ast.unparse(condition))
            if leaf is not None:
                _word(leaf, 0)
        return cls(ast.unparse(tree), tree)

    def at(self, epoch: int) -> str:
        """Return the word of an epoch; numbers joined by commas, ranges as first:last:step, ``:`` for everything."""
        node = self._tree
        while isinstance(node, ast.IfExp):
            holds = bool(Schedule.parse(ast.unparse(node.test)).at(epoch))
            node = node.body if holds else node.orelse
        return _word(node, epoch)

    @property
    def constant(self) -> bool:
        """Whether it does not depend on the epoch."""
        return not any(isinstance(node, ast.Name) and node.id == "epoch" for node in ast.walk(self._tree))


def looks_like_word_schedule(text: str) -> bool:
    """Whether a text is meant as an expression rather than as a plain word or the name of a file."""
    return " if " in text or "range(" in text or text.lstrip().startswith("lambda")


def _parts(tree: ast.expr) -> Iterator[tuple[ast.expr | None, ast.expr | None]]:
    """All conditions, and all words."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.IfExp):
            yield node.test, None
            waiting += [node.orelse, node.body]
        else:
            yield None, node


def _word(node: ast.expr, epoch: int) -> str:
    match node:
        case ast.Constant(value=None):
            return EVERYTHING
        case ast.Constant(value=str() as text):
            return text
        case ast.Name(id=name) if name != "epoch":
            return name
        case ast.List(elts=items) | ast.Tuple(elts=items) if items:
            return ", ".join(str(_whole(item, epoch)) for item in items)
        case ast.Call(func=function, args=[inner], keywords=[]) if _name(function) in _WRAPPERS:
            return _word(inner, epoch)
        case ast.Call(func=function, args=[_, *_] as bounds, keywords=[]) if _name(function) in _RANGES:
            return _range([_whole(bound, epoch) for bound in bounds], ast.unparse(node))
    raise MetadataError(f"{ast.unparse(node)[:60]!r} is not a word", _GRAMMAR)


def _range(bounds: list[int], text: str) -> str:
    first, last, step = {1: (0, bounds[0], 1), 2: (*bounds[:2], 1)}.get(len(bounds), (*bounds, 1)[:3])
    if len(bounds) > 3 or first < 0 or last < 0 or step < 1:
        raise MetadataError(f"{text[:60]!r} is not a range", "first and last at or above 0, a step of at least 1")
    return f"{first}:{last}:{step}"


def _whole(node: ast.expr, epoch: int) -> int:
    value = Schedule.parse(ast.unparse(node)).at(epoch)
    if not value.is_integer():
        raise MetadataError(f"{ast.unparse(node)[:60]!r} is {value:g} in epoch {epoch}", "give whole numbers")
    return int(value)


def _name(function: ast.expr) -> str:
    """The name of a function: ``range``, or ``arange`` of ``np.arange``."""
    match function:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="np" | "numpy" | "cp" | "cupy"), attr=name):
            return name
    return ""
