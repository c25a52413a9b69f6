"""What is typed into the calibration box, and what the same refinement is called elsewhere."""

import shlex
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptylive.dashboard import recipes
from ptylive.dashboard.panels.calibration import UnclearValueError, parse_assignment, parse_defocus
from ptylive.dashboard.requests import parse_request


@pytest.mark.parametrize(
    ("text", "c10"),
    [
        ("150", -150.0),
        ("−150 Å", 150.0),
        ("15 nm underfocus", -150.0),
        ("20 nm overfocus", 200.0),
        ("1.5 µm", -1.5e4),
        ("150 ± 5.0 Å underfocus", -150.0),
        ("1,5 nm over", 15.0),
        ("in focus", 0.0),
    ],
)
def test_defocus_as_a_microscopist_types_it(text: str, c10: float) -> None:
    assert parse_defocus(text) == pytest.approx(c10)


@pytest.mark.parametrize("text", ["", "far", "15 parsec", "1.2.3", "nan", "__import__('os')"])
def test_what_is_unclear_is_said(text: str) -> None:
    with pytest.raises(UnclearValueError, match="is unclear"):
        parse_defocus(text)


def test_values_by_their_names() -> None:
    assert parse_assignment("beam_center_px", "31.5, 32") == {"beam_center_px": [31.5, 32.0]}
    assert parse_assignment("rotation_deg", "−15.2") == {"rotation_deg": -15.2}
    assert parse_assignment("detector_transform", "transpose") == {"detector_transform": "transpose"}
    assert parse_assignment("other", "C30 = 1e7") == {"C30": 1e7}
    with pytest.raises(UnclearValueError):
        parse_assignment("other", "C30")


@given(st.text(max_size=200))
def test_no_request_raises(content: str) -> None:
    parse_request(content)


def test_the_same_refinement_elsewhere() -> None:
    preset = {"num_slices": 2, "total_thickness_A": 8.5, "algorithm": "auto"}
    words = shlex.split(recipes.command_line(preset, "/data/my scan.h5"))
    assert words[:5] == ["ptylive", "refine", "/data/my scan.h5", "-o", "/data/my scan_results.h5"]
    assert "num_slices=2" in words
    assert tomllib.loads(recipes.preset_file(preset))["refine"] == preset
    compile(recipes.python(preset, "tcp://127.0.0.1:9998"), "recipe", "exec")
