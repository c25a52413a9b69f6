"""A few fixed tilts, each on its own backend, give the same numbers as a ramp for every pattern."""

from dataclasses import replace

import numpy as np
import pytest
from tilted_scans import TiltedScans

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import Corrections
from ptylive.engine.backend.multislice.tilted_parts import MOST_PARTS, TiltedParts, opened_by_tilts
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema.preset import Preset

TILTS = ((0.0, 0.0), (20.0, -8.0), (-15.0, 12.0))


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    specimen = TiltedScans(rng.uniform((0, 0, 0), (6, 6, 40), (20, 3)), np.full(20, 0.3), 40.0, points=3)
    preset = {"num_slices": 3, "slice_distances_A": [12, 17], "probe_modes": 2, "scan_tilts_mrad": TILTS}
    return prepare(specimen.together(TILTS), Preset.from_mapping({**preset, "window_px": 32}), None)


def double(problem):
    return GeneralMultislice(problem, np, "complex128", "double")


def planes(problem):
    vector = problem.start + 0.05 * np.random.default_rng(0).normal(size=problem.start.size)
    return problem.layout.physical(vector, np)


@pytest.mark.parametrize("indices", [None, np.array([26, 0, 5, 13, 14]), np.array([4, 1])])
def test_loss_and_gradients_are_those_of_a_ramp_for_every_pattern(problem, indices):
    model, at = problem.multislice, planes(problem)
    rng = np.random.default_rng(3)
    moved = Corrections(
        shifts_px=rng.normal(size=(27, 2)), current=rng.uniform(0.5, 1.5, 27), distances_A=np.array([13.0, 15.0])
    )
    parts, whole = opened_by_tilts(model, double), double(model)
    assert isinstance(parts, TiltedParts)
    fixed = [backend.loss_and_gradient(at.object, at.probe, indices).loss for backend in (parts, whole)]
    assert fixed[0] == pytest.approx(fixed[1], rel=1e-12)
    ours, theirs = (b.loss_and_gradient(at.object, at.probe, indices, corrections=moved) for b in (parts, whole))
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-12)
    for name in ("object", "probe"):
        expected = getattr(theirs, name)
        np.testing.assert_allclose(getattr(ours, name), expected, atol=1e-10 * np.abs(expected).max())
    for name in ("shifts_px", "current", "distances_A"):
        expected = getattr(theirs.corrections, name)
        np.testing.assert_allclose(getattr(ours.corrections, name), expected, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_allclose(
        parts.illumination(at.probe, indices), whole.illumination(at.probe, indices), rtol=1e-9, atol=1e-9
    )


def test_fixed_tilts_stay_with_the_compiled_kernel(problem):
    backend = open_backend("cpu", problem.multislice)
    assert backend.name == "cpu, 3 tilts"
    at = planes(problem)
    ours = backend.loss_and_gradient(at.object, at.probe)
    theirs = double(problem.multislice).loss_and_gradient(at.object, at.probe)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    backend.close()


def test_what_moves_or_is_more_than_tilts_is_done_as_a_whole(problem):
    model = problem.multislice.model
    many = replace(model.tilts, tangents=np.random.default_rng(0).normal(size=(27, 6)))
    others = [
        replace(model, tilts=replace(model.tilts, fixed=False)),
        replace(model, tilts=replace(model.tilts, mode=3)),
        replace(model, tilts=many),
        replace(model, band=np.ones((32, 32), np.float32)),
    ]
    assert MOST_PARTS < 27
    for other in others:
        assert isinstance(opened_by_tilts(replace(problem.multislice, model=other), double), GeneralMultislice)
    with pytest.raises(ValueError, match="not refined"):
        opened_by_tilts(problem.multislice, double).loss_and_gradient(
            *planes(problem)[:2], corrections=Corrections(tilts=np.zeros((27, 6)))
        )
