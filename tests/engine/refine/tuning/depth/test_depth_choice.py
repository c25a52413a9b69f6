"""Slices and thickness, given or chosen by held-out loss."""

from dataclasses import replace

import numpy as np
import pytest
from columns import ENERGY_EV, SEMIANGLE_MRAD, scan_of_columns
from quick_first import quick_first

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth import depth_choice, seen_depth
from ptylive.engine.refine.tuning.depth.depth_choice import LEAST, with_found_depth, with_given_depth
from ptylive.engine.refine.tuning.depth.depth_trials import Best, Coarse, DepthTrials, slices_for
from ptylive.engine.refine.tuning.depth.seen_depth import CLEAR
from ptylive.engine.refine.tuning.depth.unexplained import OneSlice, Unexplained
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.advice.depth import FoundDepth
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

DEPTH_A = wavelength_A(ENERGY_EV) / (1e-3 * SEMIANGLE_MRAD) ** 2
ONE_MODE = Preset(probe_modes=1, refine_drift=False)
CPU = TrialContext(backend="cpu")


@pytest.fixture(autouse=True)
def no_trial_refines_it(monkeypatch, request):
    """No refined trials, columns (test_depth_from_columns.py), many slices or given focus (test_seen_depth.py).

    What one slice leaves: test_depth_unexplained.py.
    """
    if not any(mark.name == "slow" for mark in getattr(request.function, "pytestmark", ())):  # not of its parameters
        monkeypatch.setattr(depth_choice, "with_columns", lambda tuned, context: tuned)
        monkeypatch.setattr(depth_choice, "columns_of_depth", lambda tuned, context, depth_A: None)
        monkeypatch.setattr(OneSlice, "left", None)
        monkeypatch.setattr(depth_choice, "in_its_own_plane", lambda thin, context: thin)
        monkeypatch.setattr(depth_choice, "likeliest_like_one", lambda thin, several, context: None)
        monkeypatch.setattr(depth_choice, "depth_in_many_slices", lambda tuned, why, *others: (None, why))
        monkeypatch.setattr(seen_depth, "_shown_below_given", lambda tuned, why, thin, depth_A: (None, why))
        monkeypatch.setattr(depth_choice, "settled_thickness_A", lambda thick, thickness_A, *others: thickness_A)


def found(dataset, preset=ONE_MODE):
    return with_found_depth(Tuned(dataset, preset), CPU)


def found_to_be(monkeypatch, depths):
    """Prescribe the thickness, in depths of focus, whatever the patterns say; it exceeds half of one beyond doubt."""
    monkeypatch.setattr(DepthTrials, "gain_of_more", lambda self: Gain(0.1, 0.0005))
    monkeypatch.setattr(DepthTrials, "gain_of_half", lambda self, thin: Gain(0.1, 0.0005))
    monkeypatch.setattr(DepthTrials, "coarse", lambda self: Coarse(0.0, False, HeldOutLoss((1.0,))))
    monkeypatch.setattr(DepthTrials, "fine", lambda self, power, *, largest: Best(depths, largest))
    monkeypatch.setattr(depth_choice, "compared", lambda thin, thick, context: (None, thick))


@pytest.mark.slow
@pytest.mark.parametrize("thickness_A", [70.0, 40.0])
def test_a_thick_specimen_is_found_thick(thickness_A):
    tuned = found(scan_of_columns(thickness_A=thickness_A, points=16))
    form = tuned.preset.object
    # trials are a factor of 2 ** 0.5 apart; after few sweeps a third of the depth may still be missing
    assert form.total_thickness_A == pytest.approx(thickness_A, rel=0.3)
    assert form.slices == max(2, np.ceil(3 * form.total_thickness_A / DEPTH_A))
    assert f"{form.slices} slices, " in tuned.words[0]


@pytest.mark.slow
def test_a_thin_one_stays_thin():
    tuned = found(scan_of_columns(thickness_A=2.0, points=16))
    assert tuned.preset.object.num_slices == 1
    assert tuned.words[0].startswith("one slice: a depth of 27.9 Å would not predict held-out patterns better")


