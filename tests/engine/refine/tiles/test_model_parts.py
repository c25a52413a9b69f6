"""Models beyond the plain far field reach a worker intact, and tiles have the loss and gradient of the whole."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.backend.multislice.description import (
    AberrationGroups,
    ForwardModel,
    NearField,
    PointSpread,
    SplitStep,
    Tilts,
)
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.run.course import CoursePlan
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tiles.crew import Threads
from ptylive.engine.refine.tiles.exchange import Exchange
from ptylive.engine.refine.tiles.links import ThreadLinks
from ptylive.engine.refine.tiles.model_parts import beyond_tiles, model_of, model_parts
from ptylive.engine.refine.tiles.possible import check_possible, check_problem
from ptylive.engine.refine.tiles.shared_run import Shared
from ptylive.engine.refine.tiles.tile_objective import TileObjective
from ptylive.engine.refine.tiles.tile_part import TilePart, part_of, tiles_of
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 24, "probe_modes": 2, "phase_deviation": False}
SLICES = {"num_slices": 2, "total_thickness_A": 40.0}
MODELS = {
    "a tilt of the beam": {"tilts_mrad": [[2, -3, 0, 0, 0, 0]], "tilt_mode": 2},
    "tilts of each pattern, refined": {**SLICES, "update_tilts": True, "tilts_mrad": "each"},
    "one tilt behind the specimen, refined": {
        "update_tilts": True,
        "tilts_mrad": [[0, 0, 0, 0, 2, -3]],
        "tilt_mode": 1,
    },
    "a split step of higher order": {**SLICES, "propmethod": "yoshida"},
    "a band limit": {"damping_cutoff_multislice": 0.6, "lazy_clean": True},
    "a point spread, refined": {"detector_psf_px": 0.7, "update_detector_psf": True},
    "finer pixels": {"upsample_pattern": 2},
    "aberrations of groups": {"aberrations_array_A": "halves", "aberration_marker": "halves"},
}
LONG = ("a split step of higher order", "finer pixels")


def laid_out(small, name):
    settings = dict(MODELS[name])
    count = len(small.dataset.patterns)
    if settings.get("tilts_mrad") == "each":
        settings["tilts_mrad"] = np.random.default_rng(3).normal(size=(count, 6)).tolist()
    if name == "aberrations of groups":
        settings = {"aberrations_array_A": [[5.0], [-5.0]], "aberration_marker": (np.arange(count) % 2).tolist()}
    preset = Preset.from_mapping({**PLAIN, **settings})
    check_possible(preset)
    problem = prepare(small.dataset, preset, None)
    check_problem(problem)
    assert problem.multislice.model is not None
    return preset, problem


def sent(preset, problem, tiles):
    """Parts as received by the workers."""
    plan = CoursePlan.of(problem.strategy, preset.solver, open_end=True)
    return [
        TilePart.of_bytes(part_of(problem, tile, plan, preset.refined, ()).to_bytes())
        for tile in tiles_of(problem, tiles)
    ]


def objective(part, exchange):
    backend = GeneralMultislice(part.multislice, np, "complex128", "reference")
    return TileObjective(Objective(backend, part.layout, len(part.tile.patterns)), part.tile, exchange, part.count)


@pytest.mark.parametrize("name", quick_first(sorted(MODELS, key=lambda name: name in LONG), len(MODELS) - len(LONG)))
def test_tiles_have_loss_and_gradient_of_the_whole(small, cut, name):
    preset, problem = laid_out(small, name)
    layout, rng = problem.layout, np.random.default_rng(4)
    vector = problem.start.astype(np.float64)
    vector[: layout.object_size] += 0.1 * rng.random(layout.object_size)
    backend = GeneralMultislice(problem.multislice, np, "complex128", "reference")
    whole = Objective(backend, layout, problem.multislice.count)
    parts, links = sent(preset, problem, 2), ThreadLinks(2)
    ones = [objective(part, Exchange(part.tile, links.of(part.tile.number))) for part in parts]
    for indices in (None, np.arange(0, problem.multislice.count, 5)):
        expected = whole.evaluate(vector, indices)
        there = [cut.part(layout, vector, one.tile) for one in ones]
        calls = [
            lambda one=one, mine=mine, indices=indices: one.evaluate(mine, indices)
            for one, mine in zip(ones, there, strict=True)
        ]
        for one, found in zip(ones, cut.together(calls), strict=True):
            assert found.loss == pytest.approx(float(expected.loss), rel=1e-10)
            mine = cut.part(layout, expected.gradient, one.tile)
            for quantity, _ in one.layout.quantities():
                # double precision: sums in another order
                apart = np.abs(found.gradient[quantity] - mine[quantity]).max()
                assert apart <= 1e-8 * np.abs(mine[quantity]).max()


def test_what_is_sent_is_all_there_is_to_a_model(small):
    """A new field of the description is either sent or refused."""
    known = {"pixel_A", "wavelength_A", "thickness_A", "split", "band", "tilts", "aberrations", "near_field"}
    known |= {"upsampling", "spread", "probes"}
    refused = {"probe_marker", "phase_plates", "varying_modes", "stretched", "compressed"}
    assert {field.name for field in fields(ForwardModel)} == known | refused
    ones = np.ones((3, 3))
    full = ForwardModel(
        0.1,
        0.02,
        (1.0, 2.0),
        split=SplitStep.FOURTH_ORDER,
        band=ones,
        tilts=Tilts(np.ones((4, 6)), 3, fixed=True),
        aberrations=AberrationGroups(ones[None], np.array([[1.0], [2.0]]), np.array([0, 1, 1, 0])),
        near_field=NearField(np.arange(4.0), 1e7, 1e-3),
        upsampling=2,
        spread=PointSpread(0.3, ones / 9),
    )
    plain, arrays = model_parts(full)
    found = model_of(json.loads(json.dumps(plain)), {**arrays, "patterns": ones})
    assert repr(found) == repr(full)
    assert model_parts(None) == (None, {})
    assert model_of(None, {}) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probe_marker": np.zeros(3, int)}, "several probes"),
        ({"phase_plates": object()}, "phase plates"),
        ({"varying_modes": 1}, "a probe that varies"),
        ({"stretched": True}, "a thickness that varies"),
        ({"compressed": object()}, "coefficients"),
        ({}, ""),
    ],
)
def test_what_cannot_be_sent_is_told(change, words):
    assert beyond_tiles(replace(ForwardModel(0.1, 0.02, (1.0,)), **change)) == words


@pytest.mark.parametrize("name", quick_first(["tilts of each pattern, refined", "a split step of higher order"]))
def test_a_run_on_tiles_ends_where_the_whole_one_does(small, name):
    preset, _ = laid_out(small, name)
    preset = preset.model_copy(update={"solver": preset.solver.model_copy(update={"epoch_max": 2, "sweeps": 1})})
    alone = refine(small.dataset, preset, backend="cpu")
    shared = refine(small.dataset, preset, backend="cpu", sharing=Shared(Threads(2)))
    assert shared.loss[-1] == pytest.approx(alone.loss[-1], rel=1e-4)
    # single precision, sums in another order
    assert correlation(np.angle(alone.object).ravel(), np.angle(shared.object).ravel()) > 0.9999


def correlation(a, b):
    return float(np.corrcoef(a, b)[0, 1])
