"""Half-data correlation and null test, the stopping rule, the loss table."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import TrialContext, refine, validate
from ptylive.engine.refine.data.pattern_view import PatternView, shuffled
from ptylive.engine.refine.solvers.sweeps import LEAST_SWEEPS, MOST_SWEEPS
from ptylive.engine.refine.validation import validation
from ptylive.engine.refine.validation.validation import ring_correlation
from ptylive.schema import RefinementError
from ptylive.schema.preset import Preset

ODD = {"window_px": 32, "probe_modes": 1}
CPU = TrialContext(backend="cpu")


def test_rings_of_known_pictures():
    """Low frequencies are common to both pictures, high ones independent."""
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(128, 128)) for _ in range(3)]
    q = np.hypot(np.fft.fftfreq(128, 0.5)[:, None], np.fft.fftfreq(128, 0.5)[None, :])
    common = np.fft.ifft2(np.fft.fft2(noise[0]) * (q < 0.3)).real
    pictures = [common + np.fft.ifft2(np.fft.fft2(own) * (q >= 0.3)).real for own in noise[1:]]
    frequencies, rings, _ = ring_correlation(*pictures, 0.5)
    # fading borders mix neighbouring frequencies; 40 independent rings of 130 to 400 points average to 0.01
    assert rings[frequencies < 0.28].min() > 0.9
    assert abs(rings[frequencies > 0.32].mean()) < 0.1


def test_shuffled_patterns_keep_their_offsets_and_currents(simulated, monkeypatch):
    seen = []

    def rings(dataset, preset, where):
        seen.append(dataset)
        return np.linspace(0, 1, 4), np.ones(4), 1.0

    monkeypatch.setattr(validation, "half_data_rings", rings)
    number = np.arange(len(simulated.dataset.patterns))
    moved = replace(simulated.dataset, offsets_px=np.stack([number, -number], axis=1), current=1.0 + number)
    validate(moved, Preset.from_mapping(ODD), CPU)
    straight, mixed = seen
    assert not np.array_equal(mixed.offsets_px, straight.offsets_px)
    np.testing.assert_array_equal(mixed.patterns[:], simulated.dataset.patterns[mixed.offsets_px[:, 0]])
    np.testing.assert_array_equal(mixed.current, 1.0 + mixed.offsets_px[:, 0])


def test_halves_agree_on_an_object_and_not_on_nothing(simulated):
    preset = Preset.from_mapping({**ODD, "batch_size": 16})
    result = validate(simulated.dataset, preset, CPU)
    low = result.frequencies_invA < 0.4
    # found 0.99 against 0.21, and 0.96
    assert result.halves[low].mean() > result.null[low].mean() + 0.2
    assert result.correlation > 0.5
    assert result.halves.shape == result.null.shape == result.at_harmonic.shape == result.trusted.shape
    assert "shuffled patterns reach" in result.summary()
    again = validate(simulated.dataset, preset, CPU)
    np.testing.assert_array_equal(again.null, result.null)


def test_too_few_patterns_are_refused(simulated):
    data = simulated.dataset
    few = replace(data, patterns=data.patterns[:30], point=data.point[:30], positions_A=data.positions_A[:30])
    with pytest.raises(RefinementError, match="too few to compare"):
        validate(few, Preset(), CPU)


def test_patterns_in_another_order_are_read_when_asked_for():
    patterns = np.arange(40).reshape(10, 2, 2).astype(np.uint16)
    order = np.random.default_rng(1).permutation(10)
    view = shuffled(patterns, order)
    np.testing.assert_array_equal(view[2:5], patterns[order][2:5])
    np.testing.assert_array_equal(view[np.array([7, 1])], patterns[order][[7, 1]])
    np.testing.assert_array_equal(view[::4], patterns[order][::4])
    assert (len(view), view.size, view.shape, view.dtype) == (10, 40, (10, 2, 2), np.uint16)


def test_a_run_from_read_patterns_is_the_same(simulated):
    preset = Preset.from_mapping({**ODD, "epoch_max": 3})
    patterns = simulated.dataset.patterns
    view = PatternView(patterns.shape, patterns.dtype, lambda index: patterns[index])
    lazy = refine(replace(simulated.dataset, patterns=view.as_array()), preset, backend="cpu")
    np.testing.assert_array_equal(lazy.object, refine(simulated.dataset, preset, backend="cpu").object)


def test_sweeps_end_by_themselves(simulated):
    preset = Preset.from_mapping({**ODD, "early_stop": True, "batch_size": 16, "sweep_step": 0.5})
    result = refine(simulated.dataset, preset, backend="cpu")
    assert LEAST_SWEEPS <= result.phases.count("sweep") <= MOST_SWEEPS
    assert result.phases.count("lbfgs") == 6


def test_the_loss_table_is_kept_up_to_date(simulated, tmp_path):
    path = tmp_path / "loss.csv"
    lines = []
    refine(
        simulated.dataset,
        Preset.from_mapping({**ODD, "epoch_max": 4}),
        backend="cpu",
        loss_table=path,
        on_progress=lambda p: lines.append((p.epoch, len(path.read_text().splitlines()) if path.exists() else 0)),
    )
    assert all(count == (epoch + 1 if epoch else 0) for epoch, count in lines)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["sweep", "sweep", "lbfgs", "lbfgs"]
    assert float(rows[-1]["loss"]) > 0