def test_depth_is_looked_for_from_the_defocus_of_the_maps_too(monkeypatch):
    """Short trials of one slice may have moved the focus to where no depth is visible."""
    asked = []

    def gain(self, thin, depths, *, hurried):
        asked.append((depths, hurried))
        return Gain(0.1 if self._part.calibration.get("C10") == -25 else 0, 0.01)

    monkeypatch.setattr(DepthTrials, "gain", gain)
    found_to_be(monkeypatch, 1.0)
    dataset = scan_of_columns(points=16)
    moved = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-60.0, Origin.ESTIMATED)))
    curve = Curve(Scanned.DEFOCUS, (25.0, 60.0), (2.0, 1.0), 25.0, 60.0, 1.0, applied=True, reason="found")
    tuned = with_found_depth(Tuned(moved, ONE_MODE, (curve,)), CPU)
    assert tuned.dataset.calibration.get("C10") == pytest.approx(-25 - DEPTH_A / 2)
    assert tuned.words[0] == "restarted from a defocus of 25 Å, for a thick specimen"
    assert set(asked) == {(1.0, False)}  # half a depth of focus may not reach to where one slice has its focus
    left_alone = replace(curve, applied=False)
    assert with_found_depth(Tuned(moved, ONE_MODE, (left_alone,)), CPU).preset.object.num_slices == 1


@pytest.mark.parametrize(("start_A", "asked"), [(50.0, [-60.0]), (20.0, [-20.0])])
def test_a_focus_that_was_only_corrected_is_the_middle(monkeypatch, start_A, asked):
    """A correction is less than half a depth of focus, 14 Å; one slice moves further in a crystal."""
    tried = []

    def gain(self, thin, depths, **how):
        tried.append(self._part.calibration.get("C10"))
        return Gain(0.1, 0.01)

    monkeypatch.setattr(DepthTrials, "gain", gain)
    found_to_be(monkeypatch, 1.0)
    dataset = scan_of_columns(points=16)
    moved = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-60.0, Origin.ESTIMATED)))
    curve = Curve(Scanned.DEFOCUS, (start_A, 60.0), (2.0, 1.0), start_A, 60.0, 1.0, applied=True, reason="found")
    with_found_depth(Tuned(moved, ONE_MODE, (curve,)), CPU)
    assert tried == asked


def test_a_gain_that_is_certain_and_small_is_no_depth(monkeypatch):
    """The two sheets of a single layer of MoS2 cause such a gain."""
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.004, 0.0005))
    tuned = found(scan_of_columns(points=16))
    assert tuned.preset.object.num_slices == 1
    assert "(gain 0.4 ± 0.05 %)" in tuned.words[0]


@pytest.mark.parametrize(
    ("shown", "more", "modes", "slices"),
    quick_first(
        [
            ({1: 0.03, "auto": 0.001}, 0.8 * CLEAR, [1, "auto"], 1),  # blur by a source, absent with one mode
            ({1: 0.03, "auto": 0.01}, 0.8 * CLEAR, [1, "auto"], 3),
            ({1: 0.06, "auto": 0.001}, 1.2 * CLEAR, [1], 3),  # more than any blur gains
            ({1: 0.001, "auto": 0.1}, 1.2 * CLEAR, [1], 1),
        ],
        2,
    ),
)
def test_depth_that_one_mode_shows_is_asked_of_several_unless_clear(monkeypatch, shown, more, modes, slices):
    asked = []

    def gain(self, thin, depths, **how):
        asked.append(self._preset.probe.probe_modes)
        return Gain(shown[asked[-1]], 0.0005)

    monkeypatch.setattr(DepthTrials, "gain", gain)
    monkeypatch.setattr(DepthTrials, "loss", lambda self, depths, slices: HeldOutLoss((1.0,)))
    found_to_be(monkeypatch, 1.0)
    monkeypatch.setattr(DepthTrials, "gain_of_more", lambda self: Gain(more, 0.0005))
    assert found(scan_of_columns(points=16), Preset()).preset.object.num_slices == slices
    assert asked == modes


@pytest.mark.parametrize(
    ("gain", "slices"),
    [(Gain(0.03, 0.01), 3), (Gain(0.03, 0.02), 1), (Gain(0.009, 0.001), 1), (Gain(-0.1, 0.01), 1), (None, 3)],
)
def test_several_slices_have_to_predict_better_than_one(monkeypatch, gain, slices):
    """The thick candidate is as found; one slice keeps its earlier focus, which is not moved to an entrance."""
    pairs = []

    def compared(thin, thick, context):
        pairs.append((thin, thick))
        return gain, thick

    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.1, 0.01))
    found_to_be(monkeypatch, 1.0)
    monkeypatch.setattr(depth_choice, "compared", compared)
    dataset = scan_of_columns(points=16)
    moved = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-60.0, Origin.ESTIMATED)))
    tuned = found(moved)
    thin, thick = pairs[0]
    assert (thin.dataset, thin.preset.object.num_slices) == (moved, 1)
    assert (thick.preset.object.num_slices, thick.preset.object.total_thickness_A) == (3, pytest.approx(DEPTH_A))
    assert thick.dataset.calibration.get("C10") == pytest.approx(-60.0 - DEPTH_A / 2)
    assert tuned.preset.object.num_slices == slices
    assert tuned.dataset is (moved if slices == 1 else thick.dataset)
    if slices == 1:
        said = "one slice: 3 slices, 27.9 Å in total, would not predict held-out patterns much better than one (gain"
        assert tuned.words[0].startswith(said)
        assert FoundDepth.heard(tuned.words[0]) is None


