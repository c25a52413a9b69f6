"""The tool behind `make check-machines`: what it runs, what it reads from pytest, what it reports."""

import importlib
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("check_machines")


@pytest.fixture
def settings(tool):
    return importlib.import_module("machine_settings")


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    """A run whose logs and files stay in tmp_path; of its tests one passes, one fails and one is skipped."""
    monkeypatch.setattr(tool, "LOGS", tmp_path / "logs")
    tests = tmp_path / "test_three.py"
    tests.write_text(
        "import os, pytest\n"
        "def test_green(): assert True\n"
        "def test_red(): assert os.environ.get('COLOUR') == 'green'\n"
        "@pytest.mark.skip(reason='not today')\n"
        "def test_skipped(): pass\n"
    )
    return tool.Run(tmp_path, 7, (str(tests),), ())


@pytest.mark.slow
def test_a_red_test_is_named(tool, settings, run):
    found = tool.check(settings.Setting("plain", "", settings.in_environment({})), run)
    assert (found.word, found.passed, found.skipped) == ("red", 1, 1)
    assert [name.rsplit("::")[-1] for name in found.failed] == ["test_red"]
    shown = tool.table([found])
    assert "red" in shown.splitlines()[1]
    assert "plain: " in shown.splitlines()[2]


@pytest.mark.slow
def test_a_setting_changes_the_environment_of_the_tests(tool, settings, run):
    found = tool.check(settings.Setting("green", "", settings.in_environment({"COLOUR": "green"})), run)
    assert (found.word, found.passed) == ("green", 2)


@pytest.mark.slow
def test_no_tests_are_no_success(tool, settings, run, tmp_path):
    (tmp_path / "test_three.py").write_text("")
    found = tool.check(settings.Setting("empty", "", settings.in_environment({})), run)
    assert found.word == "red"
    assert "status 5" in found.failed[0]


def test_what_a_machine_lacks_is_said_and_no_success_alone(tool, settings, run, monkeypatch, capsys):
    from contextlib import contextmanager

    @contextmanager
    def absent(run):
        raise settings.NotHereError("no such processor")
        yield

    monkeypatch.setattr(settings, "SETTINGS", (settings.Setting("absent", "somewhere else", absent),))
    assert tool.main([]) == 2
    assert "not here  no such processor" in capsys.readouterr().out


def test_what_is_asked_for(tool, settings):
    assert {"openblas-nehalem", "numba-generic", "busy", "random", "spaces", "ordinary-user"} <= {
        setting.name for setting in settings.SETTINGS
    }
    found = tool.parse(["--only", "busy", "--seed", "5", "--tests", "tests/schema", "--", "-m", ""])
    assert (found.only, found.seed, found.tests, found.more) == (["busy"], 5, ["tests/schema"], ["-m", ""])


@pytest.mark.slow
def test_joined_settings_share_one_run(tool, settings, run, monkeypatch):
    parts = (
        settings.Setting("green", "", settings.in_environment({"COLOUR": "green"})),
        settings.Setting("few", "", settings.narrow),
    )
    monkeypatch.setattr(settings, "SETTINGS", parts)
    found = tool.check(settings.joined(("green", "few")), run)
    assert (found.name, found.word, found.passed) == ("green+few", "green", 2)
    with settings.joined(("green", "few")).prepare(run) as place:
        assert place.limit is not None
        assert place.environment == {"COLOUR": "green"}


def test_every_setting_but_the_plain_one_is_in_one_of_the_joined_runs(settings):
    assert sorted(sum(settings.TOGETHER, ())) == sorted(s.name for s in settings.SETTINGS if s.name != "as-it-is")
