"""Several slices compared with one in the form of one."""

from types import SimpleNamespace

import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth import like_one_slice
from ptylive.engine.refine.tuning.depth.like_one_slice import likeliest_like_one
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
LEFT = "one slice leaves 2.3 times the counting noise"
THICKNESSES_A = (150.0, 90.0)


def judged(monkeypatch, gains, left=LEFT, **settings):
    """The outcome for slices of 150 and 90 Å that gain this much, and the settings that they were compared in."""
    asked = []

    def gain(thin, thick, context):
        assert thin.preset.object.slices == 1
        form, loss = thick.preset.object, thick.preset.loss
        asked.append((str(loss.algorithm), form.phase_only_obj, form.non_negative_phase))
        return gains[sum(form.slice_thickness_A)]

    monkeypatch.setattr(like_one_slice, "gain_of_slices", gain)
    monkeypatch.setattr(like_one_slice, "too_little", lambda thin, context: left)
    dataset = scan_of_columns(points=16)
    thin = Tuned(dataset, Preset(num_slices=1, **settings))
    several = [
        Tuned(dataset, Preset(num_slices=3, total_thickness_A=thick_A, **settings), words=("before",))
        for thick_A in THICKNESSES_A
    ]
    return likeliest_like_one(thin, several, CPU), asked


CLEAR, CLEARER, SMALL, UNSURE = Gain(0.07, 0.004), Gain(0.084, 0.003), Gain(0.009, 0.001), Gain(0.03, 0.02)


@pytest.mark.parametrize(
    ("gains", "taken_A"),
    [
        ((CLEAR, CLEARER), 90.0),
        ((CLEARER, CLEAR), 150.0),
        ((SMALL, CLEAR), 90.0),
        ((UNSURE, SMALL), None),
        ((None, None), None),
    ],
)
def test_the_thickness_that_gains_most_is_taken_if_it_is_worth_it(monkeypatch, gains, taken_A):
    found, _ = judged(monkeypatch, dict(zip(THICKNESSES_A, gains, strict=True)))
    assert (None if found is None else sum(found[1].preset.object.slice_thickness_A)) == taken_A


def test_they_are_compared_in_the_form_of_one_and_refined_in_their_own(monkeypatch):
    (gain, several), asked = judged(monkeypatch, dict.fromkeys(THICKNESSES_A, CLEAR))
    assert asked == [("ml", True, True)] * 2
    form = several.preset.object
    assert (several.preset.loss.algorithm, form.phase_only_obj, form.non_negative_phase) == ("auto", "auto", "auto")
    assert gain == CLEAR
    said = f"several slices, compared in the form of one ({LEFT}), predict held-out patterns better, by {gain}"
    assert several.words == ("before", said)


def test_a_given_data_term_stays_whatever_its_kind_is_called(monkeypatch):
    strategy = SimpleNamespace(kind="a term of a plugin", object_form=ObjectForm.PHASE, non_negative=True)
    trial = SimpleNamespace(problem=SimpleNamespace(strategy=strategy))
    monkeypatch.setattr(like_one_slice, "as_refined", lambda thin, context: trial)
    _, asked = judged(monkeypatch, dict.fromkeys(THICKNESSES_A, CLEAR), algorithm="lsq_sqrt")
    assert asked == [("lsq_sqrt", True, True)] * 2


def test_damped_where_one_slice_is(monkeypatch):
    asked = []

    def gain(thin, thick, context):
        form = thick.preset.object
        asked.append((form.weakly_damped_obj, form.phase_only_obj, form.non_negative_phase))
        return CLEAR

    monkeypatch.setattr(like_one_slice, "gain_of_slices", gain)
    monkeypatch.setattr(like_one_slice, "too_little", lambda thin, context: LEFT)
    dataset = scan_of_columns(points=16)
    thin = Tuned(dataset, Preset(num_slices=1, weakly_damped_obj=True, non_negative_phase=True))
    several = Tuned(dataset, Preset(num_slices=3, total_thickness_A=90.0))
    found = likeliest_like_one(thin, [several], CPU)
    assert asked == [(True, "auto", True)]
    assert found is not None and found[1].preset == several.preset


@pytest.mark.parametrize(
    "settings", [{"phase_only_obj": False}, {"phase_only_obj": True}, {"weakly_damped_obj": True}], ids=str
)
def test_a_given_form_is_compared_as_it_is(monkeypatch, settings):
    assert judged(monkeypatch, {}, **settings) == (None, [])


def test_nothing_is_compared_where_one_slice_explains_the_patterns(monkeypatch):
    """Particles of 30 to 60 Å gain 4 to 5 % as phases, and were the worse objects in several slices."""
    assert judged(monkeypatch, {}, left=None) == (None, [])
