"""ePIE against a reference in double precision: curve, object and probe; batches, modes, slices, fixed parts.

They agree to four digits: single precision after some hundred steps that each depend on the last.
"""

from dataclasses import replace

import numpy as np
import pytest
from engine_references import Reference, apart, engine, finished, laid_out
from quick_first import quick_first
from shared_data import shared_data
from simulated_datasets import shown

FOUR_DIGITS = 1e-4


def batches_of(solver, epoch):
    return solver.groups.of(epoch, solver.batch_size)


@pytest.mark.parametrize(
    "values",
    quick_first(
        [
            {"batch_size": 16, "sweep_step": 0.5, "probe_step": 0.3},
            {"batch_size": 5, "probe_modes": 3, "batch_choice": "compact"},
            {},
        ],
        2,
    ),
    ids=["gradient descent", "three modes", "one by one"],
)
def test_the_curve_is_that_of_the_paper(small, values):
    problem, preset, start = laid_out(small.dataset, optimizer="epie", epoch_max=4, seed=3, **values)
    solver = engine(problem, preset)
    assert solver.batch_size == values.get("batch_size", 1)
    state = finished(solver, solver.init(start))
    reference = Reference.of(problem, start)
    for epoch in range(4):
        reference.epie(batches_of(solver, epoch), values.get("sweep_step", 1.0), values.get("probe_step", 1.0))
    np.testing.assert_allclose(state.losses, reference.curve, rtol=FOUR_DIGITS)
    assert reference.curve[-1] < 0.8 * reference.curve[0]
    transmission, modes = problem.layout.to_complex(state.vector)
    np.testing.assert_allclose(transmission[0, 0], reference.object, atol=2e-3)
    found = np.fft.ifft2(modes, norm="ortho")
    np.testing.assert_allclose(found, reference.probe, atol=2e-3 * abs(reference.probe).max())


def test_each_slice_has_the_light_that_enters_it(small):
    values = {"num_slices": 3, "total_thickness_A": 300.0, "batch_size": 16, "sweep_step": 0.5}
    problem, preset, start = laid_out(small.dataset, optimizer="epie", epoch_max=3, update_probe=False, **values)
    solver = engine(problem, preset)
    indices = solver.groups.of(0, 16)[0]
    gradient = solver.objective.evaluate(start, indices).gradient
    after = solver.step(solver.init(start)).vector
    shape = (2, *problem.layout.object_shape)
    moved = problem.layout.object_block(after - start).reshape(shape)
    force = problem.layout.object_block(gradient).reshape(shape)
    physical = problem.layout.physical(start, np)
    light = solver.rule.model.light_in_slices(physical.object, physical.probe, indices)
    assert not np.allclose(light.max(axis=(1, 2)), light[0].max(), rtol=0.01)
    for z in range(3):
        np.testing.assert_allclose(moved[:, z], -0.5 * force[:, z] / (2 * light[z].max()), atol=1e-6)
    state = finished(solver, solver.init(start))
    assert state.losses[-1] < 0.95 * state.losses[0]


@pytest.mark.parametrize("fixed", ["update_obj", "update_probe"])
def test_what_is_not_refined_stays(small, fixed):
    problem, preset, start = laid_out(small.dataset, optimizer="epie", epoch_max=1, **{fixed: False})
    solver = engine(problem, preset)
    objective = replace(solver.objective, move_object=fixed != "update_obj", move_probe=fixed != "update_probe")
    solver = replace(solver, objective=objective)
    after = solver.step(solver.init(start)).vector
    block = problem.layout.object_block if fixed == "update_obj" else problem.layout.probe_block
    other = problem.layout.probe_block if fixed == "update_obj" else problem.layout.object_block
    np.testing.assert_array_equal(block(after), block(start))
    assert np.abs(other(after) - other(start)).max() > 0


@pytest.mark.slow
def test_the_curve_on_the_shared_scan(read_dataset):
    """Patterns one by one, two epochs of 1600 patterns: the middle of the flake and its edge."""
    dataset = read_dataset(shared_data("mos2_edge_80kV_defocus"))
    problem, preset, start = laid_out(dataset, optimizer="epie", epoch_max=2, window_px="auto")
    solver = engine(problem, preset)
    found, reference = finished(solver, solver.init(start)).losses, Reference.of(problem, start)
    for epoch in range(2):
        reference.epie(batches_of(solver, epoch))
    shown("ePIE on mos2_edge", {"first": found[0], "last": found[-1], "apart": apart(found, reference.curve)})
    np.testing.assert_allclose(found, reference.curve, rtol=1e-3)  # 3200 steps in single precision
