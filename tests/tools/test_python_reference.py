"""The reference of the Python interface: everything public, with its current docstrings."""

import re
import sys
from pathlib import Path

import pytest

import ptylive

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import python_reference  # noqa: E402
import sizes  # noqa: E402


def test_every_public_name_has_an_entry():
    headings = re.findall(r"^## (\w+)$", python_reference.reference(), re.M)
    assert sorted(headings) == sorted(set(ptylive.__all__) - {"__version__"})


def test_the_page_says_what_the_docstrings_say():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert page.endswith(python_reference.reference()), "python tools/write_tables.py"


def test_docstrings_become_markdown():
    def shown():
        """Take ``this`` and :class:`ptylive.scans.Scan`.

        >>> 1 + 1
        2
        """

    text = python_reference._text(shown)
    assert text == "Take `this` and `Scan`.\n\n```python\n>>> 1 + 1\n2\n```"


def test_what_a_dependency_costs_counts_what_it_needs_and_not_the_tools():
    needed = sizes.closure("ptylive")
    assert {"numpy", "llvmlite", "bokeh", "tornado"} <= needed
    assert not {"pytest", "sphinx", "cupy-cuda12x", "rosettasciio"} & needed
    assert "rosettasciio" in sizes.closure("ptylive", frozenset({"import"}))
    assert sizes.megabytes("h5py") == pytest.approx(17, rel=0.5)  # from the table in docs/install.md; grows by version
