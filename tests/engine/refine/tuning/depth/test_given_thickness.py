"""Several slices for a given thickness, or a single one."""

from dataclasses import replace

import numpy as np
import pytest
from columns import ENERGY_EV, SEMIANGLE_MRAD, scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.run.run import settle
from ptylive.engine.refine.tuning.depth import given_thickness
from ptylive.engine.refine.tuning.depth.depth_choice import with_given_depth
from ptylive.engine.refine.tuning.depth.given_thickness import with_slices_worth_it
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

CPU = TrialContext(backend="cpu")
THICK_A = 70.0
DEPTH_A = wavelength_A(ENERGY_EV) / (1e-3 * SEMIANGLE_MRAD) ** 2


def judged(dataset, settings, before=None):
    """The outcome for a preset with these settings."""
    asked = Preset(**settings)
    tuned = Tuned(dataset, with_given_depth(dataset, asked), words=("before",))
    return with_slices_worth_it(tuned, tuned if before is None else before, asked, CPU)


def gaining(monkeypatch, gain):
    """Make several slices gain this much over one; return the pairs that were compared."""
    pairs = []

    def compared(thin, thick, context):
        pairs.append((thin, thick))
        return gain, thick

    monkeypatch.setattr(given_thickness, "compared", compared)
    monkeypatch.setattr(given_thickness, "with_columns", lambda tuned, context, *, sooner: tuned)
    monkeypatch.setattr(given_thickness, "likeliest_like_one", lambda thin, several, context: None)
    monkeypatch.setattr(given_thickness, "in_its_own_plane", lambda thin, context: thin)
    monkeypatch.setattr(given_thickness, "with_absorption", lambda thin, context: thin)
    return pairs


COLUMNS = WarmStart(np.ones((1, 8, 3, 4), np.complex64), 0.5, (1.0, 2.0))


@pytest.mark.parametrize(("gain", "tries"), [(Gain(0.03, 0.01), 1), (Gain(-0.1, 0.01), 2), (Gain(0.03, 0.02), 2)])
def test_slices_not_worth_it_from_an_empty_object_may_be_from_columns(monkeypatch, gain, tries):
    """Slices of an object that was refined into a wrong minimum predict worse than one."""
    compared = []

    def gaining(thin, thick, context):
        compared.append(thick.warm_start)
        return Gain(0.2, 0.01) if thick.warm_start is COLUMNS else gain, thick

    monkeypatch.setattr(given_thickness, "compared", gaining)
    monkeypatch.setattr(given_thickness, "in_its_own_plane", lambda thin, context: thin)
    monkeypatch.setattr(given_thickness, "with_absorption", lambda thin, context: thin)
    monkeypatch.setattr(
        given_thickness, "with_columns", lambda tuned, context, *, sooner: replace(tuned, warm_start=COLUMNS)
    )
    tuned = judged(scan_of_columns(points=16), {"total_thickness_A": THICK_A})
    assert compared == [None, COLUMNS][:tries]
    assert (tuned.preset.object.slices, tuned.warm_start) == (8, compared[-1])


def test_one_slice_is_refined_in_its_own_plane(monkeypatch):
    compared = gaining(monkeypatch, Gain(-0.03, 0.005))
    monkeypatch.setattr(
        given_thickness, "in_its_own_plane", lambda thin, context: replace(thin, words=(*thin.words, "20 Å below"))
    )
    tuned = judged(scan_of_columns(points=16), {"total_thickness_A": THICK_A})
    assert compared[0][0].words == ("before", "20 Å below")
    assert tuned.words[:-1] == ("before", "20 Å below")


def test_and_with_absorption_where_that_is_far_better(monkeypatch):
    compared = gaining(monkeypatch, Gain(-0.03, 0.005))
    monkeypatch.setattr(
        given_thickness, "with_absorption", lambda thin, context: thin.with_settings("damped", weakly_damped_obj=True)
    )
    tuned = judged(scan_of_columns(points=16), {"total_thickness_A": THICK_A})
    assert [one.preset.object.weakly_damped_obj for one in compared[0]] == [True, False]
    assert tuned.preset.object.weakly_damped_obj and tuned.words[:-1] == ("before", "damped")


@pytest.mark.parametrize(("gain", "slices"), [(Gain(0.06, 0.006), 8), (None, 1)])
def test_or_in_the_form_of_one_slice(monkeypatch, gain, slices):
    """Silicon of 48 Å told: 0.953 in one slice, 0.971 in several."""
    gaining(monkeypatch, Gain(-0.03, 0.005))
    monkeypatch.setattr(
        given_thickness,
        "likeliest_like_one",
        lambda thin, several, context: None if gain is None else (gain, several[0]),
    )
    assert judged(scan_of_columns(points=16), {"total_thickness_A": THICK_A}).preset.object.slices == slices


