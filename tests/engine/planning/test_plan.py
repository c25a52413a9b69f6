"""The plan as a table, as plain values, and by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from planning import DOCUMENTED, experiment
from quick_first import quick_first

from ptylive.engine.planning.figure import Verdict
from ptylive.engine.planning.plan import ROWS, Plan
from ptylive.schema.plausible import PLANNED, PLAUSIBLE


def test_every_row_is_told_whatever_is_left_out():
    names = (
        "energy_eV",
        "convergence_semiangle_mrad",
        "scan_step_A",
        "scan_shape",
        "detector_pixel_mrad",
        "dwell_time_us",
    )
    for left_out in names:
        figures = Plan.of(experiment(**{left_out: None}))
        assert len(figures) == len(ROWS)
        wanting = [figure for figure in figures.values() if left_out in figure.remedy]
        assert wanting and all(figure.verdict is Verdict.UNKNOWN for figure in wanting), left_out
    assert all(figure.verdict is not Verdict.UNKNOWN for figure in Plan.of(experiment()).figures[:-1])


def test_names_are_unlike_and_say_their_unit():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        if row.unit in ("Å", "mrad", "s"):
            assert row.name.endswith(f"_{row.unit.replace('Å', 'A')}"), row.name


def test_the_worst_verdict_counts():
    assert Plan.of(experiment(dwell_time_us=1000.0)).verdict is Verdict.GOOD
    assert Plan.of(experiment()).verdict is Verdict.QUESTIONED  # because of the data rate
    assert Plan.of(experiment(scan_step_A=20.0)).verdict is Verdict.BAD


def test_plain_values_are_json():
    plain = Plan.of(experiment(detector_pixel_mrad=20.0, beam_center_px=(0.0, -5.0))).to_plain()
    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text) == plain
    assert plain["figures"]["overlap"]["verdict"] == "good"
    assert plain["figures"]["most_defocus_A"]["value"] is None


def test_a_plan_prints_a_line_for_every_figure():
    made = Plan.of(experiment())
    lines = repr(made).splitlines()
    assert len(lines) == len(ROWS)
    (line,) = (line for line in lines if line.startswith("overlap of neighbouring"))
    assert "95 %" in line and line.endswith("good")
    assert "<td style='text-align:left'>electron wavelength</td>" in made._repr_html_()
    with pytest.raises(KeyError):
        made["nothing"]


def test_every_row_is_explained_in_the_document():
    text = (Path(__file__).resolve().parents[3] / "docs" / "planning.md").read_text(encoding="utf-8")
    explained = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    assert [row.title for row in ROWS if not any(row.title in cell for cell in explained)] == []


@pytest.mark.parametrize("seed", quick_first(range(4)))
def test_whatever_is_possible_is_told(seed):
    """Values are drawn from the whole range that is not refused, and each is omitted now and then."""
    draw = np.random.default_rng(seed)
    names = (*DOCUMENTED, "Cs_A", "C12a", "rotation_deg", "saturation_value", "counts_per_electron", "repeats")
    for _ in range(50):
        values = {name: anywhere(draw, name) for name in names if draw.random() < 0.9}
        values["scan_shape"] = tuple(int(n) for n in np.ceil(2.0 ** draw.uniform(0, 15.4, 2)))
        pixels = tuple(int(n) for n in np.ceil(2.0 ** draw.uniform(0, 13, 2))) if draw.random() < 0.9 else None
        own = {name: abs(anywhere(draw, name)) for name in ("beam_current_pA", "thickness_A")}
        made = Plan.of(experiment(pixels, **{**dict.fromkeys(DOCUMENTED), **values, **own}))
        assert repr(made)
        json.dumps(made.to_plain(), allow_nan=False)


def anywhere(draw, name):
    """A possible value, equally likely in every decade."""
    rule = {**PLAUSIBLE, **PLANNED}.get(name)
    if rule is None:
        return None
    low, high = (max(end, 1e-6) for end in rule.possible)
    value = float(np.exp(draw.uniform(np.log(low), np.log(high))))
    if name == "repeats":
        return int(min(value, 1000))
    return value * (draw.choice([-1.0, 1.0]) if rule.signed else 1.0)
