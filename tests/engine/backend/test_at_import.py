"""Third-party modules that are patched when they are imported."""

import importlib
import sys
from types import ModuleType

import pytest

from ptylive.engine.backend.at_import import change_at_import

NAME = "changed_when_imported"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a module that counts how often it was patched."""
    (tmp_path / f"{NAME}.py").write_text("changes = 0\n")
    (tmp_path / f"{NAME}_not.py").write_text("changes = 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    importlib.invalidate_caches()
    return tmp_path


def count(module: ModuleType) -> None:
    module.changes += 1


def test_a_module_is_changed_once_when_it_is_imported_and_no_other(place):
    change_at_import(NAME, count)
    change_at_import(NAME, count)
    assert NAME not in sys.modules
    assert importlib.import_module(NAME).changes == 1
    assert importlib.import_module(f"{NAME}_not").changes == 0


def test_a_module_that_is_there_is_changed_at_once(place):
    module = importlib.import_module(NAME)
    change_at_import(NAME, count)
    change_at_import(NAME, count)
    assert module.changes == 1


def test_a_module_that_does_not_exist_is_none(place):
    change_at_import("no_such_module_anywhere", count)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_anywhere")
