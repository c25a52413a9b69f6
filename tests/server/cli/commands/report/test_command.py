"""``ptylive report`` on the command line."""

import pytest
from running import last_json, ptylive_here
from stored_runs import write_results


def test_the_page_lies_beside_the_results(tmp_path):
    write_results(tmp_path / "r.h5")
    told = last_json(ptylive_here("report", tmp_path / "r.h5", "--json"))
    page = tmp_path / "r_report.html"
    assert told == {"file": str(tmp_path / "r.h5"), "report": str(page), "maps": [], "runs": ["run1"]}
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert ptylive_here("report", tmp_path / "r.h5", tmp_path / "other.htm", "--run", "run1").returncode == 0
    assert (tmp_path / "other.htm").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["r.h5", "page.pdf"], "page.pdf is not the name of a page: the page is HTML"),
        (["r.h5", "--run", "run7"], "has no run 'run7'"),
        (["r.h5", "--maps", "obf"], "has no map 'obf'"),
        (["none.h5"], "no such file"),
        (["text.h5"], "text.h5"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "r.h5")
    (tmp_path / "text.h5").write_text("hello")
    before = sorted(tmp_path.rglob("*"))
    done = ptylive_here("report", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
