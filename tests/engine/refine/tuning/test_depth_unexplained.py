"""Slices for a specimen of which one slice explains too little, whether or not depth was seen."""

from dataclasses import replace

import pytest
from columns import ENERGY_EV, SEMIANGLE_MRAD, scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth import depth_choice
from ptylive.engine.refine.tuning.depth.depth_choice import with_found_depth
from ptylive.engine.refine.tuning.depth.depth_trials import Best, Coarse, DepthTrials
from ptylive.engine.refine.tuning.depth.unexplained import OneSlice, Unexplained
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

DEPTH_A = wavelength_A(ENERGY_EV) / (1e-3 * SEMIANGLE_MRAD) ** 2
ONE_MODE = Preset(probe_modes=1, refine_drift=False)
CPU = TrialContext(backend="cpu")
LEFT = "one slice leaves 2.2 times the counting noise"
MUCH, LITTLE = Unexplained((2.2,), 2.2), Unexplained((1.3,), 1.3)


@pytest.fixture(autouse=True)
def two_depths_of_focus(monkeypatch):
    """Two depths of focus predict best, and three after refined trials; no depth is seen, and there are no columns."""
    monkeypatch.setattr(DepthTrials, "coarse", lambda self: Coarse(1.0, False, HeldOutLoss((1.0,))))
    monkeypatch.setattr(DepthTrials, "fine", lambda self, power, *, largest: Best(2.0, largest))
    monkeypatch.setattr(depth_choice, "settled_thickness_A", lambda thick, thickness_A, *others: 1.5 * thickness_A)
    monkeypatch.setattr(depth_choice, "with_columns", lambda tuned, context: tuned)
    monkeypatch.setattr(depth_choice, "in_its_own_plane", lambda thin, context: thin)
    monkeypatch.setattr(depth_choice, "with_absorption", lambda thin, context, single: thin)
    monkeypatch.setattr(depth_choice, "_depth_base", lambda tuned, single, *others: (None, "no depth is seen"))


def leaving(monkeypatch, left):
    monkeypatch.setattr(OneSlice, "left", left)


def gaining(monkeypatch, *shares):
    """Slices gain this much, in the order in which they are compared; return the thicknesses compared."""
    asked, gains = [], iter(shares)

    def compared(thin, thick, context):
        asked.append(thick.preset.object.total_thickness_A)
        return Gain(next(gains), 0.01), thick

    monkeypatch.setattr(depth_choice, "compared", compared)
    return asked


def found(*, atoms_at_random=False):
    return with_found_depth(Tuned(scan_of_columns(points=16), ONE_MODE, atoms_at_random=atoms_at_random), CPU)


def test_a_thickness_that_refined_trials_took_too_far_is_the_one_before(monkeypatch):
    """81 Å of SrTiO3 were taken to 121 Å, in which slices were not worth it; in the 80 Å found before they were."""
    leaving(monkeypatch, MUCH)
    asked = gaining(monkeypatch, -0.04, 0.3)
    thickness_A = found().preset.object.total_thickness_A
    assert [*asked, thickness_A] == pytest.approx([3.0 * DEPTH_A, 2.0 * DEPTH_A, 2.0 * DEPTH_A])


def test_the_trials_of_thickness_are_made_although_no_depth_was_seen(monkeypatch):
    """A blind crystal of 212 Å, 2.4 depths of focus, was refined in one slice: 0.52 instead of 0.92."""
    leaving(monkeypatch, MUCH)
    gaining(monkeypatch, 0.08)
    tuned = found()
    assert tuned.preset.object.total_thickness_A == pytest.approx(3.0 * DEPTH_A)
    assert tuned.words[-1].endswith(f": {LEFT}")


@pytest.mark.parametrize("left", [None, LITTLE])
def test_one_slice_that_explains_the_patterns_stays(monkeypatch, left):
    leaving(monkeypatch, left)
    asked = gaining(monkeypatch)
    tuned = found()
    assert (tuned.preset.object.num_slices, asked) == (1, [])
    assert tuned.words == ("one slice: no depth is seen",)


def test_atoms_at_random_are_not_tried_again(monkeypatch):
    """Their depth was looked for in longer trials."""
    monkeypatch.setattr(OneSlice, "left", property(lambda self: pytest.fail("tried")))
    assert found(atoms_at_random=True).preset.object.num_slices == 1


