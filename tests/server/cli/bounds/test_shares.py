"""Which bound limits which figure."""

import pytest

from ptylive.server.cli.bounds.measured import PARTS
from ptylive.server.cli.bounds.shares import FIGURES, pattern_flops, shares, transform_flops

BOUNDS = {"memory_read": 10e9, "memory_copy": 5e9, "loopback": 4e9, "disk_write": 1e9, "fma": 50e9}
RECORDS = {
    "live": {
        "frames_per_s": 400e3,
        "refresh_s": 0.1,
        "coefficients_refresh_s": 0.05,
        "bins": 100,
        "coefficients_bins": 46,
    },
    "stream": {"frames_per_s": 50e3},
    "refine": {"frames_per_s": 20e3, "window": 64, "slices": 1, "modes": 1},
}


def test_each_figure_is_held_against_the_slowest_of_its_bounds():
    found, missing = shares(RECORDS, BOUNDS)
    assert not missing
    named = {share.figure: share for share in found}
    assert named["live frames_per_s"].share == pytest.approx(8192 / 10e9 * 400e3)
    assert named["stream frames_per_s"].bound == "disk_write"
    assert named["stream frames_per_s"].share == pytest.approx(8192 / 1e9 * 50e3)
    assert named["refine frames_per_s"].share == pytest.approx(pattern_flops(64, 1, 1) / 100e9 * 20e3)
    quicker, _ = shares(RECORDS, {**BOUNDS, "disk_write": 9e9})
    assert {share.figure: share.bound for share in quicker}["stream frames_per_s"] == "memory_copy"


def test_arithmetic_is_that_of_the_textbook():
    assert transform_flops(64) == 5 * 4096 * 12
    assert pattern_flops(64, 2, 3) == pytest.approx(6 * (4 * transform_flops(64) + 63 * 4096) + 20 * 4096)


def test_a_figure_without_its_bound_is_named_with_the_reason():
    found, missing = shares(RECORDS, {name: value for name, value in BOUNDS.items() if name != "disk_write"})
    assert "stream frames_per_s" not in {share.figure for share in found}
    assert missing == {"stream frames_per_s": "disk_write could not be measured"}
    _, failed = shares({"refine": {"error": "MemoryError: "}}, BOUNDS)
    assert failed == {"refine frames_per_s": "MemoryError: "}


def test_every_bound_that_a_figure_names_is_measured():
    measured = {name for part in PARTS for name in part.split(", ")}
    assert {bound for figure in FIGURES for bound in figure.bound} <= measured