@pytest.mark.parametrize(("depths", "slices"), quick_first([(0.6, 1), (0.9, 3), (2.0, 6)]))
def test_what_is_thinner_than_three_quarters_of_a_depth_of_focus_is_one_slice(monkeypatch, depths, slices):
    """Losses are parabolas about the thickness; for 0.6, half a depth of focus gains 0.35, a whole one 0.2."""

    def loss(self, tried, slices):
        return HeldOutLoss(tuple(10 + (tried - depths) ** 2 + group for group in (0.0, 0.01, 0.03)))

    monkeypatch.setattr(DepthTrials, "loss", loss)
    monkeypatch.setattr(DepthTrials, "first_loss", lambda self, tried: loss(self, tried, 2))
    monkeypatch.setattr(DepthTrials, "coarse", lambda self: Coarse(0.0, False, HeldOutLoss((1.0,))))
    monkeypatch.setattr(DepthTrials, "fine", lambda self, power, *, largest: Best(depths, largest))
    tuned = found(scan_of_columns(points=16))
    assert tuned.preset.object.num_slices == slices
    if slices == 1:
        assert "a depth of 27.9 Å would not predict held-out patterns better than half" in tuned.words[0]


def test_a_depth_of_which_half_is_worse_than_none_is_one_slice(monkeypatch):
    found_to_be(monkeypatch, 1.0)
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.06, 0.009))
    monkeypatch.setattr(DepthTrials, "gain_of_half", lambda self, thin: Gain(-0.005, 0.005))
    tuned = found(scan_of_columns(points=16))
    assert tuned.preset.object.num_slices == 1
    assert tuned.words[0].startswith(
        "one slice: half of a depth of 27.9 Å would not predict held-out patterns better (gain"
    )


@pytest.mark.parametrize(("origin", "asked"), quick_first([(Origin.GIVEN, 1.0), (Origin.ESTIMATED, 0.5)]))
def test_half_a_depth_of_focus_has_to_show_where_the_defocus_may_be_off_by_as_much(monkeypatch, origin, asked):
    tried = []
    monkeypatch.setattr(DepthTrials, "first_loss", lambda self, depths: tried.append(depths) or HeldOutLoss((1.0, 1.1)))
    monkeypatch.setattr(DepthTrials, "loss", lambda self, depths, slices: HeldOutLoss((1.0, 1.1)))
    dataset = scan_of_columns(points=16)
    focus = dataset.calibration.having(C10=Quantity(-25.0, origin))
    assert found(replace(dataset, calibration=focus)).preset.object.num_slices == 1
    assert tried == [0.05, asked]


@pytest.mark.parametrize(("times", "distance_A", "slices"), [(1.2, None, 1), (2.0, None, 2), (2.0, 50.0, 1)])
def test_next_to_nothing_is_one_slice_unless_that_leaves_too_much(monkeypatch, times, distance_A, slices):
    dataset, given_A = scan_of_columns(points=16), None if distance_A is None else (distance_A,)
    found_to_be(monkeypatch, 0.2)
    monkeypatch.setattr(OneSlice, "left", Unexplained((times,), times))
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.06, 0.009))
    tuned = found(dataset, Preset(probe_modes=1, slice_distances_A=given_A))
    assert tuned.preset.object.slices == slices
    assert slices == 1 or tuned.preset.object.total_thickness_A == pytest.approx(LEAST * DEPTH_A)
    assert slices == 2 or "one slice: trials of several slices find only" in tuned.words[-1]
    assert tuned.dataset.calibration.aberrations == dataset.calibration.aberrations


def test_more_depth_that_may_be_none_is_one_slice(monkeypatch):
    """For platinum of 0.6 depths of focus a whole one led over half of one, by less than the uncertainty."""
    found_to_be(monkeypatch, 1.0)
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.02, 0.003))
    monkeypatch.setattr(DepthTrials, "gain_of_more", lambda self: Gain(0.0005, 0.0003))
    assert found(scan_of_columns(points=16)).preset.object.num_slices == 1


