"""The zoo's table states what failed, and compares programs on the draws that both have."""

import zoo_scans  # noqa: F401  (makes the benchmarks importable)

from benchmarks.zoo.tables import gains_over, table


def figures(corr, **more):
    return {"corr": corr, "corr_best_blur": corr + 0.01, "frc_half_A": 0.8, "cpu_s": 12.0, **more}


ROWS = {
    "dev00_a": {"ours": figures(0.95), "peer": figures(0.90)},
    "dev01_b": {"ours": {"cpu_s": 3.0, "error": "no memory"}, "peer": figures(0.5)},
    "dev02_c": {"ours": figures(0.7), "peer": {"skipped": True, "error": "not installed"}},
}


def test_every_draw_has_its_line_and_every_failure_its_reason():
    lines = table(ROWS, ["ours", "peer"]).splitlines()
    widths = {line.count("|") for line in lines[:5]}
    assert len(widths) == 1
    assert "0.950 | 0.960 | 0.8 | 12" in lines[2]
    assert "failed" in lines[3]
    assert "- dev01_b, ours: no memory" in lines
    assert any("ahead on 1 of 2" in line for line in lines)
    assert lines[4].endswith("| – | – | – | – |") and "- peer: not installed" in lines


def test_a_failed_run_counts_as_nothing():
    gains = gains_over(ROWS, "ours", ["peer"])
    assert gains == [0.95 - 0.90, -0.5]


def test_halves_have_a_column():
    rows = {"dev00_a": {"ours": figures(0.9, halves_corr=0.8, halves_frc_A=None)}}
    lines = table(rows, ["ours"]).splitlines()
    assert "0.800, –" in lines[2]
    assert len({line.count("|") for line in lines[:3]}) == 1
