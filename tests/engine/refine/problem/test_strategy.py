"""The choices of ``auto``: they are stated, and given values win."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from shared_data import shared_data

from ptylive.engine.backend.multislice.problem import DataTermKind
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.problem.strategy import choose, for_counts
from ptylive.schema.preset import Preset

STRONG = PatternStatistics(
    counts_per_pattern=16000, bright_counts=32, dark_counts=0.05, dose_e_per_A2=1e5, noise_spread=0.0
)

SLICES = Preset(num_slices=4, total_thickness_A=40.0)


def chosen(preset, statistics, *, has_start):
    groups = preset.object, preset.probe, preset.loss, preset.solver, preset.start
    return choose(*groups, statistics, has_start=has_start)


def test_one_slice_at_good_dose_is_thin():
    strategy = chosen(Preset(), STRONG, has_start=True)
    assert strategy.object_form is ObjectForm.PHASE
    assert strategy.non_negative
    assert strategy.kind is DataTermKind.POISSON
    assert strategy.offset == pytest.approx(0.6 * 0.05)
    assert "flat background of 0.6" in strategy.reason
    assert strategy.coherence.modes == 4
    assert not strategy.start_from_map
    assert strategy.epochs - strategy.sweeps >= 5
    assert "one slice at 100\u2009000 e/Å²" in strategy.reason


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "phase object at or above vacuum"),
        ({"non_negative_phase": False}, "phase object;"),
        ({"phase_only_obj": False}, "complex object;"),
        ({"weakly_damped_obj": True}, "weakly damped object at or above vacuum"),
    ],
)
def test_the_reason_names_the_form_that_is_given(settings, words):
    assert f"e/Å²: {words}" in chosen(Preset(**settings), STRONG, has_start=True).reason


def test_several_slices_are_thick():
    strategy = chosen(Preset(num_slices=4, total_thickness_A=100), STRONG, has_start=False)
    assert strategy.object_form is ObjectForm.COMPLEX
    assert not strategy.non_negative
    assert strategy.offset == pytest.approx(0.15)
    assert "4 slices: complex object" in strategy.reason
    of_phases = Preset(num_slices=4, total_thickness_A=100, phase_only_obj=True)
    assert "4 slices: phase object" in chosen(of_phases, STRONG, has_start=False).reason


@pytest.mark.parametrize(
    ("dose", "few", "from_map"), [(5001.0, False, False), (4999.0, True, False), (2999.0, True, True)]
)
def test_several_slices_of_few_electrons_are_held_closely_to_the_sweeps(dose, few, from_map):
    """They are refined by the likelihood of their counts, and start from the map where a single slice would."""
    strategy = chosen(SLICES, replace(STRONG, dose_e_per_A2=dose), has_start=True)
    assert strategy.kind is (DataTermKind.POISSON if few else DataTermKind.AMPLITUDE)
    assert (strategy.anchor, strategy.start_from_map) == (1.0 if few else 0.1, from_map)
    assert strategy.offset == pytest.approx(0.6 * 0.05 if few else 0.15)
    assert ("few electrons" in strategy.reason, "started from the live map" in strategy.reason) == (few, from_map)
    assert "live map" not in chosen(SLICES, replace(STRONG, dose_e_per_A2=dose), has_start=False).reason


@pytest.mark.parametrize("change", [{"noise_spread": 0.3}, {"counting_share": 0.0}, {"dose_e_per_A2": np.nan}])
def test_few_electrons_of_several_slices_are_counted_one_by_one(change):
    strategy = chosen(SLICES, replace(STRONG, **{"dose_e_per_A2": 900.0, **change}), has_start=True)
    assert (strategy.kind, strategy.anchor, strategy.start_from_map) == (DataTermKind.AMPLITUDE, 0.1, False)


def test_what_is_asked_for_several_slices_of_few_electrons_is_kept():
    asked = SLICES.model_copy(update={"algorithm": "lsq_sqrt", "anchor": 0.1, "start_from_map": False})
    strategy = chosen(asked, replace(STRONG, dose_e_per_A2=900.0), has_start=True)
    assert (strategy.kind, strategy.anchor, strategy.start_from_map) == (DataTermKind.AMPLITUDE, 0.1, False)


@pytest.mark.parametrize("change", [{"dose_e_per_A2": 50.0}, {"dose_e_per_A2": 900.0, "noise_spread": 0.3}])
def test_low_dose_or_correlated_noise_is_weak(change):
    strategy = chosen(Preset(), replace(STRONG, **change), has_start=True)
    assert strategy.bright_field_only
    assert strategy.start_from_map
    assert strategy.offset > STRONG.bright_counts
    assert strategy.coherence.modes == 1
    assert "live map" in strategy.reason


def test_moderate_dose_starts_from_the_map_only_where_there_is_one():
    statistics = replace(STRONG, dose_e_per_A2=1500.0)
    assert chosen(Preset(), statistics, has_start=True).start_from_map
    assert not chosen(Preset(), statistics, has_start=False).bright_field_only


def test_given_values_win():
    preset = Preset.from_mapping(
        {"phase_only_obj": False, "loss_offset": 2.5, "probe_modes": 2, "sweeps": 3, "epoch_max": 4, "batch_size": 7}
    )
    strategy = chosen(preset, STRONG, has_start=False)
    assert (strategy.object_form, strategy.non_negative, strategy.offset) == (ObjectForm.COMPLEX, False, 2.5)
    assert (strategy.coherence.modes, strategy.sweeps, strategy.epochs, strategy.batch_size) == (2, 3, 4, 7)


@pytest.mark.parametrize(("epochs", "sweeps"), [(1, 0), (3, 2), (6, 4), (100, 8)])
def test_lbfgs_keeps_a_third_of_the_epochs(epochs, sweeps):
    assert chosen(Preset(epoch_max=epochs), STRONG, has_start=False).sweeps == sweeps


def test_only_an_open_number_of_epochs_is_exceeded():
    assert chosen(Preset(), STRONG, has_start=False).more_epochs > 0
    assert chosen(Preset(epoch_max=14), STRONG, has_start=False).more_epochs == 0
    thick = Preset(num_slices=2, total_thickness_A=20)
    assert chosen(thick, STRONG, has_start=False).more_epochs == 0


@pytest.mark.parametrize(("patterns", "size"), [(0, 128), (4096, 128), (16511, 128), (65536, 512), (1 << 20, 8192)])
def test_batches_of_thin_specimens_grow_with_large_scans(patterns, size):
    seen = replace(STRONG, patterns=patterns)
    for preset in (Preset(), Preset(algorithm="lsq_sqrt"), Preset(algorithm="lsq_sqrt_2")):
        assert chosen(preset, seen, has_start=False).batch_size == size
    assert chosen(Preset(batch_size=100), seen, has_start=False).batch_size == 100
    assert chosen(SLICES, seen, has_start=False).batch_size == 32
    assert chosen(Preset(optimizer="adam"), seen, has_start=False).batch_size == 32
    assert chosen(Preset(), replace(seen, dose_e_per_A2=50.0), has_start=False).batch_size == 64


@pytest.mark.parametrize(
    ("dose", "patterns", "size"),
    [
        (8000.0, 4096, 1536),
        (4000.0, 1000, 500),
        (8000.0, 300, 128),
        (1.1e4, 4096, 128),
        (np.nan, 4096, 128),
        (8000.0, 0, 128),
    ],
)
def test_batches_of_few_electrons_have_enough_together(dose, patterns, size):
    """3000 e/Å², or half of the scan; steps are longer, and those of short trials unchanged."""
    seen = replace(STRONG, dose_e_per_A2=dose, patterns=patterns)
    strategy = chosen(Preset(), seen, has_start=False)
    assert strategy.batch_size == size
    assert strategy.sweep_step == pytest.approx(min(0.5 * (size / 128) ** 0.5, 1.0))
    assert (strategy.trial_batch, strategy.trial_step) == (128, 0.5)
    assert chosen(Preset(sweep_step=0.3), seen, has_start=False).trial_step == 0.3
    given = chosen(Preset(batch_size=64), seen, has_start=False)
    assert (given.batch_size, given.trial_batch) == (64, 64)
    assert chosen(SLICES, seen, has_start=False).batch_size == (128 if dose <= 5000 else 32)
    assert chosen(Preset(optimizer="adam"), seen, has_start=False).batch_size == 32
    assert chosen(Preset(), replace(seen, counting_share=0.0), has_start=False).batch_size == 128  # free of noise


@pytest.mark.parametrize(
    ("batch", "step"), [(32, 0.25), (64, 0.5 / 2**0.5), (128, 0.5), (256, 0.5 * 2**0.5), (512, 1.0), (4096, 1.0)]
)
def test_a_sweep_of_batches_of_another_size_goes_about_as_far(batch, step):
    assert chosen(Preset(batch_size=batch), STRONG, has_start=False).sweep_step == pytest.approx(step)
    assert chosen(Preset(batch_size=batch, sweep_step=0.3), STRONG, has_start=False).sweep_step == 0.3


@pytest.mark.parametrize("batch", ["auto", 100, 128, 4096])
def test_batches_that_hold_the_whole_scan_go_equally_far(batch):
    few = replace(STRONG, patterns=100)
    assert chosen(Preset(batch_size=batch), few, has_start=False).sweep_step == 0.5
    assert chosen(Preset(batch_size=25), few, has_start=False).sweep_step == pytest.approx(0.25)


def test_batches_are_compared_with_those_of_their_scan_and_their_engine():
    """65 536 patterns use batches of 512; a published engine uses its published step."""
    large = replace(STRONG, patterns=65536)
    assert chosen(Preset(batch_size=128), large, has_start=False).sweep_step == pytest.approx(0.25)
    assert chosen(Preset(batch_size=512), large, has_start=False).sweep_step == 0.5
    assert chosen(Preset(optimizer="epie", batch_size=64), STRONG, has_start=False).sweep_step == 1.0


def test_poisson_uses_its_floor():
    strategy = chosen(Preset(algorithm="ml"), STRONG, has_start=False)
    assert strategy.kind is DataTermKind.POISSON
    assert strategy.offset == pytest.approx(0.03)
    assert strategy.algorithm.startswith("ml, loss_floor")


def test_an_offset_asks_for_amplitudes():
    strategy = chosen(Preset(loss_offset=0.2), STRONG, has_start=False)
    assert (strategy.kind, strategy.offset) == (DataTermKind.AMPLITUDE, 0.2)


def test_patterns_without_noise_have_no_background():
    strategy = chosen(Preset(), replace(STRONG, counting_share=0.01), has_start=False)
    assert strategy.kind is DataTermKind.AMPLITUDE
    assert strategy.offset == pytest.approx(0.2 * 0.05)


def test_patterns_without_dark_field_keep_a_floor():
    strategy = chosen(Preset(), replace(STRONG, dark_counts=0.0), has_start=False)
    assert strategy.kind is DataTermKind.POISSON
    assert 0 < strategy.offset < 1e-3


def counted(preset, statistics):
    return for_counts(chosen(preset, statistics, has_start=False), preset.solver, statistics)


@pytest.mark.parametrize(
    ("dose", "anchor", "probe_step"),
    [(5e3, 0.1, 0.05), (1e4, 0.1, 0.05), (1.5e4, 0.1 / 1.5, 0.075), (2e4, 0.05, 0.1), (1e5, 0.01, 0.1)],
)
def test_many_electrons_let_object_and_probe_go(dose, anchor, probe_step):
    strategy = counted(Preset(), replace(STRONG, dose_e_per_A2=dose))
    assert (strategy.anchor, strategy.probe_step) == pytest.approx((anchor, probe_step))


def test_what_was_given_is_taken():
    strategy = counted(Preset(anchor=0.3, probe_step=0.2), STRONG)
    assert (strategy.anchor, strategy.probe_step) == (0.3, 0.2)


@pytest.mark.parametrize("settings", [{"algorithm": "lsq_sqrt"}, {"algorithm": "ml", "optimizer": "lsq_ml"}])
def test_amplitudes_and_published_engines_keep_their_own(settings):
    strategy = chosen(Preset(**settings), STRONG, has_start=False)
    assert for_counts(strategy, Preset(**settings).solver, STRONG) == strategy


@pytest.mark.data
def test_frames_of_one_slice_are_counted(read_dataset):
    strategy = prepare(read_dataset(shared_data("tiny_mos2_80kV_focus")), Preset(), None).strategy  # 2e5 e/Å²
    assert strategy.anchor == pytest.approx(0.005, rel=0.01)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "words"),
    quick_first(
        [
            ("mos2_svac_80kV_focus", "one slice"),
            ("mos2_edge_80kV_defocus", "one slice"),
            ("sto_10nm_200kV_defocus", "one slice"),
            ("rotavirus_300kV_cryo_west", "low dose"),
        ]
    ),
)
def test_shared_sets_fall_into_their_regime(read_dataset, name, words):
    assert words in prepare(read_dataset(shared_data(name)), Preset(), None).strategy.reason