@pytest.mark.slow
def test_the_other_half_turn_is_not_followed_to_its_thickness(monkeypatch):
    """The coarse trials settle it, and fine ones are made for one half only."""
    followed = []
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.1, 0.0005))
    groups = {True: (2.0, 2.1), False: (1.0, 1.1)}
    monkeypatch.setattr(DepthTrials, "coarse", lambda self: Coarse(0.0, False, HeldOutLoss(groups[self._under == ""])))
    monkeypatch.setattr(
        DepthTrials, "fine", lambda self, power, *, largest: followed.append(self._under) or Best(1.0, largest)
    )
    asked = []

    def settled(self, depths, slices, sweeps, most):
        asked.append((self._under, depths, slices, sweeps))
        return HeldOutLoss(groups[self._under == ""])

    monkeypatch.setattr(DepthTrials, "settled", settled)
    monkeypatch.setattr(depth_choice, "compared", lambda thin, thick, context: (None, thick))
    dataset = scan_of_columns(points=16)
    estimated = {"C10": Quantity(-25.0, Origin.ESTIMATED), "rotation_deg": Quantity(0.0, Origin.ESTIMATED)}
    tuned = found(replace(dataset, calibration=dataset.calibration.having(**estimated)))
    assert followed == ["the other half turn, "]
    assert asked == [
        (half, 1.0, slices_for(1.0), sweeps) for sweeps in (4, 8) for half in ("", "the other half turn, ")
    ]
    assert tuned.half_turn


@pytest.mark.parametrize(
    ("known", "halves"),
    [({}, 2), ({"atoms_at_random": True}, 1), ({"half_turn_settled": True}, 1)],
    ids=["open", "atoms at random", "settled"],
)
@pytest.mark.parametrize("told", quick_first([True, False]))
def test_which_half_turn_is_asked_of_depth(monkeypatch, known, halves, told):
    """Both are tried if it is open and the specimen is a lattice; whether there is depth is tested under either."""
    asked = []
    found_to_be(monkeypatch, 1.0)
    one = HeldOutLoss((1.0, 1.1))
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.1, 0.0005))
    monkeypatch.setattr(DepthTrials, "coarse", lambda self: asked.append(1) or Coarse(0.0, False, one))
    monkeypatch.setattr(DepthTrials, "loss", lambda self, depths, slices: asked.append(1) or one)
    dataset = scan_of_columns(points=16)
    estimated = {"C10": Quantity(-25.0, Origin.ESTIMATED), "rotation_deg": Quantity(0.0, Origin.ESTIMATED)}
    dataset = replace(dataset, calibration=dataset.calibration.having(**estimated))
    if told:
        thick = Preset(num_slices=3, total_thickness_A=DEPTH_A, probe_modes=1)
        depth_choice.with_half_turn_by_depth(Tuned(dataset, thick, **known), CPU)
        assert len(asked) == (2 if halves == 2 else 0)
    else:
        with_found_depth(Tuned(dataset, ONE_MODE, **known), CPU)
        assert len(asked) == halves


def test_a_specimen_nothing_gets_through_is_not_tried(monkeypatch):
    """A semi-angle of 1 mrad at 300 kV, as in cryo-microscopy, has a depth of focus of 2 µm."""
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: pytest.fail("tried"))
    dataset = scan_of_columns(points=16)
    tiny = replace(
        dataset, calibration=dataset.calibration.having(convergence_semiangle_mrad=Quantity(1.0, Origin.GIVEN))
    )
    tuned = found(tiny)
    assert tuned.preset.object.num_slices == 1
    assert tuned.words == ("one slice: depths below 25100 Å would not be visible",)


def test_nothing_is_tried_where_slices_are_given_or_patterns_few():
    few = scan_of_columns(points=4)
    assert (found(few).preset.object.num_slices, found(few).words) == (1, ())
    given = Preset(num_slices=3, total_thickness_A=30.0)
    assert with_given_depth(few, given) is given
    assert found(few, given) == Tuned(few, given)


def test_slices_are_laid_out_for_the_thickness_that_trials_lead_to(monkeypatch):
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.04, 0.0005))
    found_to_be(monkeypatch, 1.0)
    asked = []

    def settled(thick, thickness_A, thickest_A, context):
        asked.append((thickness_A, thick(2 * thickness_A).preset.object.num_slices))
        return 2 * thickness_A

    monkeypatch.setattr(depth_choice, "settled_thickness_A", settled)
    tuned = found(scan_of_columns(points=16))
    assert asked == [(pytest.approx(DEPTH_A), 6)]
    assert (tuned.preset.object.num_slices, tuned.preset.object.total_thickness_A) == (6, pytest.approx(2 * DEPTH_A))
    assert tuned.preset.refined.update_thickness is True
    assert FoundDepth.heard(tuned.words[-1]).thickness_A == pytest.approx(2 * DEPTH_A, rel=0.01)


