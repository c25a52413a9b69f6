"""LSQ-ML against a reference in double precision: curve, object and probe; modes, slices, phases, step lengths.

They agree to four digits: single precision, and waves that are compared over short steps (SHORT).
"""

import numpy as np
import pytest
from engine_references import Reference, apart, engine, finished, laid_out
from quick_first import quick_first
from shared_data import shared_data
from simulated_datasets import shown

from ptylive.engine.refine.engines.lsq_ml import RIDGE, solved

FOUR_DIGITS = 1e-4


@pytest.mark.parametrize(
    "values",
    quick_first(
        [
            {"batch_size": 16},
            {"batch_size": 64, "lsq_damping": 0.02},
            {"batch_size": 9, "probe_modes": 3, "batch_choice": "sparse"},
            {"batch_size": 2, "absorbing": True, "lsq_damping": 0.5},
        ],
        1,
    ),
    ids=["batches", "all at once", "three modes", "absorbing"],
)
def test_the_curve_is_that_of_the_paper(small, values):
    problem, preset, start = laid_out(small.dataset, optimizer="lsq_ml", epoch_max=5, seed=3, **values)
    solver = engine(problem, preset)
    state = finished(solver, solver.init(start))
    reference = Reference.of(problem, start)
    for epoch in range(5):
        reference.lsq_ml(solver.groups.of(epoch, solver.batch_size), values.get("lsq_damping", 0.1))
    np.testing.assert_allclose(state.losses, reference.curve, rtol=FOUR_DIGITS)
    assert reference.curve[-1] < 0.85 * reference.curve[0]
    transmission, modes = problem.layout.to_complex(state.vector)
    np.testing.assert_allclose(transmission[0, 0], reference.object, atol=2e-3)
    found = np.fft.ifft2(modes, norm="ortho")
    np.testing.assert_allclose(found, reference.probe, atol=2e-3 * abs(reference.probe).max())


@pytest.mark.parametrize(
    "values",
    quick_first(
        [
            {"update_probe": False},
            {"update_obj": False},
            {"num_slices": 3, "total_thickness_A": 30.0, "probe_modes": 2},
            {"phase_only_obj": True, "non_negative_phase": False},
        ],
        2,
    ),
    ids=" ".join,
)
def test_the_loss_falls_from_epoch_to_epoch(small, values):
    problem, preset, start = laid_out(small.dataset, optimizer="lsq_ml", batch_size=16, epoch_max=3, **values)
    solver = engine(problem, preset)
    losses = finished(solver, solver.init(start)).losses
    assert losses[2] < losses[1] < losses[0]


def test_lengths_are_those_of_the_least_squares():
    rng = np.random.default_rng(5)
    systems = [changes @ changes.T for changes in rng.normal(size=(4, 2, 6))]
    right = rng.normal(size=(4, 2))
    products = np.array([[s[0, 0], s[0, 1], s[1, 1], *b] for s, b in zip(systems, right, strict=True)]).T
    a, b = solved(products, np)
    ridge = RIDGE * np.diag(np.mean(systems, axis=0).diagonal())
    wanted = np.array([np.maximum(np.linalg.solve(s + ridge, r), 0) for s, r in zip(systems, right, strict=True)])
    np.testing.assert_allclose(np.stack([a, b], 1), wanted, rtol=1e-6)


def test_a_step_that_moves_nothing_leaves_the_other_alone():
    a, b = solved(np.array([[2.0], [0.0], [0.0], [1.1], [0.0]]), np)
    assert (a[0], b[0]) == (pytest.approx(0.5), 0)


@pytest.mark.slow
def test_the_curve_on_the_shared_scan(read_dataset):
    dataset = read_dataset(shared_data("mos2_edge_80kV_defocus"))
    problem, preset, start = laid_out(dataset, optimizer="lsq_ml", epoch_max=4, window_px="auto")
    solver = engine(problem, preset)
    found, reference = finished(solver, solver.init(start)).losses, Reference.of(problem, start)
    for epoch in range(4):
        reference.lsq_ml(solver.groups.of(epoch, solver.batch_size))
    shown("LSQ-ML on mos2_edge", {"first": found[0], "last": found[-1], "apart": apart(found, reference.curve)})
    np.testing.assert_allclose(found, reference.curve, rtol=1e-3)  # 100 steps in single precision
