"""A start from columns: tested where a finished refinement from an empty object leaves far more than noise."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from second_run_scene import LARGE, THICK, Scene, came

from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.run.again import from_columns
from ptylive.engine.refine.run.again.from_columns import LESS, FromColumns

CURVE = Curve(Scanned.DEFOCUS, (1.0,), (1.0,), 1.0, 1.1, 0.01, True, "a defocus")
OPEN = "calibration: cannot tell the half turn of the scan: the dark field does not show it (give rotation_deg)"
OTHER = "calibration: cannot tell the defocus: no value explains the bright field (give defocus_A)"


@pytest.fixture
def scene(simulated) -> Scene:
    """A scan whose first run leaves far more than noise."""
    words = ("4 slices of 30 Å", OPEN, OTHER)
    known = {"calibration": simulated.dataset.calibration, "words": words, "half_turn": True, "curves": (CURVE,)}
    return Scene(simulated.dataset, came(LARGE, **known))


@pytest.fixture
def columns(monkeypatch):
    """Columns that trials find likeliest: stand-ins that name the data set and why; ``None``: all are given up."""
    tried = SimpleNamespace(found=lambda dataset, why: (dataset, why), of=[])

    def likeliest(tuned, context, unlike):
        assert unlike == "its object"
        tried.of.append(tuned)
        return tried.found

    monkeypatch.setattr(from_columns, "WarmStart", SimpleNamespace(of=lambda result: "its object"))

    monkeypatch.setattr(from_columns, "likeliest_columns", likeliest)
    return tried


def test_it_stands_if_it_leaves_less(scene, columns):
    second = came(0.9 * LARGE)
    incumbent = scene.incumbent([FromColumns()], second)
    assert incumbent.record is second
    assert incumbent.final().half_turn is True, "the half turn of the first run is kept"
    plan, _ = scene.scans[1]
    turned = incumbent.plan.dataset
    np.testing.assert_allclose(turned.positions_A, -scene.dataset.positions_A)
    assert plan.columns == (turned, "the first run, from an empty object, ended at 13 times the counting noise")
    assert plan.decided and plan.preset.object.slices == THICK.object.slices
    assert plan.curves == scene.first.curves == (CURVE,)


def test_what_the_first_run_found_is_said_again_but_for_what_the_second_finds_itself(scene, columns):
    scene.incumbent([FromColumns()], came(0.9 * LARGE))
    assert scene.scans[1][0].words == ("4 slices of 30 Å", OPEN)


@pytest.mark.parametrize(
    ("given", "slices"),
    [
        (THICK, 4),
        (THICK.model_copy(update={"num_slices": "auto", "total_thickness_A": None}), 6),
        (THICK.model_copy(update={"num_slices": "auto"}), 6),
        (THICK.model_copy(update={"num_slices": "auto", "total_thickness_A": None, "slice_distances_A": [30.0]}), 4),
    ],
    ids=["given", "found", "of a given thickness", "of a given distance"],
)
def test_a_number_of_slices_that_was_left_open_is_raised(scene, columns, given, slices):
    scene.preset = given
    scene.first = replace(scene.first, words=("4 slices, 120 Å (100 to 144 Å): a depth of 90 Å shows",))
    scene.incumbent([FromColumns()], came(0.9 * LARGE))
    plan = scene.scans[1][0]
    assert plan.preset.object.slices == columns.of[0].preset.object.slices == slices
    assert sum(plan.preset.object.slice_thickness_A) == pytest.approx(120.0)
    assert plan.words == (f"{slices} slices, 120 Å (100 to 144 Å): a depth of 90 Å shows",)


def test_one_that_leaves_as_much_leaves_the_first_which_says_so(scene, columns):
    final = scene.incumbent([FromColumns()], came((1 + LESS) / 2 * LARGE)).final()
    assert final.result.reason == f"4 slices; a start from columns ends at {(1 + LESS) / 2:.3g} times the loss"


def test_a_run_that_began_from_columns_is_not_repeated(scene, columns):
    scene.first = replace(scene.first, from_columns=True)
    assert scene.incumbent([FromColumns()]).record is scene.first
    assert columns.of == []


def test_nor_one_whose_columns_were_all_given_up(scene, columns):
    columns.found = None
    assert scene.incumbent([FromColumns()]).final().result.reason == "4 slices"
    assert len(scene.scans) == 1


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"num_slices": 1, "total_thickness_A": None}, False),
        ({"start_object": "object.npy"}, False),
        ({"start_phase_image": "phase.npy"}, False),
        ({"start_amplitude_image": "amplitude.npy"}, False),
    ],
)
def test_of_which_refinements_it_is_asked(scene, changed, expected):
    assert FromColumns().is_tested(scene.dataset, THICK.model_copy(update=changed)) is expected
