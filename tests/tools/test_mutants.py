"""The tool that plants bugs, on a tree of three files."""

import subprocess
import sys
from pathlib import Path

import pytest
from quick_first import quick_first

TOOL = Path(__file__).resolve().parents[2] / "tools" / "mutants.py"

SOURCE = """
def larger(a, b):
    return a if a > b else b


def double(a):
    return 2 * a
"""
TESTS = """
from arithmetic import double, larger

def test_larger():
    assert larger(1, 2) == 2 and larger(2, 1) == 2

def test_double():
    double(3)  # runs it, and looks at nothing
"""
NOTICED = 'smaller = { old = "a > b", new = "a < b" }'
UNSEEN = 'same = { old = "2 * a", new = "a + a" }'
BROKEN = 'nonsense = { old = "return 2 * a", new = "return (" }'
SURVIVES = 'triple = { old = "2 * a", new = "3 * a" }'


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Writes a list of mutants and runs the tool on the tree; returns exit status and output."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # loading ours takes longer than the tests of the tree
    (tmp_path / "arithmetic.py").write_text(SOURCE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_arithmetic.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    (tmp_path / ".gitignore").write_text("build/\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def run(*mutants, options=()):
        text = '["arithmetic.py"]\ntests = ["tests/test_arithmetic.py"]\n\n["arithmetic.py".mutants]\n'
        (tmp_path / "tests" / "mutants.toml").write_text(text + "\n".join(mutants) + "\n")
        command = [sys.executable, str(TOOL), "--root", str(tmp_path), "--jobs", "2", *options]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (tmp_path / "arithmetic.py").read_text() == SOURCE
        assert not done.stderr
        return done.returncode, done.stdout

    run.folder = tmp_path
    return run


def test_what_survives_is_told_and_what_is_noticed_names_its_test(tree):
    status, said = tree(NOTICED, SURVIVES, BROKEN)
    assert status == 1
    rows = said.partition("\nmutant")[2].splitlines()
    assert rows[1].split()[:3] == ["arithmetic.py:", "triple", "SURVIVED"]
    assert rows[1].endswith("2 * a  ->  3 * a")
    assert rows[2].split()[2:4] == ["BROKE", "DOWN"]
    assert rows[3].split()[2] == "noticed"
    assert rows[3].endswith("tests/test_arithmetic.py::test_larger")
    assert said.endswith("1 of 3 mutants noticed\n")


@pytest.mark.slow  # as is what the tool is for: make check-all plants the bugs
def test_status_is_0_if_every_mutant_is_noticed(tree):
    assert tree(NOTICED)[0] == 0
    assert tree(NOTICED, SURVIVES, options=["--only", "smaller"])[0] == 0


@pytest.mark.slow
def test_a_source_that_no_longer_loads_says_nothing_about_its_tests(tree):
    status, said = tree(BROKEN)
    assert status == 1
    assert "BROKE DOWN" in said


@pytest.mark.slow
@pytest.mark.parametrize(("slow", "word"), [("double(3) == 6", "noticed"), ("double(3) != 6", "BROKE")])
def test_slow_tests_are_asked_where_the_others_stay_green(tree, slow, word):
    """The named tests are trusted only if they pass without the mutant."""
    path = tree.folder / "tests" / "test_arithmetic.py"
    path.write_text(f"import pytest\n{TESTS}\n@pytest.mark.slow\ndef test_slow():\n    assert {slow}\n")
    config = '[tool.pytest.ini_options]\npythonpath = ["."]\naddopts = "-m \'not slow\'"\nmarkers = ["slow", "peers"]\n'
    (tree.folder / "pyproject.toml").write_text(config)
    _status, said = tree(SURVIVES if word == "noticed" else UNSEEN)
    assert said.partition("\nmutant")[2].splitlines()[1].split()[2] == word


@pytest.mark.parametrize(
    ("entry", "words"),
    quick_first(
        [
            ('gone = { old = "a >= b", new = "a < b" }', "its text stands there 0 times"),
            ('twice = { old = "return", new = "yield" }', "its text stands there 2 times"),
            ('idle = { old = "2 * a", new = "2 * a" }', "differ"),
            ('untested = { old = "2 * a", new = "a", tests = [] }', "no tests are named"),
            ('moved = { old = "2 * a", new = "a", tests = ["tests/test_old.py::test_a"] }', "tests/test_old.py"),
        ],
        3,
    ),
)
def test_a_list_that_does_not_fit_is_refused(tree, entry, words):
    status, said = tree(NOTICED, entry)
    assert status == 2
    (line,) = said.splitlines()
    assert line.startswith("tests/mutants.toml: arithmetic.py: ")
    assert words in line


def test_a_file_without_mutants_does_not_stay_in_the_list(tree):
    status, said = tree(NOTICED, '["gone.py"]', 'tests = ["tests/test_old.py"]', '["gone.py".mutants]')
    assert status == 2
    assert said.splitlines() == ["tests/mutants.toml: gone.py: no mutant is listed: drop the entry"]


def test_tests_that_are_red_anyway_prove_nothing(tree):
    (tree.folder / "tests" / "test_arithmetic.py").write_text("def test_red():\n    assert False\n")
    status, said = tree(NOTICED)
    assert status == 2
    assert "test_red" in said


@pytest.mark.slow
def test_unchanged_tests_have_more_time_since_they_may_compile(tree, monkeypatch):
    limits, tests = tree.folder / "limits.txt", tree.folder / "tests" / "test_arithmetic.py"
    monkeypatch.setenv("LIMITS", str(limits))
    note = (
        "import os\nwith open(os.environ['LIMITS'], 'a') as file:\n    print(os.environ['PYTEST_TIMEOUT'], file=file)\n"
    )
    tests.write_text(note + TESTS)
    assert tree(NOTICED)[0] == 0
    unchanged, *planted = map(float, limits.read_text().split())
    assert planted and unchanged > max(planted)
