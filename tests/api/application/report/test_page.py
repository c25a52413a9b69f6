"""The report's page: text is escaped, and nothing is loaded from elsewhere."""

import re
from dataclasses import replace

from stored_runs import write_results

from ptylive.application.report import read_report, to_html
from ptylive.application.report.page import is_own_page

HOSTILE = "<script>alert(1)</script>"


def test_names_from_outside_are_text(tmp_path):
    write_results(tmp_path / "r.h5")
    report = read_report(tmp_path / "r.h5")
    run = replace(report.runs[0], name=HOSTILE, settings=HOSTILE, details=((HOSTILE, HOSTILE),))
    page = to_html(replace(report, title=HOSTILE, advice=HOSTILE, runs=(run,), provenance=((HOSTILE, HOSTILE),)))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 9, (
        "title and heading, advice, run, details, provenance"
    )


def test_what_stands_behind_plus_minus_is_said_in_words(tmp_path):
    write_results(tmp_path / "r.h5")
    report = read_report(tmp_path / "r.h5")
    words = "±: one standard deviation"
    assert words in to_html(replace(report, calibration=(("C10", "-145 ± 11 Å", "estimated"),)))
    assert words not in to_html(replace(report, calibration=(("C10", "-145 Å", "given"),)))


def test_it_asks_for_nothing(tmp_path):
    write_results(tmp_path / "r.h5")
    page = to_html(read_report(tmp_path / "r.h5"))
    assert re.findall(r"(?:src|href)=\"(?!data:image/png;base64,)", page) == []
    assert "default-src 'none'" in page
    assert page.count("<img") == 5, "three slices and two modes"
    assert "<svg" in page


def test_a_page_is_recognised_one_of_an_earlier_version_too(tmp_path):
    write_results(tmp_path / "r.h5")
    page, path = to_html(read_report(tmp_path / "r.h5")), tmp_path / "r.html"
    generator = '<meta name="generator" content="ptylive report">\n'
    for own in (page, page.replace(generator, "")):
        path.write_text(own)
        assert is_own_page(path)
    for other in (
        "",
        "<!doctype html>\n<title>notes</title>",
        page.replace(generator, generator.replace("report", "4")),
    ):
        path.write_text(other)
        assert not is_own_page(path)
