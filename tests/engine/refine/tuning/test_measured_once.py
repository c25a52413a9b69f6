"""Patterns are laid out and measured only once."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.problem import prepare as preparing
from ptylive.engine.refine.problem.prepare import measure
from ptylive.engine.refine.tuning import measured_once
from ptylive.engine.refine.tuning.measured_once import MeasuredOnce
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

PRESET = Preset(num_slices=1, refine_drift=False)


@pytest.fixture
def looks(monkeypatch):
    """Number of patterns in each measurement."""
    seen = []

    def counted(dataset, preset):
        seen.append(len(dataset.patterns))
        return measure(dataset, preset)

    monkeypatch.setattr(measured_once, "measure", counted)
    return seen


def test_parts_are_cut_out_of_one_look(simulated, looks):
    dataset, once = simulated.dataset, MeasuredOnce()
    part = once.central_part(dataset, 40)
    measured, alone = once.measure(part, PRESET), measure(part, PRESET)
    np.testing.assert_array_equal(measured.window.patterns, alone.window.patterns)
    assert measured.window.patterns.swapaxes(1, 2).flags.c_contiguous
    assert measured.dataset is part
    assert measured.statistics == once.measure(dataset, PRESET).statistics
    again = once.central_part(dataset, 40)
    assert again.patterns is part.patterns
    assert once.measure(again, PRESET).window.patterns is measured.window.patterns
    assert looks == [len(dataset.patterns)]


def test_another_defocus_and_other_places_need_no_other_look(simulated, looks):
    dataset, once = simulated.dataset, MeasuredOnce()
    first = once.measure(dataset, PRESET)
    focused = dataset.calibration.having(C10=Quantity(-120.0, Origin.ESTIMATED))
    moved = replace(dataset, calibration=focused, positions_A=-dataset.positions_A)
    second, alone = once.measure(moved, PRESET), measure(moved, PRESET)
    assert second.window is first.window
    assert second.dataset is moved
    np.testing.assert_array_equal(second.probe.chi_polynomial, alone.probe.chi_polynomial)
    assert looks == [len(dataset.patterns)]


@pytest.mark.parametrize("changed", ["beam", "bad", "optics", "window", "mirror"])
def test_what_changes_the_window_or_the_counts_is_looked_at(simulated, changed):
    dataset, preset, once = simulated.dataset, PRESET, MeasuredOnce()
    once.measure(dataset, PRESET)
    if changed == "beam":
        dataset = replace(dataset, beam_center_px=dataset.beam_center_px + 1)
    elif changed == "bad":
        dataset = replace(dataset, bad_pixels=~dataset.bad_pixels & (np.indices(dataset.bad_pixels.shape)[0] == 0))
    elif changed == "optics":
        wider = dataset.calibration.having(convergence_semiangle_mrad=Quantity(30.0, Origin.GIVEN))
        dataset = replace(dataset, calibration=wider)
    elif changed == "window":
        preset = PRESET.model_copy(update={"window_px": 16})
    else:
        preset = PRESET.model_copy(update={"flip_ky": True})
    found, alone = once.measure(dataset, preset), measure(dataset, preset)
    np.testing.assert_array_equal(found.window.patterns, alone.window.patterns)
    np.testing.assert_array_equal(found.window.measured, alone.window.measured)
    assert found.statistics == alone.statistics


@pytest.mark.slow
def test_a_drift_is_looked_for_where_that_is_asked(drifted):
    dataset, preset = drifted((1.5, -1.0), 1), Preset(num_slices=1)
    found, alone = MeasuredOnce().measure(dataset, preset), preparing.measure(dataset, preset)
    assert found.drift is not None
    assert found.drift == alone.drift
    np.testing.assert_array_equal(found.dataset.positions_A, alone.dataset.positions_A)


def test_what_was_forgotten_is_looked_at_again(simulated, looks):
    dataset, once = simulated.dataset, MeasuredOnce()
    part = once.central_part(dataset, 40)
    once.measure(part, PRESET)
    once.forget()
    assert once.central_part(dataset, 40).patterns is not part.patterns
    once.measure(dataset, PRESET)
    assert looks == [len(dataset.patterns)] * 2
