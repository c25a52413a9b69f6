"""Which tests reach which modules: through imports, through helpers, or by the name that loads a module."""

import ast
import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
ROOMS = ("schema", "pictures", "streamer", "engine", "api", "dashboard", "simulators", "server")
REGISTERED = (
    "server/cli/commands/",
    "engine/imaging/maps/",
    "engine/refine/regularisers/",
    "engine/refine/data_terms/",
)
STEPS = 3
"""A guard imports the module (1), or what imports it (2); in the module's own room, one step more is allowed (3)."""


def dotted(path: Path) -> str:
    """The name under which a source file, relative to the repository, is imported."""
    parts = path.with_suffix("").parts
    parts = (parts[1:] if parts[0] == "api" else parts)[: -1 if parts[-1] == "__init__" else None]
    return ".".join(("ptylive", *parts))


@cache
def sources() -> dict[str, Path]:
    """Every module of the program by name."""
    return {dotted(p.relative_to(ROOT)): p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))}


IMPORT = re.compile(r"^ *(from +\w[\w.]* +import +(?:\([^()]*\)|[\w., ]+)|import +[\w., ]+)", re.M)


@cache
def _imported(path: Path) -> frozenset[str]:
    """Names that a file imports, lazily or not; only these statements are parsed, for there are two thousand files."""
    found: set[str] = set()
    for statement in IMPORT.findall(path.read_text()):
        try:
            (node,) = ast.parse(statement).body
        except SyntaxError:  # a line of a text that begins like an import
            continue
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return frozenset(found)


@cache
def _files(test: Path) -> frozenset[Path]:
    """A test file, the helpers in tests/ that it imports, directly or not; and the conftest.py of its folders."""
    found, waiting = set(), [test, *(f / "conftest.py" for f in test.parents if f != TESTS and f.is_relative_to(TESTS))]
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found.add(path)
            waiting += [TESTS / f"{name}.py" for name in _imported(path)]
    return frozenset(found)


@cache
def _named(test: Path) -> frozenset[str]:
    """Words in the code of a test and its helpers: names of commands, maps and terms that are loaded by name."""
    return frozenset(word for path in _files(test) for word in re.findall(r"[A-Za-z_]\w*", path.read_text()))


def _known(names: Iterable[str]) -> set[str]:
    """Modules of the program among names, including modules that packages among them re-export."""
    found, waiting = set(), set(names) & sources().keys()
    while waiting:
        found |= waiting
        packages = {name for name in waiting if sources()[name].name == "__init__.py"}
        waiting = {n for name in packages for n in _imported(sources()[name])} & sources().keys() - found
    return found


def steps_to(test: Path, module: str) -> int:
    """Import steps to a module: 1, the test imports it; 2, it imports what imports it; …; STEPS + 1: more, or never."""
    seen = front = _known(name for path in _files(test) for name in _imported(path))
    for step in range(1, STEPS + 1):
        if module in seen:
            return step
        front = _known(name for known in front for name in _imported(sources()[known])) - seen
        seen = seen | front
    return STEPS + 1


@cache
def _mutants() -> dict[str, frozenset[str]]:
    """Tests that notice bugs planted in a file (tests/mutants.toml)."""
    table = tomllib.loads((TESTS / "mutants.toml").read_text())
    return {
        file: frozenset([*entry["tests"], *(t for one in entry["mutants"].values() for t in one.get("tests", ()))])
        for file, entry in table.items()
    }


def guards(test: str, file: str) -> bool:
    """Whether a test file (relative to tests/) concerns a module: notices its bugs, reaches it or names it."""
    if f"tests/{test}" in _mutants().get(file, ()):
        return True
    path = TESTS / test
    near = STEPS if Path(test).parts[0] == Path(file).parts[0] else STEPS - 1
    return steps_to(path, dotted(Path(file))) <= near or (loaded_by_name(file) and bool(_names_of(file) & _named(path)))


def _names_of(file: str) -> set[str]:
    """Names belonging to a module: its own, those of its classes, and the settings it mentions."""
    found = {Path(file).stem}
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "_weight" in node.value:
            found.add(node.value)
    return found


def loaded_by_name(file: str) -> bool:
    """Whether a module is loaded by name and imported by none: a command, a map, a term."""
    name = dotted(Path(file))
    folders = (
        "server/cli/commands/",
        "engine/imaging/maps/",
        "engine/refine/regularisers/",
        "engine/refine/data_terms/",
    )
    return file.startswith(folders) or not any(name in _imported(path) for path in sources().values())