@pytest.mark.parametrize("share", [0.2, 0.97])
def test_a_thickness_of_one_slice_that_trials_lead_to_is_not_tried(monkeypatch, share):
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.04, 0.0005))
    found_to_be(monkeypatch, 0.255)
    monkeypatch.setattr(depth_choice, "settled_thickness_A", lambda thick, thickness_A, *others: share * thickness_A)
    form = found(scan_of_columns(points=16)).preset.object
    assert (form.slices, form.total_thickness_A) == (2, pytest.approx(0.255 * DEPTH_A))


def test_a_given_distance_makes_the_slices_of_a_found_thickness(monkeypatch):
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.04, 0.0005))
    found_to_be(monkeypatch, 40.0 / DEPTH_A)
    tuned = found(scan_of_columns(points=16), Preset(probe_modes=1, slice_distances_A=(5.0,)))
    assert (tuned.preset.object.num_slices, tuned.preset.object.total_thickness_A) == (8, pytest.approx(40.0))


@pytest.mark.slow
def test_of_a_scan_in_the_middle_of_its_specimen_the_entrance_is_found():
    """The simulated defocus of the entrance is 60 Å; one slice sees the middle of 70 Å at 25 Å."""
    dataset = scan_of_columns(thickness_A=70.0, points=16)
    blind = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-25.0, Origin.ESTIMATED)))
    tuned = found(blind)
    thickness_A = tuned.preset.object.total_thickness_A
    assert thickness_A == pytest.approx(70.0, rel=0.3)
    entrance_A = -tuned.dataset.calibration.aberrations["C10"]
    # the plane compensates an error of the thickness: nearer than half of it above the assumed middle
    assert abs(entrance_A - 60.0) < abs(25.0 + thickness_A / 2 - 60.0)
    assert f"; defocus at the entrance surface {entrance_A:.3g} Å" in tuned.words[0]


def found_by(monkeypatch, moved_A):
    """Prescribe a depth of one depth of focus whose trials move the optics; return how trials were configured."""
    asked, fine = [], DepthTrials.__init__

    def made(self, part, preset, context, depth_A, under="", *, freed=False):
        fine(self, part, preset, context, depth_A, under, freed=freed)
        asked.append((freed, part.calibration.get("C10"), preset.probe.probe_modes))

    monkeypatch.setattr(DepthTrials, "__init__", made)
    monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(0.1, 0.01))
    found_to_be(monkeypatch, 1.0)
    monkeypatch.setattr(DepthTrials, "fine", lambda self, power, *, largest: Best(1.0, largest, moved_A=moved_A))
    return asked


def test_thickness_and_plane_are_found_together_from_the_focus_of_the_maps(monkeypatch):
    """A scan of one slice had moved the focus by 10 Å, less than half a depth of focus, towards the entrance."""
    asked = found_by(monkeypatch, {"C10": 3.0})
    dataset = scan_of_columns(points=16)
    moved = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-60.0, Origin.ESTIMATED)))
    curve = Curve(Scanned.DEFOCUS, (50.0, 60.0), (2.0, 1.0), 50.0, 60.0, 1.0, applied=True, reason="found")
    tuned = with_found_depth(Tuned(moved, Preset(), (curve,)), CPU)
    assert asked[-1] == (True, -50.0, 2)
    assert not any(freed for freed, *_ in asked[:-1])
    assert tuned.dataset.calibration.get("C10") == pytest.approx(-50.0 + 3.0 - DEPTH_A / 2)
    assert tuned.dataset.calibration.origin("C10") is Origin.ESTIMATED


@pytest.mark.parametrize(
    ("origin", "settings"), quick_first([(Origin.GIVEN, {}), (Origin.ESTIMATED, {"scan_defocus": False})])
)
def test_a_plane_that_is_stated_stays_where_it_is(monkeypatch, origin, settings):
    asked = found_by(monkeypatch, {})
    dataset = scan_of_columns(points=16)
    stated = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-60.0, origin)))
    tuned = with_found_depth(Tuned(stated, Preset(**settings)), CPU)
    assert asked[-1] == (False, -60.0, "auto")
    assert tuned.dataset.calibration.get("C10") == pytest.approx(-60.0 - (origin is not Origin.GIVEN) * DEPTH_A / 2)
