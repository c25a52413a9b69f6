"""Every error and warning of the program, collected from its sources for docs/troubleshooting.md and its tests.

Collected are texts of exceptions, texts logged as warnings or errors, texts added to a list of problems, replies of
commands, and return values of functions named after refusals, reasons or remarks. A gap for a value is "…".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "schema": "Values, settings and presets",
    "streamer": "Files, streams and detectors",
    "engine": "Maps, calibration and refinement",
    "api": "Python, exports and reports",
    "server": "Commands and the server",
    "dashboard": "The page",
    "simulators": "Senders and simulators",
}
"""Rooms of the repository, and their descriptions for readers."""
BUILTIN = {"ValueError", "TypeError", "RuntimeError", "OSError", "TimeoutError", "NotImplementedError", "MemoryError"}
LISTS = {"problems", "warnings", "notes", "remarks"}
LOGGERS = {"log", "logger", "_log"}
RETURNERS = re.compile(r"refus|question|problem|reason|why|complain|remark|warning|fault|missing|damage|unusable")
LEVELS = (["warning"], ["error"])
SPEAKERS = {"say", "_say", "_warn"}
GAP = "…"
_MOST_FORMS = 12
"""Largest number of forms of one text: alternatives within alternatives multiply."""
_LEAVES = {ast.Name, ast.Constant, ast.Load, ast.Store, ast.Del, ast.alias, ast.arg, ast.Pass}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DEEPEST = 3
"""Largest depth of names that refer to other names."""


@dataclass(frozen=True, order=True)
class Message:
    """A text that may be shown to somebody: words with gaps, its advice, and the room it comes from."""

    room: str
    text: str
    hint: str = field(compare=False, default="")


def collect(root: Path = ROOT) -> list[Message]:
    """All messages without repetitions, in alphabetical order within their rooms."""
    paths = [path for room in ROOMS for path in sorted((root / room).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    errors = _error_classes(trees.values())
    found: dict[tuple[str, str, str], Message] = {}
    for path, tree in trees.items():
        room = path.relative_to(root).parts[0]
        for message in _Reader(tree, errors).messages(room):
            found.setdefault((room, message.text, "" if _is_sentence(message.text) else message.hint), message)
    return sorted(found.values(), key=lambda each: (list(ROOMS).index(each.room), each.text.lstrip(f"{GAP} :").lower()))


def table(root: Path = ROOT) -> str:
    """The messages as Markdown: a heading for each room, a line for each message, followed by its advice."""
    lines: list[str] = []
    room = ""
    for message in collect(root):
        if message.room != room:
            room = message.room
            lines += ["", f"### {ROOMS[room]}", ""]
        lines.append(f"- {_code(message.text)}" + (f": {_code(message.hint)}" if message.hint else ""))
    return "\n".join(lines).strip() + "\n"


def pattern(text: str) -> re.Pattern[str]:
    """Pattern that a message matches when its gaps are filled."""
    return re.compile("(.*?)".join(re.escape(part) for part in text.split(GAP)), re.S)


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _error_classes(trees: Iterable[ast.Module]) -> set[str]:
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    errors = set(BUILTIN) | {"Exception"}
    while new := {name for name, above in bases.items() if above & errors} - errors:
        errors |= new
    return errors - {"Exception"}


class _Reader:
    """Reads the messages of one module."""

    def __init__(self, tree: ast.Module, errors: set[str]) -> None:
        self._nodes = list(_nodes_of_scope(tree))
        self._errors = errors
        self._values_by_name = _assigned(self._nodes)

    def messages(self, room: str) -> Iterator[Message]:
        """Messages of the module's own lines, then of each function, which has its own names."""
        yield from self._messages_in(self._nodes, room)

    def _messages_in(self, nodes: list[ast.AST], room: str) -> Iterator[Message]:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                outer = self._values_by_name
                parameters = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
                known = {name: values for name, values in outer.items() if name not in parameters}
                below = list(_nodes_of_scope(node))
                local = {} if isinstance(node, ast.Lambda) else _assigned(below)
                unknown: list[ast.expr] = [ast.Constant(None)]
                local = {name: values + (unknown if name in parameters else []) for name, values in local.items()}
                self._values_by_name = known | local
                yield from self._messages_in(below, room)
                if not isinstance(node, ast.Lambda) and RETURNERS.search(node.name):
                    yield from self._returned_messages(below, room)
                self._values_by_name = outer
            elif isinstance(node, ast.Call) and node.args and self._is_message_call(node):
                yield from self._of_call(node, room)
            elif isinstance(node, ast.Dict):
                yield from self._reply_messages(node, room)

    def _reply_messages(self, reply: ast.Dict, room: str) -> Iterator[Message]:
        """Message of a reply to another process, which turns it into an exception."""
        entries = {
            key.value: value
            for key, value in zip(reply.keys, reply.values, strict=True)
            if isinstance(key, ast.Constant)
        }
        if "error" in entries:
            hint = max(self._texts(entries["hint"]), key=len, default="") if "hint" in entries else ""
            yield from self._messages_of(self._texts(entries["error"]), hint, room)

    def _returned_messages(self, nodes: list[ast.AST], room: str) -> Iterator[Message]:
        for node in nodes:
            value = node.value if isinstance(node, ast.Return | ast.Yield) else None
            if value is None:
                continue
            pair = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == 2 else [value]
            several = value.elts if isinstance(value, ast.List) else pair[:1]
            hint = max(self._texts(pair[1]), key=len, default="") if len(pair) == 2 else ""
            for element in several:
                yield from self._messages_of(self._texts(element), hint, room)

    def _of_call(self, call: ast.Call, room: str) -> Iterator[Message]:
        hints = call.args[1:2] if self._is_error(call) else []
        hints += [word.value for word in call.keywords if word.arg == "hint"]
        hint = max((text for expression in hints for text in self._texts(expression)), key=len, default="")
        logged = isinstance(call.func, ast.Attribute) and call.func.attr == "log"
        yield from self._messages_of(self._texts(call.args[1 if logged else 0]), hint, room)

    def _messages_of(self, texts: list[str], hint: str, room: str) -> Iterator[Message]:
        for text in texts:
            line, advice = _normalised(text), _normalised(hint)
            # a second argument of a single word is a reason for the counters, not advice
            advice = advice if " " in advice else ""
            if _is_sentence(line) or _is_sentence(advice):
                yield Message(room, line, advice)

    def _is_error(self, call: ast.Call) -> bool:
        return isinstance(call.func, ast.Name) and call.func.id in self._errors

    def _is_message_call(self, call: ast.Call) -> bool:
        function = call.func
        if isinstance(function, ast.Name):
            return function.id in self._errors | SPEAKERS
        if not isinstance(function, ast.Attribute):
            return False
        owner = function.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        return (
            (function.attr in ("append", "add") and name.lstrip("_") in LISTS)
            or (function.attr in ("warning", "error", "exception") and name in LOGGERS)
            or function.attr in SPEAKERS
            or (function.attr == "log" and len(call.args) > 1 and self._texts(call.args[0])[:1] in LEVELS)
            or (function.attr == "refused" and name == "cls")
        )

    def _texts(self, node: ast.expr, depth: int = 0) -> list[str]:
        """The forms that an expression may have as text; none if nothing is known about it."""
        forms: list[str] = []
        if isinstance(node, ast.Constant):
            forms = [node.value] if isinstance(node.value, str) else []
        elif isinstance(node, ast.JoinedStr):
            parts = [self._part(part, depth) for part in node.values]
            forms = (
                ["".join(head) for head in product(*parts)]
                if _size(parts) <= _MOST_FORMS
                else ["".join(part[0] if len(part) == 1 else GAP for part in parts)]
            )
        elif isinstance(node, ast.IfExp):
            forms = self._texts(node.body, depth) + self._texts(node.orelse, depth)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self._texts(node.left, depth) or [GAP], self._texts(node.right, depth) or [GAP]
            forms = [head + tail for head in left for tail in right]
        elif isinstance(node, ast.Name) and depth < _DEEPEST:
            forms = [text for value in self._values_by_name.get(node.id, []) for text in self._texts(value, depth + 1)]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "did_you_mean":
            forms = [form for otherwise in node.args[2:] for form in self._texts(otherwise, depth)]
        elif isinstance(node, ast.Dict) and depth == 0:
            forms = [text for value in node.values for text in self._texts(value, depth)]
        return forms[:_MOST_FORMS]

    def _part(self, part: ast.expr, depth: int) -> list[str]:
        if isinstance(part, ast.Constant):
            return [str(part.value)]
        value = part.value if isinstance(part, ast.FormattedValue) else part
        if isinstance(value, ast.IfExp):
            return self._texts(value, depth) or [GAP]
        if isinstance(value, ast.Name) and depth < _DEEPEST:
            # words chosen before; a name or number chosen before is a value
            assigned = self._values_by_name.get(value.id, [])
            found = [self._texts(expression, depth + 1) for expression in assigned]
            if value.id.isupper() and found:
                return found[0] or [GAP]
            words = [text for texts in found for text in texts if " " in text.strip(f"{GAP} ")]
            all_words = all(texts and all(text in words for text in texts) for texts in found)
            return words if words and all_words else [*words, GAP]
        return [GAP]


def _nodes_of_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node, including functions but not their contents."""
    waiting = _below(scope)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            waiting += _below(node)


def _below(node: ast.AST) -> list[ast.AST]:
    """The direct children of a node except names and numbers, which contain nothing: most of a million."""
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        for child in value if type(value) is list else (value,):
            if isinstance(child, ast.AST) and type(child) not in _LEAVES:
                found.append(child)
    return found


def _assigned(nodes: list[ast.AST]) -> dict[str, list[ast.expr]]:
    """Values assigned to names in a scope, including its branches but not functions in it."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.AugAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(value)
    return found


def _size(parts: list[list[str]]) -> int:
    size = 1
    for part in parts:
        size *= len(part)
    return size


def _normalised(text: str) -> str:
    text = re.sub(r"%[-+.#\d]*[a-z]", GAP, text)
    text = re.sub(rf"{GAP}(\s*{GAP})+", GAP, " ".join(text.split()))
    return text


def _is_sentence(text: str) -> bool:
    """Whether a text has at least two words and is more than a name."""
    return len(re.findall(r"[A-Za-z]{2,}", text)) >= 2 and not text.startswith("http")


if __name__ == "__main__":
    print(table())