@pytest.mark.parametrize(
    ("gain", "slices"),
    [(Gain(0.03, 0.01), 8), (Gain(0.009, 0.001), 1), (Gain(-0.1, 0.01), 1), (None, 8)],
)
def test_slices_of_a_given_thickness_have_to_predict_better_than_one(monkeypatch, gain, slices):
    compared = gaining(monkeypatch, gain)
    tuned = judged(scan_of_columns(points=16), {"total_thickness_A": THICK_A})
    assert [one.preset.object.slices for one in compared[0]] == [1, 8]
    form = tuned.preset.object
    assert (form.num_slices, sum(form.slice_thickness_A)) == (slices, pytest.approx(THICK_A))


@pytest.mark.parametrize("share", [0.03, -0.03])
@pytest.mark.parametrize(("depths", "slices"), [(1.2, 1), (1.3, 4)])
def test_in_doubt_what_was_told_decides(monkeypatch, share, depths, slices):
    """Slices within a depth of focus cannot be distinguished, those beyond it can."""
    gaining(monkeypatch, Gain(share, 0.02))
    tuned = judged(scan_of_columns(points=16), {"total_thickness_A": depths * DEPTH_A})
    assert tuned.preset.object.slices == slices


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (Gain(0.03, 0.01), "8 slices, 70 Å in total, as the given thickness requires: they predict held-out patterns"),
        (
            Gain(0.03, 0.02),
            "8 slices, 70 Å in total, as the given thickness requires: neither they nor one slice predict held-out",
        ),
        (
            Gain(-0.03, 0.01),
            "one slice: 8 slices, 70 Å in total, would not predict held-out patterns much better than one (gain -3",
        ),
    ],
)
def test_it_is_said_in_a_sentence(monkeypatch, gain, said):
    gaining(monkeypatch, gain)
    words = judged(scan_of_columns(points=16), {"total_thickness_A": THICK_A}).words
    assert words[:-1] == ("before",)
    assert words[-1].startswith(said)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_slices": 3, "total_thickness_A": THICK_A},
        {"total_thickness_A": THICK_A, "slice_distances_A": (10.0,)},
        {"slice_distances_A": (10.0, 20.0)},
        {"total_thickness_A": THICK_A, "tilts_mrad": ((0.0, 0.0, 3.0, 0.0, 0.0, 0.0),)},
        {"total_thickness_A": THICK_A, "update_tilts": True},
        {"total_thickness_A": THICK_A, "field_order": 1, "field_terms": ("thickness",)},
        {"total_thickness_A": THICK_A, "update_obj": False},
        {"total_thickness_A": 2.0},
        {},
    ],
    ids=["number", "distance", "distances", "tilt", "tilts", "thickness-varies", "no-object", "thin", "nothing"],
)
def test_nothing_else_is_asked(monkeypatch, settings):
    monkeypatch.setattr(given_thickness, "compared", lambda *told: pytest.fail("tried"))
    dataset = scan_of_columns(points=16)
    assert judged(dataset, settings).preset == with_given_depth(dataset, Preset(**settings))


def test_nor_of_few_patterns(monkeypatch):
    monkeypatch.setattr(given_thickness, "compared", lambda *told: pytest.fail("tried"))
    assert judged(scan_of_columns(points=8), {"total_thickness_A": THICK_A}).preset.object.slices == 8


def test_one_slice_has_a_focus_of_its_own(monkeypatch):
    """For one slice, an estimated focus is scanned from where it was before several slices moved it."""
    compared = gaining(monkeypatch, Gain(-0.1, 0.01))
    dataset = scan_of_columns(points=16)

    def focused_at(defocus_A):
        return replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-defocus_A, Origin.ESTIMATED)))

    tuned = judged(focused_at(110.0), {"total_thickness_A": THICK_A}, Tuned(focused_at(60.0), Preset(probe_modes=1)))
    thin, several = compared[0]
    assert several.dataset.calibration.aberrations["C10"] == -110.0
    assert (thin.curves[0].start, thin.preset.probe.probe_modes) == (60.0, 1)
    assert (tuned.dataset, tuned.curves) == (thin.dataset, thin.curves)


@pytest.mark.slow
def test_a_run_asks(monkeypatch):
    compared = gaining(monkeypatch, Gain(-0.1, 0.01))
    settings = {"total_thickness_A": THICK_A, "probe_modes": 1, "phase_only_obj": True, "anchor": 0.1}
    tuned = settle(scan_of_columns(points=16), Preset(**settings), CPU)
    assert len(compared) == 1
    assert tuned.preset.object.num_slices == 1
    several = settle(scan_of_columns(points=16), Preset(num_slices=8, **settings), CPU)
    assert len(compared) == 1
    assert several.preset.object.num_slices == 8


@pytest.mark.slow
def test_columns_that_are_thick_keep_their_slices_and_a_sheet_does_not():
    thick, sheet = (scan_of_columns(thickness_A=thickness_A, points=16) for thickness_A in (THICK_A, 2.0))
    assert judged(thick, {"total_thickness_A": THICK_A}).preset.object.slices == 8
    assert judged(sheet, {"total_thickness_A": 15.0}).preset.object.slices == 1
