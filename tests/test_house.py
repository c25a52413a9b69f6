"""Rules for the source tree: layers, light imports, listed packages, nothing that evaluates code, tests in place."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from module_guards import guards
from threadpoolctl import ThreadpoolController

ROOT = Path(__file__).resolve().parents[1]
MOST_MODULES = 16
"""Limit for a folder; more modules are grouped into subfolders."""
ROOMS = ("schema", "pictures", "streamer", "engine", "api", "dashboard", "simulators", "server")


@pytest.mark.slow  # make test runs the script itself, beside the tests
def test_layers_point_one_way():
    script = ROOT / "tools" / "lint_layers.py"
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


LIGHT = (
    ("ptylive.server.cli.main", ("numba", "cupy", "bokeh", "h5py", "scipy", "numpy", "pydantic", "zmq", "rich")),
    ("ptylive.schema", ("numba", "cupy", "bokeh", "h5py", "scipy", "zmq")),
    ("ptylive.engine.refine", ("numba", "cupy", "bokeh", "h5py", "zmq", "scipy")),
    ("ptylive.engine.refine.regularisers.registry", ("numba", "cupy", "bokeh", "h5py", "zmq", "scipy")),
    ("ptylive.streamer.wire", ("numba", "cupy", "bokeh", "h5py", "hdf5plugin", "zmq", "scipy")),
    ("ptylive.engine.live.engine", ("numba", "cupy", "bokeh", "h5py", "zmq")),
    ("ptylive.engine.refine.run.run", ("numba", "cupy", "bokeh", "h5py", "zmq")),
    ("ptylive.server.serve.acquire", ("numba", "cupy", "bokeh", "scipy.stats", "scipy.optimize", "scipy.spatial")),
)
"""Modules and the packages each must not import; in order, since a module may import what those above it may."""


def test_imports_stay_light():
    """One process imports them one after the other: a package is attributed to the first module that imports it."""
    code = f"""
import importlib, sys
for module, forbidden in {LIGHT!r}:
    importlib.import_module(module)
    print(*sorted(set(forbidden) & set(sys.modules)), sep=", ")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = {module: line for (module, _), line in zip(LIGHT, done.stdout.splitlines(), strict=True) if line}
    assert found == {}


def test_planted_bugs_fit_the_sources():
    script = ROOT / "tools" / "mutants.py"
    done = subprocess.run([sys.executable, str(script), "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"give the lines that changed as they are now:\n{done.stdout}{done.stderr}"


def test_every_package_is_listed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT).parts for room in ROOMS for path in (ROOT / room).rglob("__init__.py")}
    found = {".".join(("ptylive", *(parts[1:] if parts[0] == "api" else parts))) for parts in folders}
    templates = {name for name in listed if name.startswith("ptylive.dashboard.templates")}  # files, not code
    assert found == listed - templates


@cache
def sources():
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@cache
def parsed(path):
    """Syntax tree of a source, parsed once for all tests that use it."""
    return ast.parse(path.read_text())


SUSPECT = re.compile(r"\b(pickle|marshal|shelve|eval|exec|allow_pickle)\b")


def test_nothing_unpickles_or_evaluates():
    for path in sources():
        if not SUSPECT.search(path.read_text()):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "marshal", "shelve"} & set(names), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path


def test_modules_and_tests_fit_one_idea():
    for path in [*sources(), *(ROOT / "tests").rglob("*.py")]:
        assert path.read_text().count("\n") <= 400, path


def test_templates_of_the_page_fit_on_a_screen():
    templates = [path for path in (ROOT / "dashboard" / "templates").rglob("*") if path.is_file()]
    assert {path.suffix for path in templates} == {".css", ".html", ".js"}
    for path in templates:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400, path
        assert [f"line {i}" for i, line in enumerate(lines, 1) if len(line) > 120] == [], path


def test_folders_fit_on_a_screen():
    folders = Counter(path.parent.as_posix() for path in modules())
    assert {name: n for name, n in folders.items() if n > MOST_MODULES} == {}


def modules():
    """Every module except packages and ``__main__``, as paths relative to the repository."""
    named = [path.relative_to(ROOT) for path in sources()]
    return [path for path in named if path.name not in ("__init__.py", "__main__.py")]


RETIRED = set(
    """
    Agenda AmongAliases Arm Bench Doorkeeper Facts HandedOn HeardWander HeldParts LIKEST Layout Mended Modelled
    Observation Settled Splat Tried Turn Understood agenda audience doorkeeper early_refinement facts forward_model
    give_back grown_and_cut growing held_parts is_vouched leaning lifeline like_pypty observation pypty_steps
    recording_news shelf slope splat stiffness summers take_out upright vouch workbench
    """.split()
)
"""Names that had a second meaning, or none for a newcomer."""
RETIRED_MODULES = RETIRED | set(
    "arm choices door kept_code lanes quantities setting steady stride told vouched ways".split()
)


