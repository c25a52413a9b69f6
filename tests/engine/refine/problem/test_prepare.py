"""From data set and preset to a problem: the steps, and what each is passed."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.problem import measurement
from ptylive.engine.refine.problem.prepare import LEAST_MODULUS, decide, lay_out, measure, prepare
from ptylive.schema import MetadataError, RefinementError
from ptylive.schema.preset import Preset

WING = Path(__file__).resolve().parents[4] / "engine" / "refine"
PLAIN = {"window_px": 24, "probe_modes": 1}


def test_stages_take_groups_of_settings_not_the_preset():
    """Only modules that run (also on many workers), validate and tune import it, and the one that takes it apart."""
    seers = [path for path in WING.rglob("*.py") if "import Preset" in path.read_text(encoding="utf-8")]
    rooms = {
        path.relative_to(WING).as_posix()
        for path in seers
        if path.parent.name not in ("run", "before", "again", "tiles", "tuning", "depth", "optics", "validation")
    }
    assert rooms == {"problem/prepare.py"}


def test_a_problem_is_measured_decided_and_laid_out(simulated):
    preset = Preset.from_mapping({**PLAIN, "update_probe_pos": True, "atv_weight": 0.1})
    measured = measure(simulated.dataset, preset)
    strategy = decide(measured, preset, has_start=False)
    steps, whole = lay_out(measured, strategy, preset, None), prepare(simulated.dataset, preset, None)
    np.testing.assert_array_equal(steps.start, whole.start)
    assert (steps.strategy, steps.statistics, len(steps.terms)) == (whole.strategy, whole.statistics, len(whole.terms))
    again = prepare(simulated.dataset, preset.model_copy(update={"algorithm": "ml"}), None, measured)
    assert again.measured is measured
    assert again.multislice.patterns is steps.multislice.patterns
    assert again.strategy.algorithm.startswith("ml")


def test_what_led_to_a_problem_is_told_in_its_reason(simulated):
    problem = prepare(simulated.dataset, Preset.from_mapping(PLAIN), None)
    after = problem.with_findings((), ("one thing", "another"), tilt_found=True)
    assert after.strategy.reason == f"{problem.strategy.reason}; one thing; another"
    assert (problem.forward.tilt_found, after.forward.tilt_found) == (False, True)


def test_drift_is_taken_out_where_it_is_certain_unless_forbidden(simulated, monkeypatch):
    found = SimpleNamespace(applied=True, reason="drift, quite certainly")
    wider = replace(simulated.dataset, positions_A=2 * simulated.dataset.positions_A)
    monkeypatch.setattr(measurement, "find_drift", lambda *_, certain: found)
    monkeypatch.setattr(measurement, "without_drift", lambda *_: wider)
    plain, preset = Preset.from_mapping({**PLAIN, "refine_drift": False}), Preset.from_mapping(PLAIN)
    before, measured = measure(simulated.dataset, plain), measure(simulated.dataset, preset)
    assert (before.drift, measured.drift, measured.dataset) == (None, found, wider)
    assert measured.statistics.dose_e_per_A2 == pytest.approx(before.statistics.dose_e_per_A2 / 4)
    assert decide(measured, preset, has_start=False).reason.endswith("; drift, quite certainly")
    assert "drift" not in decide(before, plain, has_start=False).reason
    found.applied = False
    assert measure(simulated.dataset, preset).dataset.positions_A is not wider.positions_A


def test_a_beam_current_that_changes_is_modelled_and_told(simulated):
    preset = Preset.from_mapping({**PLAIN, "refine_drift": False})
    current = np.linspace(0.9, 1.1, len(simulated.dataset.patterns))
    problem = prepare(replace(simulated.dataset, current=current), preset, None)
    np.testing.assert_array_equal(problem.multislice.current, current)
    assert "the beam current changes by 5.8 % from row to row" in problem.strategy.reason
    assert "beam current" not in prepare(simulated.dataset, preset, None).strategy.reason


def test_where_drift_cannot_be_looked_for_the_reason_says_so(simulated):
    """A scan of 12 x 12 points is too small."""
    preset = Preset.from_mapping(PLAIN)
    measured = measure(simulated.dataset, preset)
    assert measured.drift is None
    assert "drift cannot be measured" in decide(measured, preset, has_start=False).reason


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"algorithm": "lsq_compressed"}, "compares coefficients, and the recording holds frames"),
        ({"extra_space_on_side_px": 10_000, "num_slices": 50, "total_thickness_A": 5}, "the object would have"),
    ],
)
def test_what_cannot_be_is_one_line(simulated, values, line):
    with pytest.raises(RefinementError, match=line):
        prepare(simulated.dataset, Preset.from_mapping({**PLAIN, **values}), None)


def test_data_without_counts_or_places_are_refused(simulated):
    dark = replace(simulated.dataset, patterns=np.zeros_like(simulated.dataset.patterns))
    with pytest.raises(RefinementError, match="the patterns hold no counts"):
        measure(dark, Preset.from_mapping(PLAIN))
    nowhere = replace(simulated.dataset, positions_A=np.full_like(simulated.dataset.positions_A, np.nan))
    with pytest.raises(RefinementError, match="not finite"):
        measure(nowhere, Preset.from_mapping(PLAIN))
    with pytest.raises(MetadataError, match="update_probe_pos has no meaning in the near field"):
        measure(simulated.dataset, Preset(recon_type="near_field", update_probe_pos=True))


@pytest.mark.parametrize(("form", "slices"), [({"phase_only_obj": False}, 1), ({"phase_only_obj": False}, 4)])
def test_a_map_lends_its_modulus_to_the_start(form, slices, simulated):
    preset = Preset.from_mapping(
        {**PLAIN, **form, "start_from_map": True, "num_slices": slices, "total_thickness_A": 4.0 * slices}
    )
    phase = np.zeros((20, 20), np.float32)
    amplitude = np.full((20, 20), 0.8, np.float32)
    amplitude[3, 4] = -1.0  # noise
    start = StartGuess(phase, (0.8, 0.8), 0.0, (0.0, 0.0), amplitude)
    problem = prepare(simulated.dataset, preset, start)
    made, _ = problem.layout.to_complex(problem.start)
    whole = np.abs(made[0].prod(axis=0))
    assert np.median(whole) == pytest.approx(0.8, rel=1e-5)  # float32
    assert 0 < whole.min() <= LEAST_MODULUS * 1.01
    plain, _ = problem.layout.to_complex(prepare(simulated.dataset, preset, replace(start, amplitude=None)).start)
    np.testing.assert_allclose(np.abs(plain), 1, rtol=1e-6)
    np.testing.assert_allclose(np.angle(plain), np.angle(made), atol=1e-6)


def test_a_modulus_that_cannot_be_taken_is_told(simulated):
    start = StartGuess(np.zeros((20, 20), np.float32), (0.8, 0.8), amplitude=np.ones((20, 20), np.float32))
    for settings, why in (
        ({"phase_only_obj": True, "start_from_map": True}, "the object has only a phase"),
        ({"phase_only_obj": False, "start_from_map": False}, "the run does not start from that map"),
    ):
        reason = prepare(simulated.dataset, Preset.from_mapping({**PLAIN, **settings}), start).strategy.reason
        assert reason.count(f"without the amplitude of the map: {why}") == 1
    nan = replace(start, amplitude=np.full((20, 20), np.nan, np.float32))
    free = Preset.from_mapping({**PLAIN, "phase_only_obj": False, "start_from_map": True})
    with pytest.raises(RefinementError, match="amplitude to start from is not finite"):
        prepare(simulated.dataset, free, nan)


def test_probes_of_more_parts_than_fit_the_memory_are_refused(simulated, monkeypatch):
    """A probe for each point of a scan filled the memory."""
    monkeypatch.setattr("ptylive.engine.memory.available_bytes", lambda: 1e6)
    points = int(np.prod(simulated.dataset.scan_shape))
    assert prepare(simulated.dataset, Preset.from_mapping({**PLAIN, "probe_marker": "rows:2"}), None).layout
    with pytest.raises(MetadataError, match=rf"{points} probes of 1 modes, 24 x 24 pixels each, would take"):
        prepare(simulated.dataset, Preset.from_mapping({**PLAIN, "probe_marker": "squares:1"}), None)
