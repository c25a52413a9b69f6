"""Without PyTorch one line says what to install; with a broken PyTorch it says what is wrong."""

import importlib.util
import sys

import pytest

from ptylive.engine.dgp import available
from ptylive.schema.errors import RefinementError


def test_without_torch_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(RefinementError) as caught:
        available.require()
    line = caught.value.line()
    assert "PyTorch is not installed" in line
    assert "pip install 'ptylive[dgp]'" in line
    assert "\n" not in line


def test_a_torch_that_does_not_start_is_said(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudnn.so.9: cannot open\\nshared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in [name for name in sys.modules if name.startswith("torch.")]:
        monkeypatch.delitem(sys.modules, name)
    assert available.missing() == "PyTorch does not start (libcudnn.so.9: cannot open shared object file)"


def test_something_else_of_that_name_is_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", pytest)
    assert available.missing() == "the package installed as torch is not PyTorch"