def identifiers(tree):
    """Every name that a module defines or uses."""
    for node in ast.walk(tree):
        yield from (getattr(node, field, None) for field in ("id", "name", "attr", "arg", "asname"))


def test_retired_names_do_not_come_back():
    found = [str(path) for path in modules() if path.stem in RETIRED_MODULES or path.stem.endswith("_desk")]
    for path in sources():
        text = path.read_text()
        used = RETIRED.intersection(re.findall(r"\w+", text))  # in comments too, where they are allowed
        used = used and used.intersection(identifiers(parsed(path)))
        used |= set(re.findall("[Ss]o many", text))
        found += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(used)]
    assert not found, f"retired names, which have better ones: {found}"


def test_every_module_has_tests_where_one_looks_for_them():
    table = tomllib.loads((ROOT / "tests" / "modules_without_tests.toml").read_text())
    mirrored = {
        path.as_posix() for path in modules() if (ROOT / "tests" / path.parent / f"test_{path.stem}.py").exists()
    }
    found = {path.as_posix() for path in modules()}
    missing = sorted(found - mirrored - set(table))
    assert not missing, f"add tests/<path>/test_<module>.py, or a line to tests/modules_without_tests.toml: {missing}"
    stale = sorted(set(table) - (found - mirrored))
    assert not stale, f"lines of tests/modules_without_tests.toml that are out of date: {stale}"


def test_the_tests_that_guard_other_modules_exist():
    table = tomllib.loads((ROOT / "tests" / "modules_without_tests.toml").read_text())
    for module, named in table.items():
        if named.startswith("none: "):
            continue
        assert named, module
        gone = [name for name in named.split() if not (ROOT / "tests" / name).is_file()]
        assert not gone, f"{module}: no such tests: {gone}"


def test_one_of_the_tests_that_guard_a_module_has_to_do_with_it():
    """Such a test notices the module's planted bugs, imports it directly or not, or mentions the name that loads it."""
    table = tomllib.loads((ROOT / "tests" / "modules_without_tests.toml").read_text())
    strangers = [
        module
        for module, named in table.items()
        if not named.startswith("none: ") and not any(guards(test, module) for test in named.split())
    ]
    assert not strangers, f"tests/modules_without_tests.toml names no test that reaches {strangers}"


TYPES_ONLY = re.compile(r"^( *)if TYPE_CHECKING:\n(?:\1 +.*\n|\n)+", re.M)
IMPORT = re.compile(r"^ *(?:import [^\n]+|from [\w.]+ import (?:\([^)]*\)|[^\n]+))", re.M)


def imported(text):
    """Modules that a module imports, lazily or not, except for type checkers only.

    Only these lines are parsed: a tree of every source takes ten times as long. Lines of a text that look like an
    import count as well.
    """
    found = set()
    for line in IMPORT.findall(TYPES_ONLY.sub("", text)):
        try:
            (node,) = ast.parse(line.strip()).body
        except SyntaxError:
            continue
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        else:
            found |= {name.name for name in node.names}
    return found


def test_processes_whose_files_are_limited_keep_no_compiled_python():
    """Regression: Python up to 3.13 keeps incomplete code of a module imported then, which cannot be imported again.

    All later processes of the machine failed with "marshal data too short", those of other tests among them.
    """
    limited = [path for path in (ROOT / "tests").rglob("*.py") if "setrlimit(resource.RLIMIT_FSIZE" in path.read_text()]
    kept = [path for path in limited if not re.search(r'"-B"|dont_write_bytecode|DONTWRITEBYTECODE', path.read_text())]
    assert limited
    assert not kept


def test_no_circles():
    """Lazy imports included."""
    modules = {}
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = (parts[1:] if parts[0] == "api" else parts)[: -1 if parts[-1] == "__init__" else None]
        modules[".".join(("ptylive", *parts))] = imported(path.read_text())
    graph = {name: (found & set(modules)) - {name} for name, found in modules.items()}
    for name, others in graph.items():  # a package holds its modules
        graph[name] = {other for other in others if not name.startswith(f"{other}.")}
    while leaves := {name for name, others in graph.items() if not others & set(graph)}:
        for name in leaves:
            del graph[name]
    in_circles = {name for name in graph if any(name in others for others in graph.values())}
    assert not in_circles


def test_linear_algebra_has_one_thread_in_tests() -> None:
    """Its threads wait for work by asking for it again and again, beside other tests."""
    threads = [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]
    assert set(threads) == {1}
