"""The table of all comparisons: medians over runs of ratios within a run, and the targets for them."""

import statistics
import sys
from types import SimpleNamespace

import pytest

from benchmarks import beside_peers as bench
from ptylive.server.cli.bounds.shares import pattern_flops


def run(ours=40000, ptyrad=2500, load=1.0, fma=58e9, stream=2.0):
    """Figures as one run leaves them."""
    rows = [
        {"case": "thin", "name": "ptylive", "patterns_per_cpu_s": ours, "cpu_s_to": {"0.98": 0.1}},
        {"case": "thin", "name": "ptyrad 1.0.0", "patterns_per_cpu_s": ptyrad, "cpu_s_to": {"0.98": None}},
        {"case": "thin", "name": "py4dstem 0.14.18", "patterns_per_cpu_s": 2000, "cpu_s_to": {"0.98": 1.2}},
        {"case": "thin", "name": "phaser", "error": "not run", "skipped": True},
        {"case": "thick", "name": "ptylive", "error": "it failed"},
    ]
    frames = {"pixels": 96, "ptylive / com": stream, "ptylive / masks": 4.5, "load": load}
    return {
        "bounds": {"fma": fma, "clock": 3.6e9},
        "kernel": {"64": 50000.0},
        "refinement": rows,
        "stream": [frames],
        "load": [load, load],
    }


def by_name(runs):
    return {ratio.name: ratio for ratio in bench.ratios(runs)}


def test_ratios_are_taken_within_a_run():
    found = by_name([run(40000, 2500), run(20000, 2000)])
    rate = found["refinement, thin: patterns per CPU s over PtyRAD's"]
    assert rate.values == (16.0, 10.0)
    assert rate.wanted == 13.0
    assert found["refinement, thin: CPU s to 0.98, the best peer's over ours"].values == pytest.approx((12.0, 12.0))
    assert not any(name.startswith("refinement, thick") for name in found)


def test_a_machine_with_wide_vectors_has_to_reach_more():
    wide = by_name([run(fma=115e9)])
    assert wide["refinement, thin: patterns per CPU s over PtyRAD's"].wanted == 18.0


def test_the_kernels_share_is_of_the_runs_own_bound():
    share = by_name([run()])["kernel, 64²: share of multiply-adds"]
    assert share.values == pytest.approx((50000 * pattern_flops(64, 1, 1) / 2 / 58e9,))


@pytest.mark.parametrize(("load", "wanted"), [(1.0, 1.7), (4.0, 1.4)])
def test_a_stream_beside_other_jobs_has_to_reach_less(load, wanted):
    assert by_name([run(load=load)])["stream, 96²: frames/s over LiberTEM-live's centre of mass"].wanted == wanted


def test_the_table_judges_the_median_and_names_what_fell_short():
    runs = [run(stream=value) for value in (1.2, 1.8, 1.9)]
    lines = bench.table("a machine", runs).splitlines()
    assert lines[0].startswith("a machine; load 1.0 to 1.0; 58 · 10⁹ multiply-adds/s on one thread (16 a clock)")
    com = next(line for line in lines if "centre of mass" in line)
    assert com == "| stream, 96²: frames/s over LiberTEM-live's centre of mass | 1.2, 1.8, 1.9 | 1.8 | 1.7 | reached |"
    assert statistics.median([1.2, 1.8, 1.9]) == 1.8
    assert next(line for line in lines if "CPU s to 0.98" in line).endswith("| **not reached** |")


def test_an_environment_without_its_program_is_named_at_the_start(tmp_path):
    given = SimpleNamespace(libertem_python=sys.executable, environments=tmp_path)
    with pytest.raises(SystemExit, match=r"No module named 'libertem_live'; install libertem-live\[sim\] there"):
        bench.interpreter("libertem", given)


def test_a_path_that_is_no_interpreter_is_named(tmp_path):
    given = SimpleNamespace(ptyrad_python=tmp_path / "python", environments=tmp_path)
    with pytest.raises(SystemExit, match=r"--ptyrad-python .*python: No such file or directory; give an interpreter"):
        bench.interpreter("ptyrad", given)
