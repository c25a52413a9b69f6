"""Compiled functions without a Python entry point are called by compiled code only: a Python call ends the process."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COMPILED_IN = ("engine/backend", "streamer/fast")
ASKED = ("engine", "streamer", "benchmarks", "tests")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def compiled(node: ast.stmt, *words: str) -> bool:
    """Whether a statement is a function under a ``jit`` decorator whose arguments contain one of these words."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    said = [ast.unparse(one) for one in decorators]
    return any("jit(" in one and (not words or any(word in one for word in words)) for one in said)


def inner_functions() -> dict[str, set[str]]:
    """Names of the functions compiled in this way, by module."""
    found = {}
    for folder in COMPILED_IN:
        for path in (ROOT / folder).rglob("*.py"):
            names = {node.name for node in tree(path).body if compiled(node, "**INNER", "**PART")}
            if names:
                found["ptylive." + ".".join(path.relative_to(ROOT).with_suffix("").parts)] = names
    return found


def used_by_python(path: Path, inner: dict[str, set[str]]) -> set[str]:
    """Inner functions that a file mentions in code run by Python."""
    module = "ptylive." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    known = {name: name for name in inner.get(module, ())}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            known |= {one.asname or one.name: one.name for one in node.names if one.name in inner.get(node.module, ())}
    of_modules = {name.rpartition(".")[2]: names for name, names in inner.items()}
    every = set().union(*inner.values())
    used = set()
    for statement in tree(path).body:
        for node in () if compiled(statement) else ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in known:
                used.add(node.id)
            if isinstance(node, ast.Attribute) and node.attr in every:  # loop.name, self._loop.name
                of = ast.unparse(node.value).rpartition(".")[2].lstrip("_")
                used |= {node.attr} & of_modules.get(of, set())
    return used


def may_use(text: str, inner: dict[str, set[str]]) -> bool:
    """Whether a file imports an inner function or names one behind its module: most files need not be parsed."""
    for module, names in inner.items():
        any_name = f"(?:{'|'.join(map(re.escape, names))})"
        imported = rf"from {re.escape(module)} import (?:\([^)]*|[^\n]*)\b{any_name}\b"
        if re.search(rf"{imported}|{module.rpartition('.')[2]}\.{any_name}\b", text):
            return True
    return False


def test_python_calls_none_of_them():
    inner = inner_functions()
    assert len(inner) > 10
    modules = tuple({name.rpartition(".")[0] for name in inner})
    files = [path for folder in ASKED for path in (ROOT / folder).rglob("*.py")]
    names, texts = set().union(*inner.values()), {path: path.read_text() for path in files}
    files = [path for path, text in texts.items() if any(module in text for module in modules)]
    mentioned = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")
    files = [path for path in files if mentioned.search(texts[path]) and may_use(texts[path], inner)]
    files += [ROOT / (name.removeprefix("ptylive.").replace(".", "/") + ".py") for name in inner]
    mentioned = [
        f"{path.relative_to(ROOT)}: {name}" for path in {*files} for name in sorted(used_by_python(path, inner))
    ]
    assert mentioned == []


def test_a_mention_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    inner = {"ptylive.streamer.fast.loop": {"_take", "receive"}}
    where = tmp_path / "streamer" / "fast" / "loop.py"
    where.parent.mkdir(parents=True)
    for text, found in (
        ("@nb.jit(**INNER)\ndef _take(): ...\n@nb.jit(**COMPILED)\ndef receive():\n    _take()", set()),
        ("def given():\n    _take()", {"_take"}),
    ):
        where.write_text(text)
        tree.cache_clear()
        assert used_by_python(where, inner) == found
    for text, found in (
        ("from ptylive.streamer.fast.loop import receive\n@nb.jit(**COMPILED)\ndef all():\n    receive()", set()),
        ("from ptylive.streamer.fast.loop import receive\nreceive()", {"receive"}),
        ("class A:\n    def b(self):\n        self._loop.receive()", {"receive"}),
    ):
        (tmp_path / "other.py").write_text(text)
        tree.cache_clear()
        assert used_by_python(tmp_path / "other.py", inner) == found
