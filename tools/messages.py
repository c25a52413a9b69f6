"""Every error and warning of the program, read from its sources: for docs/troubleshooting.md and its tests.

What counts: what an exception is made of, what is logged as a warning or error, what is added to a list of problems,
and what commands say. A place where a value is put in is "…".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
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
"""Rooms of the repository, and what a reader takes them for."""
BUILTIN = {"ValueError", "TypeError", "RuntimeError", "OSError", "TimeoutError", "NotImplementedError", "MemoryError"}
LISTS = {"problems", "warnings", "notes", "remarks"}
LOGGERS = {"log", "logger", "_log"}
SPEAKERS = {"say", "_say", "_warn"}
GAP = "…"
_MOST_FORMS = 12
"""Of one text: alternatives within alternatives are many."""


@dataclass(frozen=True, order=True)
class Message:
    """A text that somebody may be shown: words with gaps, what it advises, and the room it comes from."""

    room: str
    text: str
    hint: str = field(compare=False, default="")


def collect(root: Path = ROOT) -> list[Message]:
    """All messages, without repetitions, in alphabetical order within their rooms."""
    paths = [path for room in ROOMS for path in sorted((root / room).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    errors = _error_classes(trees.values())
    found: dict[tuple[str, str], Message] = {}
    for path, tree in trees.items():
        room = path.relative_to(root).parts[0]
        for message in _Reader(tree, errors).messages(room):
            found.setdefault((room, message.text), message)
    return sorted(found.values(), key=lambda one: (list(ROOMS).index(one.room), one.text.lstrip(f"{GAP} :").lower()))


def table(root: Path = ROOT) -> str:
    """The messages as Markdown: a heading for each room, a line for each message, its advice behind it."""
    lines: list[str] = []
    room = ""
    for message in collect(root):
        if message.room != room:
            room = message.room
            lines += ["", f"### {ROOMS[room]}", ""]
        lines.append(f"- {_code(message.text)}" + (f": {_code(message.hint)}" if message.hint else ""))
    return "\n".join(lines).strip() + "\n"


def pattern(text: str) -> re.Pattern[str]:
    """What a message looks like when its gaps are filled."""
    return re.compile("(.*?)".join(re.escape(part) for part in text.split(GAP)), re.S)


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _error_classes(trees: Iterator[ast.Module] | object) -> set[str]:
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees  # type: ignore[attr-defined]
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    errors = set(BUILTIN) | {"Exception"}
    while new := {name for name, above in bases.items() if above & errors} - errors:
        errors |= new
    return errors - {"Exception"}


class _Reader:
    """The messages of one module."""

    def __init__(self, tree: ast.Module, errors: set[str]) -> None:
        self._tree = tree
        self._errors = errors
        self._named: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                names = [node.target.id]
            else:
                continue
            for name in names:
                self._named.setdefault(name, []).append(node.value)  # type: ignore[arg-type]

    def messages(self, room: str) -> Iterator[Message]:
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.Call) or not node.args or not self._speaks(node):
                continue
            hints = node.args[1:2] if self._is_error(node) else []
            hints += [word.value for word in node.keywords if word.arg == "hint"]
            hint = next((text for one in hints for text in self._texts(one)), "")
            for text in self._texts(node.args[0]):
                line, told = _tidy(text), _tidy(hint)
                if _says_something(line):
                    # a second argument that is one word is a reason for the counters, no advice
                    yield Message(room, line, told if " " in told else "")

    def _is_error(self, call: ast.Call) -> bool:
        return isinstance(call.func, ast.Name) and call.func.id in self._errors

    def _speaks(self, call: ast.Call) -> bool:
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
            or (function.attr == "refused" and name == "cls")
        )

    def _texts(self, node: ast.expr, depth: int = 0) -> list[str]:
        """The forms that an expression may take as text; none where nothing is known of it."""
        forms: list[str] = []
        if isinstance(node, ast.Constant):
            forms = [node.value] if isinstance(node.value, str) else []
        elif isinstance(node, ast.JoinedStr):
            parts = [self._part(part, depth) for part in node.values]
            forms = (
                ["".join(one) for one in product(*parts)]
                if _size(parts) <= _MOST_FORMS
                else ["".join(part[0] if len(part) == 1 else GAP for part in parts)]
            )
        elif isinstance(node, ast.IfExp):
            forms = self._texts(node.body, depth) + self._texts(node.orelse, depth)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self._texts(node.left, depth) or [GAP], self._texts(node.right, depth) or [GAP]
            forms = [one + other for one in left for other in right]
        elif isinstance(node, ast.Name) and depth < 2:
            forms = [text for value in self._named.get(node.id, []) for text in self._texts(value, depth + 1)]
        elif isinstance(node, ast.Dict) and depth == 0:
            forms = [text for value in node.values for text in self._texts(value, depth)]
        return forms[:_MOST_FORMS]

    def _part(self, part: ast.expr, depth: int) -> list[str]:
        if isinstance(part, ast.Constant):
            return [str(part.value)]
        value = part.value if isinstance(part, ast.FormattedValue) else part
        if isinstance(value, ast.IfExp):
            return self._texts(value, depth) or [GAP]
        if isinstance(value, ast.Name) and value.id.isupper() and part.format_spec is None:  # type: ignore[attr-defined]
            return self._texts(value, depth) or [GAP]
        return [GAP]


def _size(parts: list[list[str]]) -> int:
    size = 1
    for part in parts:
        size *= len(part)
    return size


def _tidy(text: str) -> str:
    text = re.sub(r"%[-+.#\d]*[a-z]", GAP, text)
    text = re.sub(rf"{GAP}(\s*{GAP})+", GAP, " ".join(text.split()))
    return text


def _says_something(text: str) -> bool:
    """Two words at least, and more than a name."""
    return len(re.findall(r"[A-Za-z]{2,}", text)) >= 2 and not text.startswith("http")


if __name__ == "__main__":
    print(table())
