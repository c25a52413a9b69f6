"""Entry points of other packages: what loads is found; what does not costs only itself and one line."""

import sys
from importlib.metadata import EntryPoint

import pytest

from ptylive.engine import plugins
from ptylive.schema import MetadataError, RefinementError

MARK = "a_mark"


class Marked:
    a_mark = "here"


class Heir(Marked):
    """Only inherits its parent's mark."""


def points(monkeypatch, **values):
    found = [EntryPoint(name, value, "group") for name, value in values.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)


def test_a_point_names_a_thing_or_the_module_that_has_it(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "example_module", sys.modules[__name__])
    points(monkeypatch, thing="example_module:Marked", module="example_module", heir="example_module:Heir")
    found = list(plugins.of_entry_points("group", MARK))
    assert [(each.value, each.source.split()[0]) for each in found] == [(Marked, "module"), (Marked, "thing")]
    assert caplog.messages == [
        "plug-in heir (example_module:Heir) is left out: example_module:Heir provides nothing for group"
    ]


def test_what_fails_to_load_is_one_line_each(monkeypatch, caplog, tmp_path):
    (tmp_path / "leaves_early.py").write_text("import sys\nsys.exit('goodbye\\nand thanks')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    points(monkeypatch, early="leaves_early", gone="no_such_module_at_all")
    assert list(plugins.of_entry_points("group", MARK)) == []
    assert [line.split(" is left out: ")[1] for line in caplog.messages] == [
        "SystemExit: goodbye and thanks",
        "ModuleNotFoundError: No module named 'no_such_module_at_all'",
    ]


def test_errors_of_our_own_stay_what_they_are():
    with pytest.raises(MetadataError), plugins.at_work(Marked):
        raise MetadataError("said already")
    Ours = type("Ours", (), {"__module__": "ptylive.engine.somewhere"})
    with pytest.raises(ZeroDivisionError), plugins.at_work(Ours):
        raise ZeroDivisionError
    with pytest.raises(RefinementError, match=r"Marked of the plug-in .* failed: ZeroDivisionError: by nothing"):
        with plugins.at_work(Marked()):
            raise ZeroDivisionError("by nothing")


def test_what_lies_in_folders_of_the_folder_is_found_too(monkeypatch, tmp_path):
    inner = tmp_path / "foldered" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").write_text("")
        (folder / "part.py").write_text("class Part:\n    a_mark = __name__\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [each.value.a_mark for each in plugins.in_folder("foldered", MARK)]
    assert found == ["foldered.inner.part", "foldered.part"]
