"""The tutorials: whole pages run in an empty folder, and the results that they promise the reader appear."""

import ast
import json
import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import tutorials  # noqa: E402

PAGES = tutorials.pages()
NAMED = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def test_every_picture_is_shown_and_there():
    shown = [name for page in PAGES for name in tutorials.shown(page)]
    assert len(shown) == len(set(shown))
    assert set(shown) == {path.name for path in tutorials.PICTURES.iterdir()}


@NAMED
def test_every_picture_is_made_by_its_page(page):
    code = "\n".join(text for _, text in tutorials.blocks(page))
    assert [name for name in tutorials.shown(page) if name not in code] == []


@NAMED
def test_a_page_says_what_to_see_and_what_to_do_otherwise(page):
    text = page.read_text(encoding="utf-8")
    assert "**You should see**" in text
    assert re.search(r"\*\*If [^*]+\*\*", text)
    assert re.search(r"^```text\n# (py4DSTEM|PyPty)$", text, re.M)


@NAMED
def test_code_of_a_page_can_be_read(page):
    for language, text in tutorials.blocks(page):
        if language in ("python", "text"):
            ast.parse(text)


def test_the_tutorials_are_listed():
    text = (tutorials.PAGES / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if f"]({page.name})" not in text] == []


def test_other_programs_are_not_run(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```\nrm -r folder\n```\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="tutorials run ptylive only"):
        tutorials.run_page(page, tmp_path)


def test_names_are_common_to_a_page_and_its_folder_is_left(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\na = 2\n```\n\n```text\nno code\n```\n\n```python\nb = a + 1\n```\n", encoding="utf-8")
    before = Path.cwd()
    assert tutorials.run_page(page, tmp_path)["b"] == 3
    assert Path.cwd() == before


def trotters_and_ssb(names, folder):
    assert names["maps"].calibration.rotation_deg == pytest.approx(-15, abs=1)
    by_hand = np.angle(names["by_hand"])
    assert np.corrcoef(by_hand.ravel(), names["ssb"].ravel())[0, 1] > 0.9


def phase_compensation(names, folder):
    found = names["maps"].calibration
    assert found.get("C10") == pytest.approx(-116, abs=5)
    assert [found.get("C12a"), found.get("C12b")] == pytest.approx([12.5, 21.7], abs=3)
    assert names["flatness"](names["trotter"]) < 0.4
    assert names["flatness"](names["flat"]) > 0.95


def phase_retrieval(names, folder):
    found = names["maps"].calibration
    assert found.get("C10") == pytest.approx(-390, abs=20)
    assert found.rotation_deg == pytest.approx(-15, abs=1)
    with h5py.File(folder / "turned.h5") as wrong, h5py.File(folder / "gold_results.h5") as right:
        heavy = right["maps/adf"][()].ravel()
        assert np.corrcoef(right["maps/idpc"][()].ravel(), heavy)[0, 1] > 0.8
        assert np.corrcoef(wrong["maps/idpc"][()].ravel(), heavy)[0, 1] < -0.8
        assert len(right["refinement/loss"]) == 10


def pypty_preset(names, folder):
    assert names["transmission"].shape[2:] == (1, 1)
    assert json.loads((folder / "arrays/params.json").read_text())["acc_voltage"] == 80
    with h5py.File(folder / "results.h5") as file:
        preset = json.loads(file["refinement"].attrs["preset"])
        assert "epoch >= 2" in json.dumps(preset)
        assert len(file["refinement/loss"]) <= 12


def compression(names, folder):
    assert names["agreement"]("idpc", names["few"]) > 0.9999
    assert names["agreement"]("obf", names["more"]) > 0.999
    one, other, inside = names["one"], names["other"], names["inside"]
    assert np.corrcoef(one[inside].ravel(), other[inside].ravel())[0, 1] > 0.9


CHECKS = {
    "trotters-and-ssb": trotters_and_ssb,
    "phase-compensation": phase_compensation,
    "phase-retrieval": phase_retrieval,
    "pypty-preset": pypty_preset,
    "compression": compression,
}
"""Figures that a page promises, with tolerances of a few times the printed precision."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@NAMED
def test_a_page_runs_and_shows_what_it_says(page, tmp_path):
    names = tutorials.run_page(page, tmp_path)
    assert [name for name in tutorials.shown(page) if not (tmp_path / name).is_file()] == []
    CHECKS[page.stem](names, tmp_path)