def test_slices_not_worth_it_in_their_own_form_may_be_in_that_of_one(monkeypatch):
    """Silicon of 94 Å: behind by 10 % in its own form, ahead by 8 % as a phase by its counts; 0.85 became 0.93."""
    leaving(monkeypatch, MUCH)
    asked, offered = gaining(monkeypatch, -0.12, -0.1), []

    def likeliest(thin, several, context):
        offered.extend(each.preset.object.total_thickness_A for each in several)
        return Gain(0.084, 0.003), several[1]

    monkeypatch.setattr(depth_choice, "likeliest_like_one", likeliest)
    thickness_A = found().preset.object.total_thickness_A
    assert offered == asked == pytest.approx([3.0 * DEPTH_A, 2.0 * DEPTH_A])
    assert thickness_A == pytest.approx(2.0 * DEPTH_A)


def test_otherwise_it_is_one_slice_and_what_it_leaves_is_said(monkeypatch):
    leaving(monkeypatch, MUCH)
    gaining(monkeypatch, -0.12, -0.1)
    monkeypatch.setattr(depth_choice, "likeliest_like_one", lambda thin, several, context: None)
    monkeypatch.setattr(depth_choice, "columns_of_depth", lambda *told: pytest.fail("columns were looked for before"))
    tuned = found()
    assert tuned.preset.object.num_slices == 1
    assert tuned.words[-1].endswith(f"(gain -10 ± 1 %), although {LEFT}")


def in_a_plane(monkeypatch):
    """Move one slice to a plane of its own, with words that say so."""
    monkeypatch.setattr(
        depth_choice, "in_its_own_plane", lambda thin, context: replace(thin, words=(*thin.words, "20 Å below"))
    )


def test_one_slice_is_refined_in_its_own_plane(monkeypatch):
    in_a_plane(monkeypatch)
    leaving(monkeypatch, None)
    assert found().words == ("20 Å below", "one slice: no depth is seen")


def test_several_slices_are_compared_with_it_there_and_start_at_the_given_focus(monkeypatch):
    in_a_plane(monkeypatch)
    leaving(monkeypatch, MUCH)
    rivals = []
    monkeypatch.setattr(
        depth_choice,
        "compared",
        lambda thin, thick, context: rivals.append(thin.words) or (Gain(0.08, 0.01), thick),
    )
    tuned = found()
    assert rivals == [("20 Å below",)]
    assert tuned.preset.object.num_slices > 1 and "20 Å below" not in tuned.words


@pytest.mark.parametrize(("gain", "slices"), [(0.004, 1), (0.08, 6)])
def test_several_slices_have_to_predict_better_than_one_with_absorption(monkeypatch, gain, slices):
    """Two complex slices of 22 Å of gold were better than a phase, and not than one damped slice: 0.947 for 0.972."""
    leaving(monkeypatch, MUCH)
    monkeypatch.setattr(
        depth_choice,
        "with_absorption",
        lambda thin, context, single: thin.with_settings("damped", weakly_damped_obj=True),
    )
    monkeypatch.setattr(depth_choice, "likeliest_like_one", lambda thin, several, context: None)
    rivals = []

    def compared(thin, thick, context):
        rivals.append((thin.preset.object.weakly_damped_obj, thick.preset.object.weakly_damped_obj))
        return Gain(gain, 0.001), thick

    monkeypatch.setattr(depth_choice, "compared", compared)
    tuned = found()
    assert set(rivals) == {(True, False)}
    assert tuned.preset.object.weakly_damped_obj is (slices == 1)
    assert ("damped" in tuned.words) is (slices == 1)


def test_absorption_is_not_looked_for_where_one_slice_explains_the_patterns(monkeypatch):
    leaving(monkeypatch, None)
    monkeypatch.setattr(depth_choice, "with_absorption", lambda thin, context, single: pytest.fail("tried"))
    assert found().words == ("one slice: no depth is seen",)


@pytest.mark.parametrize(("power", "worse"), [(3.0, True), (3.0, False), (2.0, None)])
def test_many_slices_are_given_up_if_few_rule_them_out_and_few_are_not_asked(monkeypatch, power, worse):
    asked = []
    leaving(monkeypatch, MUCH)
    gaining(monkeypatch, 0.08)
    monkeypatch.setattr(DepthTrials, "coarse", lambda self: Coarse(power, False, HeldOutLoss((1.0,))))

    def hopeless(thin, tuned, thickness_A, context):
        asked.append(thickness_A)
        return Gain(-0.23, 0.006) if worse else None

    monkeypatch.setattr(depth_choice, "hopeless_gain", hopeless)
    tuned = found()
    assert asked == ([] if worse is None else [pytest.approx(2**power * DEPTH_A)])
    assert (tuned.preset.object.slices == 1) == bool(worse)
    if worse:
        text = f"one slice: 6 slices, {2**power * DEPTH_A:.3g} Å in total, predict held-out patterns worse than one"
        assert tuned.words[-1] == f"{text} (gain -23 ± 0.6 %), although {LEFT}"
